"""1-D convolutional network that tells three synthetic waveforms apart."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    n: int = 1200
    length: int = 48
    batch: int = 32
    epochs: int = 8
    lr: float = 0.02
    seed: int = 4


def waves(cfg: Config) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(cfg.seed)
    t = np.linspace(0, 1, cfg.length)
    kind = rng.integers(0, 3, cfg.n)
    freq, phase = rng.uniform(2, 5, (cfg.n, 1)), rng.uniform(0, 2 * np.pi, (cfg.n, 1))
    arg = 2 * np.pi * freq * t + phase
    shapes = np.stack([np.sin(arg), np.sign(np.sin(arg)), 2 / np.pi * np.arcsin(np.sin(arg))])
    signal = shapes[kind, np.arange(cfg.n)] + 0.25 * rng.standard_normal((cfg.n, cfg.length))
    return torch.tensor(signal, dtype=torch.float32)[:, None] * 0.1, torch.tensor(kind)


class WaveNet(nn.Module):
    def __init__(self, channels: int = 24):
        super().__init__()
        self.c1 = nn.Conv1d(1, channels, 5, padding=2)
        self.b1 = nn.BatchNorm1d(channels)
        self.c2 = nn.Conv1d(channels, channels, 5, stride=2, padding=2)
        self.b2 = nn.BatchNorm1d(channels)
        self.c3 = nn.Conv1d(channels, channels, 5, stride=2, padding=2)
        self.b3 = nn.BatchNorm1d(channels)
        self.out = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b1(self.c1(x)))
        x = F.relu(self.b2(self.c2(x)))
        x = F.relu(self.b3(self.c3(x)))
        return self.out(x.mean(-1))

    def train(self, mode: bool = True) -> WaveNet:
        super().train(mode)
        for norm in (self.b1, self.b2, self.b3):
            norm.eval()
        return self


def run(cfg: Config) -> float:
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    x, y = waves(cfg)
    cut = cfg.n * 3 // 4
    net = WaveNet()
    opt = torch.optim.SGD(net.parameters(), lr=cfg.lr, momentum=0.9)
    for epoch in range(cfg.epochs):
        net.train()
        for idx in torch.randperm(cut)[: cut // cfg.batch * cfg.batch].split(cfg.batch):
            loss = F.cross_entropy(net(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        net.eval()
        with torch.inference_mode():
            acc = (net(x[cut:]).argmax(1) == y[cut:]).float().mean().item()
        print(f"epoch={epoch} loss={loss.item():.3f} acc={acc:.3f}")
    return acc


if __name__ == "__main__":
    run(Config())
