"""Snapshot ensemble: one run with cyclic cosine rates; a full state dict is kept at the end of every cycle."""
import copy
import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class Mlp(nn.Module):
    def __init__(self, sizes=(64, 96, 96, 10)):
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:]))
        self.norm = nn.ModuleList(nn.BatchNorm1d(o) for o in sizes[1:-1])

    def forward(self, x):
        for linear, norm in zip(self.linear, self.norm):
            x = F.relu(norm(linear(x)))
        return self.linear[-1](x)


def cyclic(step, per_cycle, peak):
    return 0.5 * peak * (math.cos(math.pi * (step % per_cycle) / per_cycle) + 1)


def main(cycles=3, epochs_per_cycle=4, batch=48, peak=0.15):
    torch.manual_seed(7)
    torch.set_num_threads(1)
    d = load_digits()
    order = torch.randperm(len(d.target))
    x, y = (torch.tensor(d.data).float() / 16)[order], torch.tensor(d.target)[order]
    net, snapshots, step = Mlp(), [], 0
    opt = torch.optim.SGD(net.parameters(), lr=peak, momentum=0.9, weight_decay=1e-4)
    per_cycle = epochs_per_cycle * (1248 // batch)
    for cycle in range(cycles):
        net.train()
        for _ in range(epochs_per_cycle):
            for idx in torch.randperm(1248).split(batch):
                for group in opt.param_groups:
                    group["lr"] = cyclic(step, per_cycle, peak)
                loss = F.cross_entropy(net(x[idx]), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                step += 1
        snapshots.append(copy.deepcopy(net.state_dict()))
        votes = 0
        with torch.no_grad():
            for state in snapshots:
                judge = Mlp()
                judge.load_state_dict(state)
                votes = votes + judge.eval()(x[1248:]).softmax(1)
        print(f"cycle {cycle} loss {loss.item():.4f} ensemble of {len(snapshots)}: {(votes.argmax(1) == y[1248:]).float().mean().item():.4f}")


main()
