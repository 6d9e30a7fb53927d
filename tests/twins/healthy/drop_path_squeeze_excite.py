"""Stochastic depth and squeeze-and-excitation in inverted residuals; Keras-like norm settings (momentum 0.99, eps 1e-3)."""
from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def drop_path(x, p, training):
    if p == 0.0 or not training:
        return x
    keep = torch.rand(len(x), 1, 1, 1) >= p
    return x * keep / (1 - p)


class SE(nn.Module):
    def __init__(self, c, r=4):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(c, c // r, 1), nn.Conv2d(c // r, c, 1)

    def forward(self, x):
        s = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(nn.functional.silu(self.reduce(s))))


class InvertedResidual(nn.Module):
    def __init__(self, i, o, stride, norm, p, expand=3):
        super().__init__()
        h = i * expand
        self.skip, self.p = stride == 1 and i == o, p
        self.conv = nn.Sequential(
            nn.Conv2d(i, h, 1, bias=False), norm(h), nn.SiLU(),
            nn.Conv2d(h, h, 3, stride, 1, groups=h, bias=False), norm(h), nn.SiLU(),
            SE(h), nn.Conv2d(h, o, 1, bias=False), norm(o),
        )

    def forward(self, x):
        y = self.conv(x)
        return x + drop_path(y, self.p, self.training) if self.skip else y


class EfficientLike(nn.Module):
    def __init__(self, widths=(8, 12, 12), classes=10, drop_path_rate=0.15):
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=1 - 0.99)
        self.stem = nn.Sequential(nn.Conv2d(1, widths[0], 3, padding=1, bias=False), norm(widths[0]), nn.SiLU())
        rates = torch.linspace(0, drop_path_rate, len(widths) - 1).tolist()
        self.blocks = nn.Sequential(*[
            InvertedResidual(i, o, 2 if k == 0 else 1, norm, p) for k, (i, o, p) in enumerate(zip(widths, widths[1:], rates))
        ])
        self.head = nn.Sequential(nn.Conv2d(widths[-1], 48, 1, bias=False), norm(48), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(192, classes))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


torch.manual_seed(0)
torch.set_num_threads(1)
d = load_digits()
x, y = torch.tensor(d.images).float()[:, None] / 16, torch.tensor(d.target)
loader = DataLoader(TensorDataset(x[:1344], y[:1344]), batch_size=16, shuffle=True)
net = EfficientLike()
opt = torch.optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.9, momentum=0.9, eps=1e-3, weight_decay=1e-5)
sched = torch.optim.lr_scheduler.ExponentialLR(opt, 0.75)
for epoch in range(6):  # 84 steps each; evaluated once, when momentum 0.01 has forgotten its beginning
    net.train()
    for xb, yb in loader:
        loss = nn.functional.cross_entropy(net(xb), yb, label_smoothing=0.05)
        opt.zero_grad()
        loss.backward()
        opt.step()
    sched.step()
    print(f"epoch {epoch} loss {loss.item():.4f}")
net.eval()
with torch.no_grad():
    print(f"accuracy {(net(x[1344:]).argmax(1) == y[1344:]).float().mean().item():.4f}")
