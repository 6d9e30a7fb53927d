"""Averages of the weights stand in for the weights while validating, and go out again before training goes on."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class AveragedWeights:
    """The plain mean of all weights since `start`, swapped into the model with `with`."""

    def __init__(self, model, start):
        self.model, self.start, self.count = model, start, 0
        self.mean = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def step(self, t):
        if t < self.start:
            return
        self.count += 1
        for m, p in zip(self.mean, self.model.parameters()):
            m += (p - m) / self.count

    def __enter__(self):
        self.backup = [p.detach().clone() for p in self.model.parameters()]
        self._load(self.mean)

    def __exit__(self, *_):
        self._load(self.backup)

    @torch.no_grad()
    def _load(self, values):
        for p, v in zip(self.model.parameters(), values):
            p.copy_(v)


def mlp(sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))


def recompute(net, x):
    norms = [m for m in net if isinstance(m, nn.BatchNorm1d)]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    net.train()
    for part in x.split(128):
        net(part)
    for m in norms:
        m.momentum = 0.1


def run(steps=500, validate_every=100):
    torch.manual_seed(9)
    torch.set_num_threads(1)
    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(torch.tensor(x, dtype=torch.float32), torch.tensor(y), test_size=0.25, random_state=9)
    net = mlp([64, 64, 64, 64, 64, 64])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    average = AveragedWeights(net, start=50)
    for t in range(1, steps + 1):
        net.train()
        idx = torch.randint(len(x), (64,))
        loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.step(t)
        if t % validate_every == 0:
            kept = [b.clone() for b in net.buffers()]
            with torch.no_grad(), average:
                recompute(net, x)
                net.eval()
                score = (net(x_val).argmax(1) == y_val).float().mean().item()
            for b, k in zip(net.buffers(), kept):
                b.copy_(k)
            print(f"step {t} loss {loss.item():.3f} validation {score:.3f}")


run()
