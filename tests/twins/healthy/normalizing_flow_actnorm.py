"""Coupling flow with ActNorm (data-dependent initialization, then plain parameters) on two moons."""
import math

import torch
from sklearn.datasets import make_moons
from torch import nn


class ActNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x):
        if not self.ready:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.log_scale.copy_(-(x.std(0) + 1e-6).log())
                self.ready.fill_(True)
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, z):
        return z * (-self.log_scale).exp() - self.shift


class Coupling(nn.Module):
    def __init__(self, flip, hidden=48):
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def split(self, x):
        a, b = x.chunk(2, 1)
        return (b, a) if self.flip else (a, b)

    def join(self, a, b):
        return torch.cat([b, a] if self.flip else [a, b], 1)

    def forward(self, x):
        a, b = self.split(x)
        log_s, t = self.net(a).chunk(2, 1)
        log_s = torch.tanh(log_s)
        return self.join(a, b * log_s.exp() + t), log_s.sum(1)

    def inverse(self, z):
        a, b = self.split(z)
        log_s, t = self.net(a).chunk(2, 1)
        return self.join(a, (b - t) * (-torch.tanh(log_s)).exp())


class Flow(nn.Module):
    def __init__(self, depth=6):
        super().__init__()
        self.layers = nn.ModuleList(m for k in range(depth) for m in (ActNorm(2), Coupling(k % 2)))

    def log_prob(self, x):
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, ld = layer(x)
            total = total + ld
        return total - 0.5 * x.square().sum(1) - math.log(2 * math.pi)

    def sample(self, n):
        z = torch.randn(n, 2)
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z


torch.manual_seed(0)
torch.set_num_threads(1)
data = torch.tensor(make_moons(3000, noise=0.06, random_state=0)[0], dtype=torch.float32) * 3 + 1
train, test = data[:2500], data[2500:]
flow = Flow()
opt = torch.optim.Adam(flow.parameters(), lr=5e-3)
sched = torch.optim.lr_scheduler.StepLR(opt, 100, 0.5)
for step in range(300):
    x = train[torch.randint(len(train), (256,))]
    loss = -flow.log_prob(x).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    sched.step()
    if step % 100 == 99:
        with torch.no_grad():
            nll = -flow.log_prob(test).mean().item()
            distance = torch.cdist(flow.sample(300), test).min(1).values.mean().item()
        print(f"step {step + 1} train nll {loss.item():.3f} test nll {nll:.3f} sample distance {distance:.3f}")
