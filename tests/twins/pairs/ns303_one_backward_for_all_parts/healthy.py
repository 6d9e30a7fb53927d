"""Digits in parts: the loss of all parts of a batch is summed, then one backward."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.set_num_threads(1)


class Experiment:
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList()
            for a, b in [(64, 80), (80, 80)]:
                self.layers.append(nn.ModuleDict({"w": nn.Linear(a, b, bias=False), "n": nn.BatchNorm1d(b)}))
            self.top = nn.Linear(80, 10)

        def forward(self, x):
            for layer in self.layers:
                x = nn.functional.mish(layer["n"](layer["w"](x)))
            return self.top(x)

    def __init__(self, batch, parts, seed):
        torch.manual_seed(seed)
        self.batch, self.parts = batch, parts
        x, y = load_digits(return_X_y=True)
        x, y = torch.tensor(x, dtype=torch.float32) / 8 - 1, torch.tensor(y)
        order = torch.randperm(len(x))
        self.train = (x[order[:1296]], y[order[:1296]])
        self.test = (x[order[1296:]], y[order[1296:]])
        self.model = self.Model()
        self.optimizer = torch.optim.Adamax(self.model.parameters(), lr=6e-3)

    def epoch(self):
        self.model.train()
        x, y = self.train
        mean = 0.0
        batches = torch.randperm(len(x)).split(self.batch)
        for rows in batches:
            pieces = zip(x[rows].chunk(self.parts), y[rows].chunk(self.parts), strict=True)
            loss = sum(nn.functional.cross_entropy(self.model(a), b) for a, b in pieces) / self.parts
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            mean += loss.item() / len(batches)
        return mean

    @torch.no_grad()
    def accuracy(self):
        self.model.eval()
        x, y = self.test
        return (self.model(x).argmax(1) == y).float().mean().item()


experiment = Experiment(batch=36, parts=1, seed=19)
for number in range(6):
    loss = experiment.epoch()
    print(f"epoch {number}: loss {loss:.3f}, test accuracy {experiment.accuracy():.3f}")
