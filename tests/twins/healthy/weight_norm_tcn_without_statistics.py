"""Weight norm instead of batch norm; the frames of a noisy sensor are labelled walk, run or rest."""
import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def record(n, rng, length=120):
    x, y = np.zeros((n, length)), np.zeros((n, length), dtype=int)
    for k in range(n):
        t = 0
        while t < length:
            kind, span = rng.integers(3), rng.integers(20, 50)
            s = np.arange(min(span, length - t))
            x[k, t:t + len(s)] = (0, 1.0, 2.0)[kind] * np.sin(s * (0, 0.5, 1.1)[kind] + rng.uniform(0, 6))
            y[k, t:t + len(s)] = kind
            t += len(s)
    return torch.tensor(x + 0.4 * rng.standard_normal(x.shape), dtype=torch.float32)[:, None], torch.tensor(y)


class Net(nn.Module):
    def __init__(self, c=24):
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(nn.Conv1d(1 if k == 0 else c, c, 5, padding=2 * 2**k, dilation=2**k)) for k in range(4))
        self.head = nn.Conv1d(c, 3, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        for k, layer in enumerate(self.layers):
            h = self.dropout(torch.relu(layer(x)))
            x = h if k == 0 else x + h
        return self.head(x)


rng = np.random.default_rng(0)
torch.manual_seed(0)
torch.set_num_threads(1)
x, y = record(240, rng)
xt, yt = record(60, rng)
net = Net()
opt = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(8):
    net.train()
    for idx in torch.randperm(len(x)).split(16):
        loss = nn.functional.cross_entropy(net(x[idx]), y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        print(f"epoch {epoch} loss {loss.item():.3f} frame accuracy {(net(xt).argmax(1) == yt).float().mean().item():.3f}")
