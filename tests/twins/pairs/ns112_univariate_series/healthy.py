"""One-step forecasts of a single series from its last 24 values, with a window normalization at the entrance."""

import numpy as np
import torch
from torch import nn


def series(n=3000, seed=3):
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    level = np.cumsum(rng.normal(0, 0.05, n))
    return level + np.sin(t / 6) + 0.4 * np.sin(t / 2.3) + rng.normal(0, 0.05, n)


def windows(values, length):
    x = np.lib.stride_tricks.sliding_window_view(values, length + 1)
    x = torch.tensor(x.copy(), dtype=torch.float32)
    center = x[:, :-1].mean(1, keepdim=True)
    return (x[:, :-1] - center).unsqueeze(-1), x[:, -1] - center[:, 0]


class Forecaster(nn.Module):
    """Input (N, time, variables), here with one variable."""

    def __init__(self, length, variables):
        super().__init__()
        self.norm = nn.LayerNorm([length, variables])
        self.encoder = nn.GRU(variables, 24, batch_first=True)
        self.out = nn.Linear(24, 1)

    def forward(self, x):
        states, _ = self.encoder(self.norm(x))
        return self.out(states[:, -1]).squeeze(-1)


class Fit:
    def __init__(self, model, lr=1e-2):
        self.model, self.loss = model, nn.MSELoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr)

    def epoch(self, x, y, size=64):
        self.model.train()
        for index in torch.randperm(len(x)).split(size):
            self.optimizer.zero_grad()
            self.loss(self.model(x[index]), y[index]).backward()
            self.optimizer.step()

    @torch.no_grad()
    def score(self, x, y):
        self.model.eval()
        return 1 - (self.model(x) - y).square().mean() / y.var()


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = windows(series(), 24)
    fit = Fit(Forecaster(24, x.shape[-1]))
    for epoch in range(4):
        fit.epoch(x[:2400], y[:2400])
        print(f"epoch {epoch}: explained variance {fit.score(x[2400:], y[2400:]):.3f}")
