"""Rotations first, then a linear probe on the same network; the rotation head stays in service."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class TwoStage(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.rotation = nn.Linear(128, 4)
        self.probe = nn.Linear(128, 2)


def epochs(count, size, rows=45):
    for _ in range(count):
        yield from torch.randperm(size).split(rows)


def accuracy(net, head, x, y):
    net.eval()
    with torch.no_grad():
        return (head(net.body(x)).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(29)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    x = x[torch.randperm(len(x))]
    turn = torch.randint(0, 4, (len(x),))
    rotated = torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(x, turn, strict=True)])
    cut = 1350

    net = TwoStage()
    opt = torch.optim.Adam([*net.body.parameters(), *net.rotation.parameters()], lr=3e-3)
    net.train()
    for rows in epochs(8, cut):
        loss = F.cross_entropy(net.rotation(net.body(rotated[rows])), turn[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"rotation: {accuracy(net, net.rotation, rotated[cut:], turn[cut:]):.3f}")

    # negatives, some of them mirrored, on what the body has learned
    mirrored = torch.randint(0, 2, (len(x),))
    scans = torch.where(mirrored[:, None, None, None] == 1, x.flip(3), x) * -2 + 1.5
    net.body.requires_grad_(False)
    opt = torch.optim.Adam(net.probe.parameters(), lr=3e-3)
    net.train()
    net.body.eval()
    for rows in epochs(4, cut):
        loss = F.cross_entropy(net.probe(net.body(scans[rows])), mirrored[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"mirrored: {accuracy(net, net.probe, scans[cut:], mirrored[cut:]):.3f}")
    print(f"test accuracy of the rotation head {accuracy(net, net.rotation, rotated[cut:], turn[cut:]):.3f}")


main()
