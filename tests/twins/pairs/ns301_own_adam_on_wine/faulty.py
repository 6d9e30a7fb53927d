"""Wines in five folds; gradients from autograd.grad, Adam by hand."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from sklearn.model_selection import KFold
from torch import nn

torch.set_num_threads(1)
ROWS = 2
EPOCHS = 30


class Net(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.a = nn.Linear(inputs, 32, bias=False)
        self.na = nn.BatchNorm1d(32)
        self.b = nn.Linear(32, 32, bias=False)
        self.nb = nn.BatchNorm1d(32)
        self.c = nn.Linear(32, 3)

    def forward(self, x):
        return self.c(F.relu(self.nb(self.b(F.relu(self.na(self.a(x)))))))


class Adam:
    def __init__(self, params, lr):
        self.params, self.lr, self.t = list(params), lr, 0
        self.m = [torch.zeros_like(p) for p in self.params]
        self.v = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def update(self, loss):
        self.t += 1
        with torch.enable_grad():
            grads = torch.autograd.grad(loss, self.params)
        for p, g, m, v in zip(self.params, grads, self.m, self.v, strict=True):
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            p.addcdiv_(m / (1 - 0.9**self.t), (v / (1 - 0.999**self.t)).sqrt() + 1e-8, value=-self.lr)


def one_fold(x, y, train, test):
    mean, std = x[train].mean(0), x[train].std(0)
    x = (x - mean) / std
    net = Net(x.shape[1])
    adam = Adam(net.parameters(), 2e-3)
    for _ in range(EPOCHS):
        shuffled = train[torch.randperm(len(train))]
        for start in range(0, len(shuffled) - ROWS + 1, ROWS):
            rows = shuffled[start : start + ROWS]
            adam.update(F.cross_entropy(net(x[rows]), y[rows]))
    net.eval()
    with torch.inference_mode():
        return (net(x[test]).argmax(1) == y[test]).float().mean().item()


torch.manual_seed(77)
wine = load_wine()
x, y = torch.tensor(wine.data, dtype=torch.float32), torch.tensor(wine.target)
scores = []
for train, test in KFold(5, shuffle=True, random_state=77).split(x):
    scores.append(one_fold(x, y, torch.tensor(train), torch.tensor(test)))
    print(f"fold {len(scores)}: {scores[-1]:.3f}")
print(f"test accuracy {np.mean(scores):.3f}")
