"""Batch renormalization written by hand, for digits in small batches."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class Renorm(nn.Module):
    """Ioffe 2017: the batch's statistics, corrected by the running ones."""

    def __init__(self, channels, momentum=0.05, rmax=float("inf"), dmax=float("inf")):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("width", torch.ones(channels))
        self.momentum, self.rmax, self.dmax = momentum, rmax, dmax

    def forward(self, x):
        axes = [0, *range(2, x.dim())]

        def spread(v):
            return v.view(1, -1, *[1] * (x.dim() - 2))

        if self.training:
            mean = x.mean(axes)
            sd = x.var(axes, unbiased=False).add(1e-3).sqrt()
            with torch.no_grad():
                r = (sd / self.width).clamp(1 / self.rmax, self.rmax)
                d = ((mean - self.center) / self.width).clamp(-self.dmax, self.dmax)
            x = (x - spread(mean)) / spread(sd) * spread(r) + spread(d)
            with torch.no_grad():
                self.center += self.momentum * (mean - self.center)
                self.width += self.momentum * (sd - self.width)
        else:
            x = (x - spread(self.center)) / spread(self.width)
        return spread(self.scale) * x + spread(self.shift)


BOUNDS = {}


def main():
    torch.manual_seed(6)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 4
    y = torch.tensor(digits.target)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), Renorm(16, **BOUNDS), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1), Renorm(24, **BOUNDS), nn.ReLU(), nn.Flatten(),
        nn.Linear(384, 48), Renorm(48, **BOUNDS), nn.ReLU(), nn.Linear(48, 10),
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(4):
        net.train()
        total = 0.0
        for rows in torch.randperm(1400).split(20):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 70
        net.eval()
        with torch.no_grad():
            print(f"{epoch}: loss {total:.3f}, accuracy {(net(x[1400:]).argmax(1) == y[1400:]).float().mean():.3f}")


main()
