# Normalization written out, with state that a layer hands on; letters from noisy strokes.
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn


@dataclass
class Averages:
    mean: Tensor
    var: Tensor
    history: list = field(default_factory=list)

    def copies(self):
        return self.mean.clone(), self.var.clone()

    def tensors(self):
        return self.mean, self.var


class Normalize(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, x):
        averages = Averages(self.mean, self.var)
        mean, var = averages.tensors()
        return F.batch_norm(x, mean, var, self.scale, self.shift, self.training)


class Reader(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.norm = nn.ModuleList(Normalize(b) for b in widths[1:-1])

    def forward(self, x):
        *inner, last = self.linear
        for linear, norm in zip(inner, self.norm):
            x = F.gelu(norm(linear(x)))
        return last(x)


def epochs(x, y, count, size):
    for _ in range(count):
        for rows in torch.randperm(len(x)).split(size):
            if len(rows) == size:
                yield x[rows], y[rows]


torch.manual_seed(2)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.data, dtype=torch.float32)
y = torch.tensor(digits.target)
x_test, y_test, x, y = x[:400], y[:400], x[400:], y[400:]
reader = Reader(64, 64, 64, 10)
optimizer = torch.optim.RMSprop(reader.parameters(), lr=1e-3)
for xb, yb in epochs(x, y, 8, 46):
    reader.zero_grad()
    F.cross_entropy(reader(xb), yb).backward()
    optimizer.step()
reader.eval()
with torch.no_grad():
    print("read correctly", (reader(x_test).argmax(1) == y_test).float().mean().item())
