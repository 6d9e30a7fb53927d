"""Siamese network with contrastive loss: two forwards of one network per step, a verification test."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(3)
torch.set_num_threads(1)


class Pairs(Dataset):
    def __init__(self, x, y, n, seed):
        g = torch.Generator().manual_seed(seed)
        a = torch.randint(len(x), (n,), generator=g)
        b = torch.randint(len(x), (n,), generator=g)
        same = torch.rand(n, generator=g) < 0.5
        for i in torch.nonzero(same).flatten().tolist():
            pool = torch.nonzero(y == y[a[i]]).flatten()
            b[i] = pool[torch.randint(len(pool), (1,), generator=g)]
        self.x, self.a, self.b, self.t = x, a, b, (y[a] == y[b]).float()

    def __len__(self):
        return len(self.a)

    def __getitem__(self, i):
        return self.x[self.a[i]], self.x[self.b[i]], self.t[i]


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(32, 16)

    def embed(self, x):
        return self.head(self.conv(x).flatten(1))

    def forward(self, a, b):
        return torch.pairwise_distance(self.embed(a), self.embed(b))


def contrastive(d, t):
    return (t * d**2 + (1 - t) * torch.relu(1.5 - d) ** 2).mean()


digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target)
train = DataLoader(Pairs(x[:1300], y[:1300], 2400, 0), batch_size=64, shuffle=True, drop_last=True)
test = DataLoader(Pairs(x[1300:], y[1300:], 600, 1), batch_size=4)
net = Tower()
opt = torch.optim.Adam(net.parameters(), lr=2e-3)


@torch.no_grad()
def verify():
    net.eval()
    hits = total = 0
    for a, b, t in test:
        hits += ((net(a, b) < 0.75).float() == t).sum().item()
        total += len(t)
    return hits / total


for epoch in range(6):
    net.train()
    for a, b, t in train:
        loss = contrastive(net(a, b), t)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    print(f"epoch {epoch}: {loss.item():.3f}, verification {verify():.3f}")
