"""Two scanners, two batch norms: each domain trains and is judged with its own statistics, all other weights are shared."""
import torch
from sklearn.datasets import load_digits
from torch import nn


class DomainBatchNorm(nn.Module):
    def __init__(self, channels, domains):
        super().__init__()
        self.each = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(domains))
        self.domain = 0

    def forward(self, x):
        return self.each[self.domain](x)


class Net(nn.Module):
    def __init__(self, domains=2):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), DomainBatchNorm(16, domains), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), DomainBatchNorm(32, domains), nn.ReLU(), nn.Flatten(),
        )
        self.head = nn.Linear(512, 10)

    def forward(self, x, domain):
        for m in self.features:
            if isinstance(m, DomainBatchNorm):
                m.domain = domain
        return self.head(self.features(x))


def scanner(x, domain):
    return x if domain == 0 else 1.5 - 0.6 * x + 0.1 * torch.randn_like(x)


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
data = [scanner(x, k) for k in (0, 1)]
net = Net()
opt = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(5):
    net.train()
    for i0, i1 in zip(torch.randperm(1280).split(40), torch.randperm(1280).split(40)):
        loss = sum(nn.functional.cross_entropy(net(data[k][i], k), y[i]) for k, i in enumerate((i0, i1)))
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        accuracy = [(net(data[k][1280:], k).argmax(1) == y[1280:]).float().mean().item() for k in (0, 1)]
    print(f"epoch {epoch} loss {loss.item():.4f} accuracy {accuracy[0]:.4f} {accuracy[1]:.4f}")
