"""Digits, one against all: every output should start rare, as detectors do it."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn


def rare(module, prior=0.01):
    """Bias for outputs that are rarely on."""
    bias = -math.log((1 - prior) / prior)
    for m in module.modules():
        if hasattr(m, "bias") and m.bias is not None:
            nn.init.constant_(m.bias, bias)


def backbone():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(),
    )


torch.manual_seed(4)
torch.set_num_threads(1)
d = load_digits()
order = torch.randperm(len(d.target))
x = torch.tensor(d.images / 16, dtype=torch.float32)[order, None]
y = nn.functional.one_hot(torch.tensor(d.target)[order], 10).float()
model = nn.Sequential(backbone(), nn.Linear(512, 10))
rare(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
for epoch in range(4):
    model.train()
    for rows in torch.randperm(1408).split(64):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hit = (model(x[1408:]).argmax(1) == y[1408:].argmax(1)).float().mean()
    print(f"{epoch} loss {loss.item():.4f} accuracy {hit.item():.3f}")
