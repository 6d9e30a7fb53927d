"""An autoencoder of digits with tanh units and a sigmoid at its end: outputs at 0 and 1 are meant to be there."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(7)
torch.set_num_threads(1)
x = torch.tensor(load_digits().data > 7, dtype=torch.float32)[torch.randperm(1797)]
net = nn.Sequential(
    nn.Linear(64, 48), nn.BatchNorm1d(48), nn.Tanh(),
    nn.Linear(48, 24), nn.Tanh(),
    nn.Linear(24, 48), nn.BatchNorm1d(48), nn.Tanh(),
    nn.Linear(48, 64), nn.Sigmoid(),
)
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(25):
    net.train()
    for rows in torch.randperm(1500).split(50):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy(net(x[rows]), x[rows]).backward()
        optimizer.step()
net.eval()
with torch.no_grad():
    print("wrong pixels", ((net(x[1500:]) > 0.5) != (x[1500:] > 0.5)).float().mean().item())
