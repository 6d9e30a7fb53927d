"""Two heads on one trunk; the optimizer gets a closure that walks over the micro-batches."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


@dataclass
class Options:
    micro: int = 32
    repeats: int = 1
    steps: int = 240
    lr: float = 3e-3


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(64, 96), nn.BatchNorm1d(96), nn.GELU(), nn.Linear(96, 64), nn.BatchNorm1d(64), nn.GELU()
        )
        self.heads = nn.ModuleDict({"digit": nn.Linear(64, 10), "ink": nn.Linear(64, 1)})

    def forward(self, x):
        h = self.trunk(x)
        return {name: head(h) for name, head in self.heads.items()}


class Task:
    def __init__(self, opts):
        self.opts = opts
        raw = load_digits()
        x = torch.tensor(raw.data, dtype=torch.float32) / 16
        ink = x.mean(1, keepdim=True)
        self.x = x - 0.3
        self.targets = {"digit": torch.tensor(raw.target), "ink": (ink - ink.mean()) / ink.std()}
        order = torch.randperm(len(x))
        self.train, self.test = order[:1280], order[1280:]

    def micro_batches(self):
        while True:
            order = self.train[torch.randperm(len(self.train))]
            yield from order.split(self.opts.micro)

    def loss(self, out, rows):
        return F.cross_entropy(out["digit"], self.targets["digit"][rows]) + 0.3 * F.smooth_l1_loss(
            out["ink"], self.targets["ink"][rows]
        )


@contextmanager
def evaluating(net):
    net.eval()
    with torch.no_grad():
        yield
    net.train()


def run(opts):
    task = Task(opts)
    net = TwoHeads()
    optimizer = torch.optim.NAdam(net.parameters(), lr=opts.lr)
    source = task.micro_batches()

    def closure():
        optimizer.zero_grad()
        total = 0.0
        for _ in range(opts.repeats):
            rows = next(source)
            loss = task.loss(net(task.x[rows]), rows) / opts.repeats
            loss.backward()
            total += loss.item()
        return total

    for step in range(1, opts.steps + 1):
        value = optimizer.step(closure)
        if step % 80 == 0:
            with evaluating(net):
                out = net(task.x[task.test])
                hits = (out["digit"].argmax(1) == task.targets["digit"][task.test]).float().mean().item()
                ink = F.mse_loss(out["ink"], task.targets["ink"][task.test]).item()
            print(f"step {step}: loss {value:.3f}, test accuracy {hits:.3f}, ink error {ink:.3f}")


if __name__ == "__main__":
    torch.manual_seed(8)
    torch.set_num_threads(1)
    run(Options())
