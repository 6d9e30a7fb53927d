"""Tabular regression with a residual MLP, validating every 10 iterations."""
import copy

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import make_friedman1

torch.manual_seed(0)
torch.set_num_threads(1)
rng = np.random.RandomState(0)

features, response = make_friedman1(n_samples=2400, n_features=12, noise=0.5, random_state=0)
features = (features * 6 - 3).astype("float32")
response = ((response - response.mean()) / response.std()).astype("float32")
tr, va, te = slice(0, 1600), slice(1600, 2000), slice(2000, 2400)
Xs = {k: torch.tensor(features[s]) for k, s in [("train", tr), ("val", va), ("test", te)]}
Ys = {k: torch.tensor(response[s]).unsqueeze(1) for k, s in [("train", tr), ("val", va), ("test", te)]}


class ResBlock(nn.Module):
    def __init__(self, dim, p=0.0):
        super(ResBlock, self).__init__()
        self.block = nn.Sequential(
            nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, dim), nn.BatchNorm1d(dim)
        )

    def forward(self, x):
        return torch.relu(x + self.block(x))


class Regressor(nn.Module):
    def __init__(self, n_features, dim=64, depth=4):
        super(Regressor, self).__init__()
        self.stem = nn.Linear(n_features, dim)
        self.blocks = nn.ModuleList([ResBlock(dim) for _ in range(depth)])
        self.norm = nn.BatchNorm1d(dim)
        self.head = nn.Linear(dim, 1)

    def forward(self, x):
        x = self.stem(x)
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x))


net = Regressor(12)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)


def run_validation(split="val"):
    net.eval()
    with torch.no_grad():
        mse = criterion(net(Xs[split]), Ys[split]).item()
    return mse


best, best_state = float("inf"), None
iteration = 0
for epoch in range(8):
    net.train()
    shuffled = torch.from_numpy(rng.permutation(1600))
    for chunk in shuffled.split(32):
        prediction = net(Xs["train"][chunk])
        loss = criterion(prediction, Ys["train"][chunk])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        iteration += 1
        if iteration % 10 == 0:
            val = run_validation()
            net.train()
            if val < best:
                best, best_state = val, copy.deepcopy(net.state_dict())
            if iteration % 50 == 0:
                print("iter %4d  train mse %.3f  val mse %.3f" % (iteration, loss.item(), val))

print("final test mse %.4f" % run_validation("test"))
net.load_state_dict(best_state)
print("best checkpoint: test mse %.4f" % run_validation("test"))
