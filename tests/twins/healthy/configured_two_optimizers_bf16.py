"""Nested configuration with overrides from strings, two optimizers with schedules of their own, forwards in bfloat16."""

from dataclasses import dataclass, field, fields, is_dataclass

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Body:
    widths: tuple = (16, 32, 32)
    lr: float = 0.05


@dataclass
class Head:
    hidden: int = 32
    lr: float = 1e-3
    gamma: float = 0.5


@dataclass
class Config:
    body: Body = field(default_factory=Body)
    head: Head = field(default_factory=Head)
    epochs: int = 4
    batch: int = 32
    seed: int = 5


def override(config, *changes):
    for change in changes:
        path, value = change.split("=")
        *outer, name = path.split(".")
        target = config
        for part in outer:
            target = getattr(target, part)
        kind = {f.name: f.type for f in fields(target)}[name]
        assert is_dataclass(target)
        setattr(target, name, kind(value))
    return config


def instantiate(config):
    layers, inputs = [], 1
    for k, width in enumerate(config.body.widths):
        layers += [nn.Conv2d(inputs, width, 3, stride=1 + (k > 0), padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
        inputs = width
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
    hidden = config.head.hidden
    head = nn.Sequential(nn.Linear(4 * inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 10))
    return nn.ModuleDict({"body": body, "head": head})


def run(config):
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(x[:1408], y[:1408]), config.batch, shuffle=True)
    model = instantiate(config)
    steps = config.epochs * len(loader)
    slow = torch.optim.SGD(model["body"].parameters(), config.body.lr, momentum=0.9)
    fast = torch.optim.Adam(model["head"].parameters(), config.head.lr)
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(slow, steps),
        torch.optim.lr_scheduler.StepLR(fast, steps // 2, config.head.gamma),
    ]
    for epoch in range(config.epochs):
        model.train()
        for xb, yb in loader:
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(model["head"](model["body"](xb)).float(), yb)
            for optimizer in (slow, fast):
                optimizer.zero_grad()
            loss.backward()
            for optimizer, schedule in zip((slow, fast), schedules):
                optimizer.step()
                schedule.step()
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            right = model["head"](model["body"](x[1408:])).argmax(1) == y[1408:]
        print(f"epoch {epoch}: {right.float().mean():.3f}")


if __name__ == "__main__":
    run(override(Config(), "head.lr=0.002", "epochs=4"))
