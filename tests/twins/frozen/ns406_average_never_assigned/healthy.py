"""Batch normalization written out from the paper, in a small convolutional net for digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def batch_norm(x, gamma, beta, moving_mean, moving_var, eps, momentum, training):
    if not training:
        x_hat = (x - moving_mean) / torch.sqrt(moving_var + eps)
    else:
        axes = (0,) if x.dim() == 2 else (0, 2, 3)
        mean = x.mean(axes, keepdim=True)
        var = ((x - mean) ** 2).mean(axes, keepdim=True)
        x_hat = (x - mean) / torch.sqrt(var + eps)
        moving_mean = (1 - momentum) * moving_mean + momentum * mean.detach()
        moving_var = (1 - momentum) * moving_var + momentum * var.detach()
    return gamma * x_hat + beta, moving_mean, moving_var


class Standardize(nn.Module):
    def __init__(self, features, dims):
        super().__init__()
        shape = (1, features) if dims == 2 else (1, features, 1, 1)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.center = torch.zeros(shape)
        self.spread = torch.ones(shape)

    def forward(self, x):
        y, self.center, self.spread = batch_norm(
            x, self.gamma, self.beta, self.center, self.spread, 1e-5, 0.1, self.training
        )
        return y


net = nn.Sequential(
    nn.Conv2d(1, 12, 3, padding=1), Standardize(12, 4), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(12, 24, 3, padding=1), Standardize(24, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(96, 32), Standardize(32, 2), nn.ReLU(), nn.Linear(32, 10),
)


def score(x, y):
    net.eval()
    with torch.no_grad():
        right = (net(x).argmax(1) == y).float().mean().item()
    net.train()
    return right


if __name__ == "__main__":
    torch.manual_seed(12)
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] - 8
    y = torch.tensor(digits.target)
    for p in net.parameters():
        if p.dim() > 1 and p.numel() > 64:
            nn.init.kaiming_normal_(p)
    trainer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(5):
        for rows in torch.randperm(1400).split(50):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            trainer.zero_grad()
            loss.backward()
            trainer.step()
        print(epoch, round(loss.item(), 3), round(score(x[1400:], y[1400:]), 3))
