"""Digits at growing resolution, from a sampler that is told the epoch; the last stage is the longest."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class EpochSampler(Sampler):
    """Another permutation in each epoch, the same in each run; early epochs take the images with most ink."""

    def __init__(self, ink, seed):
        self.ink, self.seed, self.epoch = ink, seed, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.ink) * (1 if self.epoch >= 2 else 3) // (1 if self.epoch >= 2 else 4)

    def __iter__(self):
        g = torch.Generator().manual_seed(self.seed + self.epoch)
        chosen = self.ink.argsort(descending=True)[: len(self)]
        yield from chosen[torch.randperm(len(chosen), generator=g)].tolist()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        parts = []
        for a, b in ((1, 16), (16, 32), (32, 48)):
            parts += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.features, self.head = nn.Sequential(*parts), nn.Linear(48, 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def resize(x, size):
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)


torch.manual_seed(9)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
data = TensorDataset(x[:1408], y[:1408])
sampler = EpochSampler(x[:1408].sum((1, 2, 3)), seed=1)
loader = DataLoader(data, batch_size=32, sampler=sampler, drop_last=True)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), 2e-3)
for epoch, size in enumerate((5, 6, 8, 8, 8, 8)):
    sampler.set_epoch(epoch)
    net.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(resize(xb, size)), yb).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        right = (net(resize(x[1408:], size)).argmax(1) == y[1408:]).float().mean()
    print(f"epoch {epoch} at {size}: {right:.3f}")
