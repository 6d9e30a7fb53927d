"""Which of five waveforms is it? A 1-D network; the initialization is that of our old recurrent models."""

import numpy as np
import torch
from torch import nn

torch.manual_seed(5)
torch.set_num_threads(1)
rng = np.random.default_rng(5)


def signals(n):
    t = np.linspace(0, 1, 64)[None]
    kind = rng.integers(0, 5, size=n)
    phase, freq = rng.uniform(0, 1, (n, 1)), rng.uniform(3, 6, (n, 1))
    u = (freq * t + phase) % 1
    shapes = np.stack(
        [
            np.sin(2 * np.pi * u),
            np.sign(u - 0.5),
            2 * u - 1,
            1 - 4 * np.abs(u - 0.5),
            np.sin(2 * np.pi * u) + 0.5 * np.sin(6 * np.pi * u),
        ]
    )
    wave = shapes[kind, np.arange(n)] + 0.5 * rng.standard_normal((n, 64))
    return torch.tensor(wave[:, None], dtype=torch.float32), torch.tensor(kind)


def conv_bn(n_in, n_out, stride):
    return nn.Sequential(
        nn.Conv1d(n_in, n_out, 5, stride=stride, padding=2),
        nn.BatchNorm1d(n_out),
        nn.LeakyReLU(0.1),
    )


net = nn.Sequential(
    conv_bn(1, 16, 1),
    conv_bn(16, 24, 2),
    conv_bn(24, 24, 1),
    conv_bn(24, 32, 2),
    conv_bn(32, 32, 2),
    nn.AdaptiveAvgPool1d(1),
    nn.Flatten(),
    nn.Linear(32, 5),
)
with torch.no_grad():
    for p in net.parameters():
        p.uniform_(-0.08, 0.08)

train_x, train_y = signals(2560)
test_x, test_y = signals(600)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

step = 0
while step < 200:
    for rows in torch.randperm(2560).view(-1, 64):
        net.train()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(train_x[rows]), train_y[rows])
        loss.backward()
        optimizer.step()
        step += 1
        if step == 140:
            optimizer.param_groups[0]["lr"] = 0.001
        if step % 50 == 0:
            net.eval()
            with torch.no_grad():
                hits = (net(test_x).argmax(1) == test_y).sum().item()
            print(f"step {step} loss {loss.item():.3f} test {hits / 600:.3f}")
