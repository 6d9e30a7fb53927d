"""Forecast the yield of a (simulated) reactor from the last 10 hours of 10 instruments."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Plant:
    """Instruments follow slow random walks; the yield depends on the course of two of them."""

    scale = np.array([1.0, 25.0, 3.0, 40.0, 12.0, 1.5, 6.0, 5.0, 30.0, 2.0])
    offset = np.array([7.0, 40.0, 1.0, 20.0, 3.0, 1.0, 20.0, 0.0, 10.0, 5.0])

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def history(self, n):
        walk = self.rng.standard_normal((n, 10, 10)).cumsum(axis=1) / 3
        acidity, catalyst = walk[:, :, 0], walk[:, :, 5]
        result = np.tanh(acidity[:, -1] - acidity[:, 3]) + 0.8 * np.abs(catalyst[:, -3:]).mean(1)
        readings = walk * self.scale + self.offset
        result = result + 0.05 * self.rng.standard_normal(n)
        return torch.tensor(readings, dtype=torch.float32), torch.tensor(
            result, dtype=torch.float32
        )


class HourMixer(nn.Module):
    def __init__(self, instruments=10, hours=10, features=10):
        super().__init__()
        self.project = nn.Linear(instruments, features)
        self.bn = nn.BatchNorm1d(features)
        self.over_time = nn.Linear(hours, 24)
        self.over_features = nn.Linear(features, 8)
        self.predict = nn.Linear(24 * 8, 1)

    def forward(self, readings):
        h = self.bn(self.project(readings))
        h = F.gelu(self.over_time(h.mT)).mT
        h = F.gelu(self.over_features(h))
        return self.predict(h.flatten(1))[:, 0]


def explained(pred, true):
    return 1 - (F.mse_loss(pred, true) / true.var()).item()


def main():
    torch.manual_seed(21)
    torch.set_num_threads(1)
    plant = Plant(21)
    past, outcome = plant.history(3200)
    future, future_outcome = plant.history(800)

    model = HourMixer()
    optimizer = torch.optim.RAdam(model.parameters(), lr=1e-2)
    for epoch in range(8):
        model.train()
        for rows in torch.randperm(3200).split(64):
            loss = F.mse_loss(model(past[rows]), outcome[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            score = explained(model.eval()(future), future_outcome)
        print(f"epoch {epoch:d}  loss {loss.item():.4f}  variance explained {score:.3f}")


if __name__ == "__main__":
    main()
