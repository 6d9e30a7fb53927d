"""Shapes from clouds of 8 to 120 points; what is missing to the fullest of a batch are points at the origin."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


@dataclass
class Setup:
    clouds: int = 1280
    epochs: int = 5
    batch: int = 32
    lr: float = 3e-3


class Clouds(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.items = [self.one(g) for _ in range(n)]

    @staticmethod
    def one(g):
        kind = int(torch.randint(3, (), generator=g))
        n = int(8 * 15 ** float(torch.rand((), generator=g)))
        p = torch.randn(n, 3, generator=g)
        if kind == 0:
            p = nn.functional.normalize(p, dim=1)
        elif kind == 1:
            p = p.clamp(-1, 1)
        else:
            p = p * torch.tensor([1.2, 1.0, 0.5])
        place = torch.tensor([8.0, -5.0, 3.0])
        return p + 0.05 * torch.randn(n, 3, generator=g) + place, kind

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def merge(samples):
    most = max(len(p) for p, _ in samples)
    points = torch.stack([nn.functional.pad(p, (0, 0, 0, most - len(p))) for p, _ in samples])
    counts = torch.tensor([len(p) for p, _ in samples])
    return points, counts, torch.tensor([k for _, k in samples])


class PointNet(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.steps = nn.ModuleList()
        for a, b in ((3, 32), (32, 64)):
            self.steps.append(nn.ModuleList([nn.Linear(a, b, bias=False), nn.BatchNorm1d(b)]))
        self.head = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, points, counts):
        real = torch.arange(points.shape[1])[None] < counts[:, None]
        h = points
        for linear, norm in self.steps:
            h = linear(h)
            h = norm(h.transpose(1, 2)).transpose(1, 2).relu()
        top = h.masked_fill(~real[..., None], 0).amax(1)
        mean = (h * real[..., None]).sum(1) / counts[:, None]
        return self.head(torch.cat([top, mean], 1))


def main(setup):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = PointNet()
    loader = DataLoader(Clouds(setup.clouds, 1), setup.batch, shuffle=True, drop_last=True, collate_fn=merge)
    one_by_one = DataLoader(Clouds(300, 2), 1, collate_fn=merge)
    optimizer = torch.optim.Adam(net.parameters(), lr=setup.lr)
    for epoch in range(setup.epochs):
        net.train()
        for points, counts, kinds in loader:
            loss = nn.functional.cross_entropy(net(points, counts), kinds)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        hits = [int(net(p, c).argmax(1) == k) for p, c, k in one_by_one]
    print(f"accuracy {sum(hits) / len(hits):.3f}")


main(Setup())
