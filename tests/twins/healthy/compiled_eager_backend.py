"""torch.compile with the eager backend: compiled for training, the same compiled module evaluated in evaluation mode."""
import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(256, 64, bias=False)
        self.bn2 = nn.BatchNorm1d(64)
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv(x))), 2)
        return self.out(torch.relu(self.bn2(self.fc(x.flatten(1)))))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    d = load_digits()
    x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
    net = Net()
    fast = torch.compile(net, backend="eager")
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for epoch in range(5):
        fast.train()
        for idx in torch.randperm(1408)[:1408].split(64):
            opt.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(fast(x[idx]), y[idx])
            loss.backward()
            opt.step()
        fast.eval()
        with torch.no_grad():
            acc = (fast(x[1408:]).argmax(1) == y[1408:]).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} acc {acc:.4f}")


main()
