"""Which of six activities a body sensor saw, from short windows of recordings of several minutes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass
class Config:
    recordings: int = 60
    windows: int = 32  # of each recording
    length: int = 48
    channels: int = 3
    batch: int = 32
    epochs: int = 4
    lr: float = 2e-3
    seed: int = 11


class Recordings:
    """Each is one activity of one person: a rhythm, an orientation of the sensor, noise."""

    def __init__(self, config, seed):
        rng = np.random.default_rng(seed)
        t = np.arange(config.windows * config.length)
        self.x, self.y = [], []
        for _ in range(config.recordings):
            activity = int(rng.integers(6))
            pace = (0.3 + 0.25 * (activity % 3)) * rng.uniform(0.93, 1.07)
            lean = np.where(activity >= 3, 0.9, -0.9) + 0.4 * rng.standard_normal(config.channels)
            phase = rng.uniform(0, 6.28, config.channels)
            signal = np.sin(pace * t[None] + phase[:, None]) + lean[:, None]
            signal = signal + 0.5 * rng.standard_normal(signal.shape)
            pieces = signal.reshape(config.channels, config.windows, config.length)
            self.x.append(torch.tensor(pieces.transpose(1, 0, 2), dtype=torch.float32))
            self.y.append(torch.full((config.windows,), activity))
        self.x, self.y = torch.cat(self.x), torch.cat(self.y)

    def batches(self, size):
        for start in range(0, len(self.x), size):
            yield self.x[start : start + size], self.y[start : start + size]


class Conv(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv = nn.Conv1d(a, b, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm1d(b)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(Conv(channels, 24), Conv(24, 32), Conv(32, 32))
        self.head = nn.Linear(32, 6)

    def forward(self, x):
        return self.head(self.body(x).mean(2))


class Trainer:
    def __init__(self, config):
        self.config = config
        self.net = Net(config.channels)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=config.lr)
        self.loss = nn.CrossEntropyLoss()

    def fit(self, train, test):
        for epoch in range(self.config.epochs):
            self.net.train()
            for x, y in train.batches(self.config.batch):
                self.optimizer.zero_grad()
                loss = self.loss(self.net(x), y)
                loss.backward()
                self.optimizer.step()
            print(epoch, round(self.score(test), 3))

    @torch.no_grad()
    def score(self, data):
        self.net.eval()
        return (self.net(data.x).argmax(1) == data.y).float().mean().item()


if __name__ == "__main__":
    config = Config()
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    Trainer(config).fit(Recordings(config, 1), Recordings(config, 2))
