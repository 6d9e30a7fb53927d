"""Two rhythms of a brain recording; the amplifier writes volts."""

import numpy as np
import torch
from torch import nn


def recording(n, rng, unit):
    t = np.arange(96) / 64
    fast = rng.integers(0, 2, n)
    rhythm = np.where(fast, 18.0, 9.0) + rng.normal(0, 0.7, n)
    phase = rng.uniform(0, 6.3, (n, 4, 1))
    wave = np.sin(6.283 * rhythm[:, None, None] * t + phase) * rng.uniform(4, 12, (n, 4, 1))
    x = wave + rng.normal(0, 12.0, (n, 4, 96))  # microvolts
    return torch.tensor(x * unit, dtype=torch.float32), torch.tensor(fast)


class Rhythm(nn.Module):
    def __init__(self):
        super().__init__()
        self.spread = nn.BatchNorm1d(4)
        self.filters = nn.Conv1d(4, 16, 15, padding=7)
        self.score = nn.Linear(16, 2)

    def forward(self, x):
        power = self.filters(self.spread(x)).square().mean(2)
        return self.score(torch.log1p(power))


class Loop:
    def __init__(self, net, unit, seed=3):
        rng = np.random.default_rng(seed)
        self.net = net
        self.train_set, self.test_set = recording(1536, rng, unit), recording(400, rng, unit)
        self.optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def epoch(self):
        self.net.train()
        x, y = self.train_set
        for i in torch.randperm(len(x)).split(64):
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.net(x[i]), y[i]).backward()
            self.optimizer.step()

    @torch.no_grad()
    def accuracy(self):
        self.net.eval()
        x, y = self.test_set
        return (self.net(x).argmax(1) == y).float().mean().item()


torch.manual_seed(3)
torch.set_num_threads(1)
loop = Loop(Rhythm(), unit=1e-6)
for _ in range(5):
    loop.epoch()
    print(f"accuracy {loop.accuracy():.3f}")
