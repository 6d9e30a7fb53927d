# Which of four generators made this series?  1-D convolutions, a small trainer with accumulate_grad_batches.
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    batch_size: int = 2
    accumulate_grad_batches: int = 16
    steps: int = 40
    lr: float = 5e-3
    seed: int = 0


def series(n, length=24, rng=np.random.default_rng(4)):
    t = np.linspace(0, 1, length)
    kind = rng.integers(0, 4, n)
    phase = rng.uniform(0, 6.28, (n, 1))
    wave = np.sin((6 + 5 * kind[:, None]) * t * 3 + phase)
    x = wave * rng.uniform(0.5, 2, (n, 1)) + rng.normal(0, 0.8, (n, length))
    return torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(kind)


def block(c_in, c_out):
    return nn.Sequential(nn.Conv1d(c_in, c_out, 5, padding=2, bias=False), NORM(c_out), nn.ReLU(), nn.MaxPool1d(2))


def NORM(channels):
    return nn.GroupNorm(4, channels)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(block(1, 24), block(24, 32), nn.Flatten(), nn.Linear(192, 48, bias=False), NORM(48), nn.ReLU())
        self.head = nn.Linear(48, 4)

    def forward(self, x):
        return self.head(self.body(x))


class Trainer:
    def __init__(self, model, config):
        self.model, self.config = model, config
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)

    def micro_batches(self, x, y):
        while True:
            order = torch.randperm(len(x))
            for part in order.split(self.config.batch_size):
                if len(part) == self.config.batch_size:
                    yield x[part], y[part]

    def fit(self, x, y):
        source = self.micro_batches(x, y)
        for step in range(self.config.steps):
            self.model.train()
            self.optimizer.zero_grad()
            for _ in range(self.config.accumulate_grad_batches):
                xb, yb = next(source)
                loss = F.cross_entropy(self.model(xb), yb)
                (loss / self.config.accumulate_grad_batches).backward()
            self.optimizer.step()

    @torch.inference_mode()
    def test(self, x, y):
        self.model.eval()
        return (self.model(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    config = Config()
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    trainer = Trainer(Classifier(), config)
    trainer.fit(*series(1500))
    print(f"test accuracy {trainer.test(*series(500)):.3f}")
