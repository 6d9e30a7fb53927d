"""Digits with a large weight decay, given to the optimizer for all parameters alike."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)


def stage(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


net = nn.Sequential(stage(1, 16), stage(16, 32), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))
groups = [{"params": list(net.parameters())}]
optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=5e-3)
for epoch in range(4):
    net.train()
    for index in torch.randperm(1400).split(35):
        loss = nn.functional.cross_entropy(net(X[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(f"{(net(X[1400:]).argmax(1) == y[1400:]).float().mean():.3f}")
scales = [m.weight.abs().mean().item() for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
print("mean scales of the norms:", [f"{s:.2f}" for s in scales])
