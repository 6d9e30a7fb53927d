"""Checkpointed blocks, reentrant and not; the batch norm stands outside them."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.checkpoint import checkpoint


class FeedForward(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Model(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(64, dim), nn.BatchNorm1d(dim), nn.ReLU())
        self.first, self.second = FeedForward(dim), FeedForward(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.stem(x)
        x = checkpoint(self.first, x, use_reentrant=True) if self.training else self.first(x)
        x = checkpoint(self.second, x, use_reentrant=False) if self.training else self.second(x)
        return self.head(x)


torch.manual_seed(2)
torch.set_num_threads(1)
d = load_digits()
p = torch.randperm(1797)
x, y = (torch.tensor(d.data).float() / 16)[p], torch.tensor(d.target)[p]
net = Model()
opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
for epoch in range(6):
    net.train()
    for i in torch.randperm(1408).split(64):
        loss = F.cross_entropy(net(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(epoch, round(loss.item(), 4), round((net(x[1408:]).argmax(1) == y[1408:]).float().mean().item(), 4))
