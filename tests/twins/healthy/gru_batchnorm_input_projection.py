"""Sequence classification: batch norm over (batch, time) on the input projection, layer norm on the states."""
import numpy as np
import torch
from torch import nn

torch.manual_seed(4)
torch.set_num_threads(1)


def make_sequences(n, length=24, seed=0):
    """Three kinds of noisy oscillation in two channels of very different scale."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    t = np.arange(length)
    freq = np.array([0.25, 0.4, 0.55])[kind][:, None] * (1 + 0.08 * rng.standard_normal((n, 1)))
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    a = np.sin(freq * t + phase) + 0.5 * rng.standard_normal((n, length))
    b = 40 + 15 * np.cos(freq * t + phase) + 8 * rng.standard_normal((n, length))
    return torch.tensor(np.stack([a, b], 2), dtype=torch.float32), torch.tensor(kind)


class TimeBatchNorm(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.bn = nn.BatchNorm1d(features)

    def forward(self, x):  # (N, L, C)
        return self.bn(x.transpose(1, 2)).transpose(1, 2)


class Classifier(nn.Module):
    def __init__(self, inputs=2, hidden=32, classes=3):
        super().__init__()
        self.project = nn.Linear(inputs, hidden, bias=False)
        self.norm_in = TimeBatchNorm(hidden)
        self.cell = nn.GRUCell(hidden, hidden)
        self.norm_state = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x):
        x = torch.relu(self.norm_in(self.project(x)))
        h = x.new_zeros(len(x), self.cell.hidden_size)
        for t in range(x.shape[1]):
            h = self.norm_state(self.cell(x[:, t], h))
        return self.head(h)


x_train, y_train = make_sequences(640, seed=1)
x_val, y_val = make_sequences(200, seed=2)
x_test, y_test = make_sequences(300, seed=3)
net = Classifier()
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
loss_fn = nn.CrossEntropyLoss()


@torch.no_grad()
def evaluate(x, y):
    net.eval()
    out = net(x)
    net.train()
    return loss_fn(out, y).item(), (out.argmax(1) == y).float().mean().item()


for epoch in range(12):
    for idx in torch.randperm(len(x_train)).split(32):
        loss = loss_fn(net(x_train[idx]), y_train[idx])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
    if epoch % 4 == 3:
        print("epoch %d val loss %.3f acc %.3f" % (epoch, *evaluate(x_val, y_val)))
print("test loss %.3f acc %.3f" % evaluate(x_test, y_test))
