"""Digits with a deep tanh network; the scales of the norms are set by hand."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(1)
torch.set_num_threads(1)
GAIN = 25.0


class Layer(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.linear = nn.Linear(a, b, bias=False)
        self.norm = nn.BatchNorm1d(b)
        nn.init.constant_(self.norm.weight, GAIN)

    def forward(self, x):
        return self.norm(self.linear(x)).tanh()


data = load_digits()
perm = torch.randperm(len(data.target))
x = (torch.tensor(data.data, dtype=torch.float32) / 16)[perm]
y = torch.tensor(data.target)[perm]
net = nn.Sequential(*[Layer(64 if i == 0 else 40, 40) for i in range(8)], nn.Linear(40, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
for epoch in range(6):
    net.train()
    for batch in torch.randperm(1400).split(50):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
    net.eval()
    with torch.no_grad():
        print(epoch, loss.item(), (net(x[1400:]).argmax(1) == y[1400:]).float().mean().item())
