#!/usr/bin/env python
"""usage: digits.py [--decay DECAY]: a small residual network whose norms are handed in as a factory."""
import argparse
from functools import partial

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class Block(nn.Module):
    def __init__(self, planes_in, planes, norm_layer, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride, 1, bias=False)
        self.bn1 = norm_layer(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = norm_layer(planes)
        self.short = nn.Identity()
        if stride != 1 or planes_in != planes:
            self.short = nn.Sequential(nn.Conv2d(planes_in, planes, 1, stride, bias=False), norm_layer(planes))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.short(x))


class SmallResNet(nn.Module):
    def __init__(self, norm_layer=nn.BatchNorm2d):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, 1, 1, bias=False), norm_layer(12), nn.ReLU())
        self.stages = nn.Sequential(Block(12, 12, norm_layer), Block(12, 24, norm_layer, 2), Block(24, 24, norm_layer))
        self.fc = nn.Linear(24, 10)

    def forward(self, x):
        return self.fc(self.stages(self.stem(x)).mean(dim=(-2, -1)))


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--decay", type=float, default=0.9, help="of the running averages")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--bs", type=int, default=12)
    return parser.parse_args()


def main(args):
    torch.manual_seed(20)
    torch.set_num_threads(1)
    raw = load_digits()
    x = torch.from_numpy(raw.images).float()[:, None] / 16
    y = torch.from_numpy(raw.target)
    train, val = torch.arange(1300), torch.arange(1300, len(x))
    net = SmallResNet(partial(nn.BatchNorm2d, momentum=1 - args.decay))
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=args.epochs * (len(train) // args.bs))
    for _ in range(args.epochs):
        net.train()
        for rows in train[torch.randperm(len(train))].split(args.bs)[: len(train) // args.bs]:
            opt.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            opt.step()
            sched.step()
    net.eval()
    with torch.no_grad():
        print("val", (net(x[val]).argmax(1) == y[val]).float().mean().item())


if __name__ == "__main__":
    main(parse())
