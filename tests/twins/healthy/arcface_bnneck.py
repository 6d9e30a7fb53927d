"""Embedding head ends in batch norm (BNNeck) before an additive-margin softmax; cosine verification on held-out images."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class ArcMargin(nn.Module):
    def __init__(self, dim, classes, s=16.0, m=0.2):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dim))
        nn.init.xavier_uniform_(self.weight)
        self.s, self.m = s, m

    def forward(self, z, y):
        cosine = F.linear(F.normalize(z), F.normalize(self.weight)).clamp(-1 + 1e-6, 1 - 1e-6)
        theta = torch.acos(cosine)
        hit = F.one_hot(y, cosine.shape[1]).bool()
        return self.s * torch.where(hit, torch.cos((theta + self.m).clamp(max=math.pi)), cosine)


class Embedding(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.PReLU(24),
            nn.Conv2d(24, 48, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(48), nn.PReLU(48),
        )
        self.fc = nn.Linear(48 * 16, dim, bias=False)
        self.neck = nn.BatchNorm1d(dim)
        self.neck.bias.requires_grad_(False)

    def forward(self, x):
        return self.neck(self.fc(self.trunk(x).flatten(1)))


@torch.no_grad()
def verify(model, x, y):
    model.eval()
    z = F.normalize(model(x))
    similarity = z @ z.T
    same = y[:, None] == y[None]
    upper = torch.triu(torch.ones_like(same), 1).bool()
    pos, neg = similarity[same & upper], similarity[~same & upper]
    threshold = neg.quantile(0.99)
    return (pos > threshold).float().mean().item()


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
xs, ys, xh, yh = x[:1408], y[:1408], x[1408:], y[1408:]
model, margin = Embedding(), ArcMargin(32, 10)
opt = torch.optim.SGD([
    {"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 5e-4},
    {"params": margin.parameters(), "weight_decay": 5e-4},
], lr=0.05, momentum=0.9)
for epoch in range(6):
    model.train()
    for idx in torch.randperm(len(xs)).split(64):
        loss = F.cross_entropy(margin(model(xs[idx]), ys[idx]), ys[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"epoch {epoch} loss {loss.item():.3f} true accepts at 1 % false accepts: {verify(model, xh, yh):.3f}")
