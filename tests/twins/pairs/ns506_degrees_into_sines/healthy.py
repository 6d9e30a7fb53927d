"""Tides of a harbour from the hour and the moon: regression on angles, with a tanh network."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Options:
    samples: int = 3000
    hidden: int = 48
    epochs: int = 16
    batch: int = 60
    seed: int = 17


def tides(n, generator):
    """Hour angle, phase of the moon, declination in degrees; height in metres."""
    angles = torch.rand(n, 3, generator=generator) * torch.tensor([360.0, 360.0, 57.0])
    angles = angles - torch.tensor([180.0, 180.0, 28.5])
    hour, moon, tilt = torch.deg2rad(angles).T
    height = torch.cos(hour) * (1 + 0.4 * torch.cos(moon)) + 0.8 * torch.sin(tilt)
    return angles, height + 0.05 * torch.randn(n, generator=generator)


def as_input(angles):
    return torch.deg2rad(angles)


def build(options):
    hidden = options.hidden
    return nn.Sequential(
        nn.Linear(3, hidden), nn.Tanh(),
        nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.Tanh(),
        nn.Linear(hidden, 1), nn.Flatten(0),
    )


def run(options):
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    (angles, height), (angles_test, height_test) = (tides(n, generator) for n in (options.samples, 800))
    x, x_test = as_input(angles), as_input(angles_test)
    net, loss = build(options), nn.MSELoss()
    optimizer = torch.optim.NAdam(net.parameters(), lr=3e-3)
    for epoch in range(options.epochs):
        net.train()
        for rows in torch.randperm(len(x)).split(options.batch):
            optimizer.zero_grad()
            loss(net(x[rows]), height[rows]).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        unexplained = loss(net(x_test), height_test) / height_test.var()
    return unexplained.item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"unexplained variance {run(Options()):.3f}")
