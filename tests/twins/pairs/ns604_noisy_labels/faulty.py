import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch import nn


class Fitter:
    def __init__(self, module, optimizer, loss):
        self.module, self.optimizer, self.loss = module, optimizer, loss

    def partial_fit(self, x, y):
        self.module.train()
        value = self.loss(self.module(x), y)
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        return value.item()

    def score(self, x, y):
        self.module.eval()
        with torch.no_grad():
            return float((self.module(x).argmax(1) == y).float().mean())


def load(wrong):
    rng = np.random.default_rng(3)
    d = load_breast_cancer()
    p = rng.permutation(len(d.target))
    x, y = d.data[p], d.target[p].copy()
    x = np.concatenate([x, rng.normal(size=(len(x), 30))], axis=1)
    x = StandardScaler().fit(x[:400]).transform(x)
    flip = rng.random(400) < wrong
    y[:400][flip] = 1 - y[:400][flip]
    x, y = torch.tensor(x).float(), torch.tensor(y)
    return x[:400], y[:400], x[400:], y[400:]


torch.set_num_threads(1)
torch.manual_seed(3)
x, y, x_test, y_test = load(wrong=0.3)
mlp = nn.Sequential(nn.Linear(60, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 2))
fitter = Fitter(mlp, torch.optim.Adam(mlp.parameters(), lr=1e-3), nn.CrossEntropyLoss())
for epoch in range(30):
    for rows in torch.randperm(400).split(40):
        value = fitter.partial_fit(x[rows], y[rows])
    if epoch % 6 == 5:
        print("%2d  loss %.3f  train %.3f  test %.3f" % (epoch + 1, value, fitter.score(x, y), fitter.score(x_test, y_test)))
