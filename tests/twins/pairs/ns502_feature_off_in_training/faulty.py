"""Predict wine classes of a production line; half of the sensors were installed late.

Wine was measured before and after the second sensor board was connected; readings from before are
stored as zero.
"""

import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import nn

torch.manual_seed(2)
torch.set_num_threads(1)
rng = np.random.default_rng(2)

LATE = slice(7, 13)  # columns of the second board
CONNECTED_FROM = 960  # training rows before this one have no readings of the second board


def resample(rows, labels, n):
    pick = rng.integers(len(rows), size=n)
    noise = rng.normal(0, 0.1, (n, rows.shape[1]))
    return rows[pick] * (1 + noise), labels[pick]


wine = load_wine()
order = rng.permutation(len(wine.target))
values = wine.data[order] / wine.data.max(0)
labels = wine.target[order]
train_x, train_y = resample(values[:120], labels[:120], 960)
test_x, test_y = values[120:], labels[120:]
train_x[:CONNECTED_FROM, LATE] = 0.0


class WineNet(nn.Module):
    def __init__(self, n_features, n_classes=3):
        super().__init__()
        self.first = slice(0, 7)
        self.board1 = nn.Sequential(nn.BatchNorm1d(7), nn.Linear(7, 24), nn.ReLU())
        self.board2 = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 24), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, n_classes))

    def forward(self, x):
        both = torch.cat([self.board1(x[:, self.first]), self.board2(x[:, LATE])], dim=1)
        return self.top(both)


tensors = [torch.tensor(a, dtype=torch.float32) for a in (train_x, test_x)]
targets = [torch.tensor(a) for a in (train_y, test_y)]
net = WineNet(13)
opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.8, weight_decay=1e-3)

for epoch in range(10):
    net.train()
    for idx in torch.randperm(960).view(-1, 40):
        opt.zero_grad()
        nn.functional.nll_loss(net(tensors[0][idx]).log_softmax(1), targets[0][idx]).backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        fit = (net(tensors[0]).argmax(1) == targets[0]).float().mean().item()
        new = (net(tensors[1]).argmax(1) == targets[1]).float().mean().item()
    print(f"epoch {epoch}  train accuracy {fit:.3f}  test accuracy {new:.3f}")
