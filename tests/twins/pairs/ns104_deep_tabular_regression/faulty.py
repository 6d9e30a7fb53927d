"""Predict the response of a plant from 12 sensor readings."""
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn


@dataclass
class Config:
    blocks: int = 18
    width: int = 48
    lr: float = 1e-3
    batch: int = 50
    epochs: int = 10
    seed: int = 5


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.fc2 = nn.Linear(width, width, bias=False)
        self.bn2 = nn.BatchNorm1d(width)

    def forward(self, x):
        h = torch.relu(self.bn1(self.fc1(x)))
        return torch.relu(self.bn2(self.fc2(h)))


class Regressor(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.stem = nn.Linear(12, cfg.width)
        self.blocks = nn.ModuleList(Block(cfg.width) for _ in range(cfg.blocks))
        self.head = nn.Linear(cfg.width, 1)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h).squeeze(1)


def make_data(cfg):
    rng = np.random.default_rng(cfg.seed)
    x = rng.normal(size=(1500, 12)).astype("float32")
    y = np.sin(x[:, 0] * 1.5) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3] - 0.5 * np.abs(x[:, 4])
    y = (y - y.mean()) / y.std() + 0.05 * rng.normal(size=len(y))
    return torch.from_numpy(x), torch.from_numpy(y.astype("float32"))


def main(cfg):
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    x, y = make_data(cfg)
    x_train, y_train, x_test, y_test = x[:1000], y[:1000], x[1000:], y[1000:]
    net = Regressor(cfg)
    optimizer = torch.optim.Adam(net.parameters(), lr=cfg.lr)
    for epoch in range(cfg.epochs):
        net.train()
        for idx in torch.randperm(1000).split(cfg.batch):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(x_train[idx]), y_train[idx])
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            residual = (net(x_test) - y_test).pow(2).mean() / y_test.var()
        print(f"epoch {epoch}: R2 on test data {1 - residual.item():.3f}")


if __name__ == "__main__":
    main(Config())
