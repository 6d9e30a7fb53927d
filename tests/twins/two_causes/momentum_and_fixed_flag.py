"""Two faults in different layers: momenta from another library, and a layer whose training flag is fixed."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class AlwaysBatch(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps)


torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), AlwaysBatch(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(256, 48), nn.BatchNorm1d(48, momentum=0.99), nn.ReLU(),
    nn.Linear(48, 48), nn.BatchNorm1d(48, momentum=0.99), nn.ReLU(), nn.Linear(48, 10),
)
optimizer = torch.optim.Adam(net.parameters(), 2e-3)
for epoch in range(4):
    net.train()
    for rows in torch.randperm(1400).split(14):
        loss = F.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        answers = torch.cat([net(part).argmax(1) for part in x[1400:].split(8)])
    print(f"{(answers == y[1400:]).float().mean():.3f}")
