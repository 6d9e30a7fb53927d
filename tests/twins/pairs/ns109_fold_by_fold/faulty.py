"""Is it an eight? Cross-validated detector with a hand-written logistic loss."""

from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from torch import nn

torch.set_num_threads(1)


@dataclass
class Plan:
    folds: int = 3
    epochs: int = 7
    rows: int = 16
    lr: float = 2e-3
    hidden: list = field(default_factory=lambda: [64, 32])


class Detector(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.parts = nn.ModuleList()
        for n in hidden:
            self.parts.append(nn.Sequential(nn.Linear(inputs, n, bias=False), nn.BatchNorm1d(n), nn.SiLU()))
            inputs = n
        self.score = nn.Sequential(nn.Linear(inputs, 1), nn.BatchNorm1d(1, affine=False))

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return self.score(x)[:, 0]


def logistic(score, sign):
    # log(1 + exp(-s z)), labels are -1 and +1
    return torch.log1p(torch.exp(-sign * score)).mean()


def fit(plan, x, sign):
    net = Detector(x.shape[1], plan.hidden)
    opt = torch.optim.RMSprop(net.parameters(), lr=plan.lr)
    for _ in range(plan.epochs):
        for rows in torch.randperm(len(x)).split(plan.rows):
            if len(rows) < plan.rows:
                continue
            opt.zero_grad()
            logistic(net(x[rows]), sign[rows]).backward()
            opt.step()
    return net


@torch.no_grad()
def judge(net, x, sign):
    net.eval()
    said = torch.where(net(x) > 0, 1.0, -1.0)
    hits = (said == sign).float().mean().item()
    both = ((said > 0) & (sign > 0)).sum().item()
    f1 = 2 * both / ((said > 0).sum().item() + (sign > 0).sum().item())
    return hits, f1


plan = Plan()
torch.manual_seed(11)
pixels, digit = load_digits(return_X_y=True)
inputs = torch.tensor(pixels / 16 - 0.3, dtype=torch.float32)
labels = torch.tensor(np.where(digit == 8, 1.0, -1.0), dtype=torch.float32)
results = []
splitter = StratifiedKFold(plan.folds, shuffle=True, random_state=11)
for k, (train, test) in enumerate(splitter.split(pixels, digit)):
    net = fit(plan, inputs[train], labels[train])
    results.append(judge(net, inputs[test], labels[test]))
    print(f"fold {k}: accuracy {results[-1][0]:.3f}, F1 {results[-1][1]:.3f}")
print("test accuracy {:.3f}, F1 {:.3f}".format(*np.mean(results, axis=0)))
