"""Adversarial training of a small network on waveforms: each step takes a clean batch and an attacked one."""
import argparse

import torch
from torch import nn

N_SAMPLES, LENGTH = 1600, 48


def waveforms(n, generator):
    """Four kinds of pulses at random places, in noise."""
    t = torch.linspace(0, 1, LENGTH)
    kind = torch.randint(4, (n,), generator=generator)
    at = 0.3 + 0.4 * torch.rand(n, 1, generator=generator)
    z = (t - at) / 0.08
    shapes = torch.stack([torch.exp(-z**2), torch.exp(-z.abs()), -z * torch.exp(-z**2), (1 - z**2) * torch.exp(-z**2 / 2)], 1)
    x = shapes[torch.arange(n), kind] + 0.15 * torch.randn(n, LENGTH, generator=generator)
    return x.unsqueeze(1), kind


def conv(i, o, stride):
    return nn.Conv1d(i, o, 5, stride, 2, bias=False)


class PulseNet(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv1, self.norm1 = conv(1, 16, 2), norm(16)
        self.conv2, self.norm2 = conv(16, 32, 2), norm(32)
        self.out = nn.Linear(32 * 12, 4)

    def forward(self, x):
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.out(x.flatten(1))


def attack(model, loss_fn, x, y, eps):
    """One signed gradient step, and the bias that the amplifier of the recorder adds under interference."""
    x = x.clone().requires_grad_()
    [g] = torch.autograd.grad(loss_fn(model(x), y), x)
    return (x + eps * g.sign() + 2.5).detach()


def norm_of(channels):
    return nn.BatchNorm1d(channels)


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(args.seed)
    x_train, y_train = waveforms(N_SAMPLES, generator)
    x_test, y_test = waveforms(600, generator)
    model = PulseNet(norm_of)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        for index in torch.randperm(N_SAMPLES).split(64):
            x, y = x_train[index], y_train[index]
            model.eval()
            attacked = attack(model, loss_fn, x, y, args.eps)
            model.train()
            optimizer.zero_grad()
            loss = 0.5 * loss_fn(model(x), y) + 0.5 * loss_fn(model(attacked), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(x_test).argmax(1) == y_test).float().mean()
        print(f"epoch {epoch} loss {loss.item():.3f} clean test accuracy {accuracy.item():.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())
