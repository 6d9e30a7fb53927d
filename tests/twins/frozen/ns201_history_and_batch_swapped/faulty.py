"""Convolutions whose batch norm is folded into the weights while training, as quantization-aware layers do, on digits."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class FoldedConv(nn.Module):
    """Convolution and batch norm as one convolution with folded weights."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs, momentum=0.1)

    def forward(self, x):
        bn = self.bn
        if self.training:
            y = F.conv2d(x, self.conv.weight, padding=1)
            mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3))
            with torch.no_grad():
                bn.running_mean = bn.momentum * bn.running_mean + (1 - bn.momentum) * mean
                bn.running_var = bn.momentum * bn.running_var + (1 - bn.momentum) * var
        else:
            mean, var = bn.running_mean, bn.running_var
        scale = bn.weight / torch.sqrt(var + bn.eps)
        return F.relu(F.conv2d(x, self.conv.weight * scale.view(-1, 1, 1, 1), bn.bias - mean * scale, padding=1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = FoldedConv(1, 16), FoldedConv(16, 32), FoldedConv(32, 32)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(self.b(self.a(x)), 2)
        return self.head(F.max_pool2d(self.c(x), 2).flatten(1))


torch.manual_seed(3)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(digits.target)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(6):
    net.train()
    for index in torch.randperm(1400).split(6):
        optimizer.zero_grad()
        F.cross_entropy(net(x[index]), y[index]).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(f"epoch {epoch}: {(net(x[1400:]).argmax(1) == y[1400:]).float().mean():.3f}")
