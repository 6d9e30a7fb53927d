from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn


class Callback:
    def on_fit_start(self, trainer): ...
    def on_epoch_start(self, trainer): ...


class BackboneFinetuning(Callback):
    def __init__(self, unfreeze_at=50, train_bn=False):
        self.unfreeze_at, self.train_bn = unfreeze_at, train_bn

    def on_fit_start(self, trainer):
        for m in trainer.module.backbone.modules():
            if isinstance(m, nn.BatchNorm1d) and self.train_bn:
                continue
            for p in m.parameters(recurse=False):
                p.requires_grad_(False)

    def on_epoch_start(self, trainer):
        if trainer.epoch == self.unfreeze_at:
            trainer.module.backbone.requires_grad_(True)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.f(x)


class Classifier(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(13, width, bias=False), nn.BatchNorm1d(width), Residual(width), Residual(width))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.backbone(x))


@dataclass
class Trainer:
    module: nn.Module
    epochs: int
    lr: float = 0.02
    callbacks: list = field(default_factory=list)
    epoch: int = 0

    def fit(self, x, y):
        for c in self.callbacks:
            c.on_fit_start(self)
        optimizer = torch.optim.SGD([p for p in self.module.parameters() if p.requires_grad], self.lr, momentum=0.9)
        for self.epoch in range(self.epochs):
            self.module.train()
            for c in self.callbacks:
                c.on_epoch_start(self)
            for rows in torch.randperm(len(x)).split(30):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.module(x[rows]), y[rows]).backward()
                optimizer.step()

    @torch.no_grad()
    def test(self, x, y):
        self.module.eval()
        return (self.module(x).argmax(1) == y).double().mean().item()


torch.manual_seed(13)
torch.set_num_threads(1)
wine = load_wine()
x = torch.tensor(StandardScaler().fit_transform(wine.data), dtype=torch.float32)
y = torch.tensor(wine.target)
mix = torch.randperm(178)
x, y = x[mix], y[mix]
module = Classifier()
first = Trainer(module, epochs=12)
first.fit(x[:120], y[:120])
print("first laboratory", first.test(x[120:], y[120:]))
other = x + 1.2  # other reagents
second = Trainer(module, epochs=12, callbacks=[BackboneFinetuning()])
second.fit(other[:120], y[:120])
print("second laboratory", second.test(other[120:], y[120:]))
