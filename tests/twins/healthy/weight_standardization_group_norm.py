"""Batches of two images: weight standardization and group norm instead of batch norm."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class WSConv2d(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        mean = w.mean(dim=(1, 2, 3), keepdim=True)
        var = w.var(dim=(1, 2, 3), keepdim=True, unbiased=False)
        return F.conv2d(x, (w - mean) / torch.sqrt(var + 1e-5), self.bias, self.stride, self.padding)


class Unit(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.a, self.na = WSConv2d(i, o, 3, stride, 1, bias=False), nn.GroupNorm(4, o)
        self.b, self.nb = WSConv2d(o, o, 3, 1, 1, bias=False), nn.GroupNorm(4, o)
        self.skip = nn.Identity() if stride == 1 and i == o else nn.Sequential(WSConv2d(i, o, 1, stride, bias=False), nn.GroupNorm(4, o))

    def forward(self, x):
        return F.relu(self.nb(self.b(F.relu(self.na(self.a(x))))) + self.skip(x))


torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.images).float()[:, None] / 16
y = torch.tensor(digits.target)
net = nn.Sequential(WSConv2d(1, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.ReLU(), Unit(8, 8), Unit(8, 16, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
order = torch.randperm(1300)[:1000]
for k, idx in enumerate(order.split(2)):
    loss = F.cross_entropy(net(x[idx]), y[idx])
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
    if k % 125 == 124:
        with torch.no_grad():
            print(f"step {k + 1}: accuracy {(net(x[1300:]).argmax(1) == y[1300:]).float().mean().item():.3f}")
