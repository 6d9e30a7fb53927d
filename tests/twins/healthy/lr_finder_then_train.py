"""A learning-rate range test on a copy of the network, then training with the rate it suggests."""
import copy
import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


def batches(x, y, size=48):
    while True:
        for idx in torch.randperm(len(x)).split(size):
            if len(idx) == size:
                yield x[idx], y[idx]


def find_lr(net, x, y, low=1e-4, high=1.0, steps=60):
    net = copy.deepcopy(net).train()
    opt = torch.optim.SGD(net.parameters(), lr=low)
    rates, losses, smooth = [], [], None
    for k, (xb, yb) in zip(range(steps), batches(x, y)):
        lr = low * (high / low) ** (k / (steps - 1))
        opt.param_groups[0]["lr"] = lr
        loss = F.cross_entropy(net(xb), yb)
        opt.zero_grad()
        loss.backward()
        opt.step()
        smooth = loss.item() if smooth is None else 0.8 * smooth + 0.2 * loss.item()
        rates.append(lr)
        losses.append(smooth)
    slope = [(losses[i + 2] - losses[i - 2]) / (math.log(rates[i + 2]) - math.log(rates[i - 2])) for i in range(2, steps - 2)]
    return rates[2 + min(range(len(slope)), key=slope.__getitem__)]


torch.manual_seed(3)
torch.set_num_threads(1)
data = load_digits()
perm = torch.randperm(len(data.target))
x, y = (torch.tensor(data.data).float() / 16)[perm], torch.tensor(data.target)[perm]
net = nn.Sequential(nn.Linear(64, 80), nn.BatchNorm1d(80), nn.ReLU(), nn.Linear(80, 80), nn.BatchNorm1d(80), nn.ReLU(), nn.Linear(80, 10))
lr = find_lr(net, x[:1400], y[:1400])
print(f"suggested rate {lr:.4f}")
opt = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
for step, (xb, yb) in zip(range(1, 301), batches(x[:1400], y[:1400])):
    net.train()
    loss = F.cross_entropy(net(xb), yb)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 100 == 0:
        net.eval()
        with torch.no_grad():
            acc = (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
        print(f"step {step} loss {loss.item():.4f} accuracy {acc:.4f}")
