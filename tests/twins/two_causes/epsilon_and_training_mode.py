"""Two faults: a momentum in the place of eps, and a validation that stays in training mode."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 48), nn.BatchNorm1d(48, 0.8), nn.ReLU(),
            nn.Linear(48, 48), nn.BatchNorm1d(48, 0.8), nn.ReLU(), nn.Linear(48, 10),
        )

    def forward(self, x):
        return self.layers(x)


@torch.no_grad()
def validate(net, x, y):
    order = y.argsort()
    right = [net(x[part]).argmax(1) == y[part] for part in order.split(20)]
    return torch.cat(right).float().mean().item()


torch.manual_seed(1)
torch.set_num_threads(1)
data, target = load_digits(return_X_y=True)
x, y = torch.tensor(data, dtype=torch.float32) / 16, torch.tensor(target)
net = Classifier().train()
optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
for epoch in range(5):
    for rows in torch.randperm(1400).split(28):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{validate(net, x[1400:], y[1400:]):.3f}")
