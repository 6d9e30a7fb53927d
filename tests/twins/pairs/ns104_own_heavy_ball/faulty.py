"""Digit classifier: a tower of equal layers between a stem and an output of one's own, trained by heavy ball."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


@dataclass(frozen=True)
class Settings:
    width: int = 48
    depth: int = 38
    batch: int = 64
    lr: float = 0.02
    heavy_ball: float = 0.9
    epochs: int = 6
    seed: int = 3


class Tower(nn.Module):
    def __init__(self, cfg, inputs, classes):
        super().__init__()
        self.depth = cfg.depth
        self.lin = nn.ModuleList(nn.Linear(cfg.width, cfg.width, bias=False) for _ in range(cfg.depth))
        for m in self.lin:
            nn.init.kaiming_normal_(m.weight)
        self.bn = nn.ModuleList(nn.BatchNorm1d(cfg.width) for _ in range(cfg.depth))
        self.p = nn.ParameterDict()
        self.p["stem"] = nn.Parameter(torch.randn(cfg.width, inputs) / math.sqrt(inputs))
        self.p["out"] = nn.Parameter(torch.randn(classes, cfg.width) / math.sqrt(cfg.width))
        self.p["bias"] = nn.Parameter(torch.zeros(classes))

    def layer(self, i, h):
        return F.relu(self.bn[i](self.lin[i](h)))

    def forward(self, x):
        h = F.linear(x, self.p["stem"])
        for i in range(self.depth):
            h = self.layer(i, h)
        return F.linear(F.layer_norm(h, h.shape[1:]), self.p["out"], self.p["bias"])


def minibatches(x, y, size, epochs, generator):
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for part in order.split(size):
            if len(part) == size:
                yield epoch, x[part], y[part]


@torch.no_grad()
def heavy_ball_update(model, velocity, lr, beta):
    for name, p in model.named_parameters():
        v = velocity.setdefault(name, torch.zeros_like(p))
        v.mul_(beta).add_(p.grad)
        p.sub_(v, alpha=lr)
        p.grad = None


@torch.no_grad()
def accuracy(model, x, y):
    model.eval()
    hits = (model(x).argmax(1) == y).float().mean().item()
    model.train()
    return hits


def main(cfg):
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    data = load_digits()
    x = torch.tensor(data.data, dtype=torch.float32) / 16
    y = torch.tensor(data.target)
    x = (x - x.mean(0)) / (x.std(0) + 0.1)
    generator = torch.Generator().manual_seed(cfg.seed)
    order = torch.randperm(len(x), generator=generator)
    train, test = order[:1300], order[1300:]

    model = Tower(cfg, x.shape[1], 10)
    velocity, seen, total = {}, 0, 0.0
    current = 0
    for epoch, xb, yb in minibatches(x[train], y[train], cfg.batch, cfg.epochs, generator):
        if epoch != current:
            print(f"epoch {current}: loss {total / seen:.3f}, test {accuracy(model, x[test], y[test]):.3f}")
            current, seen, total = epoch, 0, 0.0
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        heavy_ball_update(model, velocity, cfg.lr, cfg.heavy_ball)
        seen, total = seen + 1, total + loss.item()
    print(f"test accuracy {accuracy(model, x[test], y[test]):.3f}")


main(Settings())
