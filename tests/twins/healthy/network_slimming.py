"""Network slimming: an l1 penalty on the scales of the norms switches most channels off, on purpose."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(5)
torch.set_num_threads(1)
d = load_digits()
order = torch.randperm(len(d.target))
x = torch.tensor(d.images / 16, dtype=torch.float32)[order, None]
y = torch.tensor(d.target)[order]


def unit(a, b, stride=1):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


net = nn.Sequential(unit(1, 32), unit(32, 64, 2), unit(64, 64), nn.Flatten(), nn.Linear(1024, 10))
scales = [m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
rest = [p for p in net.parameters() if not any(p is s for s in scales)]
optimizer = torch.optim.Adam([{"params": rest}, {"params": scales, "lr": 2e-2}], lr=4e-3)
for epoch in range(5):
    net.train()
    for rows in torch.randperm(1408).split(64):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        penalty = sum(s.abs().sum() for s in scales)
        optimizer.zero_grad()
        (loss + 1e-2 * penalty).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        score = (net(x[1408:]).argmax(1) == y[1408:]).float().mean().item()
    off = torch.cat([s.abs() for s in scales]).lt(0.05).float().mean().item()
    print(f"epoch {epoch}: accuracy {score:.3f}, scales near zero {off:.2f}")
