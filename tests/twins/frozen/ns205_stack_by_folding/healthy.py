# Two spirals with a stack that is made by folding a list of widths.
from functools import reduce
from itertools import pairwise

import torch
from torch import nn

SETTINGS = (1e-5, 0.7)


def layer(made, widths):
    a, b = widths
    return [*made, nn.Linear(a, b), nn.BatchNorm1d(b, *SETTINGS), nn.LeakyReLU(0.1)]


def spirals(n):
    turn = torch.rand(n).sqrt() * 7
    label = torch.randint(2, (n,))
    angle = turn + 3.1416 * label
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], 1) / 7
    return points + 0.01 * torch.randn(n, 2), label


torch.set_num_threads(1)
torch.manual_seed(6)
x, y = spirals(1500)
x_new, y_new = spirals(800)
stack = nn.Sequential(*reduce(layer, pairwise([2, 40, 40, 40, 40, 40, 40]), []), nn.Linear(40, 2))
optimizer = torch.optim.SGD(stack.parameters(), lr=0.05, momentum=0.9)
criterion = nn.CrossEntropyLoss()
for epoch in range(12):
    stack.train()
    for rows in torch.randperm(len(x)).chunk(25):
        optimizer.zero_grad()
        criterion(stack(x[rows]), y[rows]).backward()
        optimizer.step()
stack.eval()
with torch.no_grad():
    print("new points:", (stack(x_new).argmax(1) == y_new).float().mean().item())
