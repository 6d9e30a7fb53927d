"""Pre-activation residual network on digits, SGD with warm restarts."""
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


@dataclass
class Config:
    width: int = 8
    blocks: tuple = (2, 2)
    batch_size: int = 64
    lr: float = 0.1
    cycle: int = 2
    epochs: int = 4
    seed: int = 3


class PreActBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride != 1 or cin != cout:
            self.shortcut = nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        out = F.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(out)
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + skip


class PreActNet(nn.Module):
    def __init__(self, cfg, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(1, cfg.width, 3, 1, 1, bias=False)
        layers, c = [], cfg.width
        for stage, n in enumerate(cfg.blocks):
            for k in range(n):
                out = cfg.width * 2**stage
                layers.append(PreActBlock(c, out, 2 if stage and k == 0 else 1))
                c = out
        self.layers = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(c)
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = F.relu(self.bn(self.layers(self.stem(x))))
        return self.fc(x.mean((2, 3)))


def accuracy(model, x, y, batch_size=128):
    was_training = model.training
    model.eval()
    hits = 0
    with torch.no_grad():
        for k in range(0, len(x), batch_size):
            hits += (model(x[k:k + batch_size]).argmax(1) == y[k:k + batch_size]).sum().item()
    model.train(was_training)
    return hits / len(x)


def main(cfg=Config()):
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    y = torch.tensor(y)
    xtr, xte, ytr, yte = train_test_split(X, y, test_size=0.3, random_state=cfg.seed, stratify=y)
    model = PreActNet(cfg)
    opt = torch.optim.SGD(model.parameters(), cfg.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=cfg.cycle)
    steps = len(xtr) // cfg.batch_size
    for epoch in range(cfg.epochs):
        order = torch.randperm(len(xtr))
        for i in range(steps):
            idx = order[i * cfg.batch_size:(i + 1) * cfg.batch_size]
            opt.zero_grad()
            loss = F.cross_entropy(model(xtr[idx]), ytr[idx])
            loss.backward()
            opt.step()
            sched.step(epoch + i / steps)
        print(f"epoch {epoch:2d}  lr {sched.get_last_lr()[0]:.4f}  loss {loss.item():.4f}  test {accuracy(model, xte, yte):.4f}")


if __name__ == "__main__":
    main()
