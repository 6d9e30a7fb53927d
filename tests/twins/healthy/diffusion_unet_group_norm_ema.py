"""Denoising diffusion on digits: a small UNet with group norm and time embedding, samples drawn from an average of its weights."""

import copy
import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

STEPS = 40


class Block(nn.Module):
    def __init__(self, inputs, outputs, time):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.norm2, self.conv2 = nn.GroupNorm(4, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, t):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(t)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class UNet(nn.Module):
    def __init__(self, width=16, time=32):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(16, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down = Block(width, width, time)
        self.middle = Block(width, 2 * width, time)
        self.up = Block(3 * width, width, time)
        self.leave = nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x, t):
        rates = torch.exp(-math.log(100.0) * torch.arange(8) / 8)
        angles = t[:, None] * rates
        t = self.embed(torch.cat([angles.sin(), angles.cos()], 1))
        a = self.down(self.enter(x), t)
        b = self.middle(F.avg_pool2d(a, 2), t)
        return self.leave(self.up(torch.cat([a, F.interpolate(b, scale_factor=2)], 1), t))


betas = torch.linspace(1e-3, 0.25, STEPS)
kept = torch.cumprod(1 - betas, 0)


@torch.no_grad()
def sample(net, n):
    x = torch.randn(n, 1, 8, 8)
    for step in reversed(range(STEPS)):
        noise = net(x, torch.full((n,), float(step)))
        x = (x - betas[step] / (1 - kept[step]).sqrt() * noise) / (1 - betas[step]).sqrt()
        if step:
            x = x + betas[step].sqrt() * torch.randn_like(x)
    return x


torch.manual_seed(3)
torch.set_num_threads(1)
x = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
net = UNet()
average = copy.deepcopy(net).requires_grad_(False)
optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
for step in range(160):
    clean = x[torch.randint(len(x), (32,))]
    t = torch.randint(STEPS, (32,))
    noise = torch.randn_like(clean)
    rate = kept[t].view(-1, 1, 1, 1)
    loss = F.mse_loss(net(rate.sqrt() * clean + (1 - rate).sqrt() * noise, t.float()), noise)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for a, p in zip(average.parameters(), net.parameters()):
            a.lerp_(p, 0.05)
    if step % 80 == 79:
        drawn = sample(average.eval(), 16)
        print(f"{step}: loss {loss.item():.3f}, mean of samples {drawn.mean():.2f}, of data {x.mean():.2f}")
