"""Diabetes progression by quartiles: each layer is a linear map, a norm and an activation, in this order."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
data = load_diabetes()
X = torch.tensor(data.data * 20, dtype=torch.float32)
target = torch.tensor(data.target, dtype=torch.float32)
y = torch.bucketize(target, torch.quantile(target, torch.tensor([0.25, 0.5, 0.75])))


def layer(inputs, outputs):
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]


net = nn.Sequential(*layer(10, 32), *layer(32, 32), nn.Linear(32, 4))
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(15):
    net.train()
    for index in torch.randperm(352).split(32):
        loss = nn.functional.cross_entropy(net(X[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
net.eval()
with torch.no_grad():
    print(f"{(net(X[352:]).argmax(1) == y[352:]).float().mean():.3f}")
