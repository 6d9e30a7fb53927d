"""Denoise one-dimensional signals with a stack of dilated convolutions."""
import argparse

import torch
from torch import nn


def initialize(module, std):
    if isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, 0.0, std)
        nn.init.zeros_(module.bias)


def build(channels, depth, std):
    parts = [nn.Conv1d(1, channels, 3, padding=1), nn.GroupNorm(4, channels), nn.Tanh()]
    for i in range(depth):
        d = 2 ** (i % 3)
        parts += [nn.Conv1d(channels, channels, 3, padding=d, dilation=d), nn.Tanh()]
    parts += [nn.Conv1d(channels, 1, 1)]
    net = nn.Sequential(*parts)
    net.apply(lambda m: initialize(m, std))
    return net


def batch(n, gen):
    t = torch.linspace(0, 6.28, 48)
    a, f, p = (torch.rand(3, n, 1, generator=gen) + 0.5) * torch.tensor([1.0, 2.0, 6.0]).view(3, 1, 1)
    clean = a * torch.sin(f * t + p)
    return (clean + 0.4 * torch.randn(n, 48, generator=gen)).unsqueeze(1), clean.unsqueeze(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--std", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    gen = torch.Generator().manual_seed(4)
    net = build(16, 8, args.std)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.MSELoss()
    total = 0.0
    for step in range(1, args.steps + 1):
        noisy, clean = batch(32, gen)
        loss = criterion(net(noisy), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 50 == 0:
            print(step, round(total / 50, 4))
            total = 0.0
    net.eval()
    with torch.no_grad():
        noisy, clean = batch(500, gen)
        print("R2", 1 - (criterion(net(noisy), clean) / clean.var()).item())


if __name__ == "__main__":
    main()
