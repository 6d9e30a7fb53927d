"""A deep trunk of dense layers answers two questions about a digit: which one, and is it even."""

from functools import reduce

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SPEC = dict(width=56, blocks=21, lr=0.03, batch=48, epochs=7)


def dense(n):
    linear = nn.Linear(n, n, bias=False)
    nn.init.orthogonal_(linear.weight)
    return nn.Sequential(linear, nn.BatchNorm1d(n), nn.ReLU(inplace=True))


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first, self.second = dense(n), dense(n)

    def forward(self, x):
        return self.second(self.first(x))


class Answers(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.enter = nn.Linear(64, width)
        self.trunk = nn.ModuleList([Block(width) for _ in range(blocks)])
        self.heads = nn.ModuleDict({"which": nn.Linear(width, 10), "even": nn.Linear(width, 1)})

    def forward(self, x):
        h = reduce(lambda value, block: block(value), self.trunk, self.enter(x))
        h = F.layer_norm(h, h.shape[1:])
        return {k: head(h) for k, head in self.heads.items()}


def make_step(net, optimizer):
    def step(x, digit):
        out = net(x)
        even = (digit % 2 == 0).float()
        loss = F.cross_entropy(out["which"], digit)
        loss = loss + F.binary_cross_entropy_with_logits(out["even"].squeeze(1), even)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def evaluate(net, x, digit):
    net.eval()
    with torch.inference_mode():
        out = net(x)
    net.train()
    which = (out["which"].argmax(1) == digit).float().mean().item()
    even = ((out["even"][:, 0] > 0) == (digit % 2 == 0)).float().mean().item()
    return which, even


def main(width, blocks, lr, batch, epochs):
    torch.manual_seed(51)
    torch.set_num_threads(1)
    x, digit = (torch.tensor(a) for a in load_digits(return_X_y=True))
    x = x.float() / 8 - 0.6
    order = torch.randperm(len(x))
    train, test = order[:1344], order[1344:]
    loader = DataLoader(TensorDataset(x[train], digit[train]), batch, shuffle=True, drop_last=True)
    net = Answers(width, blocks)
    step = make_step(net, torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, nesterov=True))
    for epoch in range(epochs):
        losses = [step(*rows) for rows in loader]
        which, even = evaluate(net, x[test], digit[test])
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}, test accuracy {which:.3f}, even {even:.3f}")


main(**SPEC)
