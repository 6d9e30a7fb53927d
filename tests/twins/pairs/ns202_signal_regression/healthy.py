"""Estimate the frequency of a noisy tone from 64 samples with a 1-D convolutional net."""

import math
from functools import partial

import torch
from torch import nn

torch.set_num_threads(1)

Norm = partial(nn.BatchNorm1d, momentum=0.1)


class ConvBlock(nn.Sequential):
    def __init__(self, c_in, c_out, kernel, stride=2):
        super().__init__(
            nn.Conv1d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
            Norm(c_out),
            nn.ReLU(),
        )


class ToneNet(nn.Sequential):
    def __init__(self, width=16):
        super().__init__(
            ConvBlock(1, width, 7),
            ConvBlock(width, width, 5),
            ConvBlock(width, 2 * width, 3),
            ConvBlock(2 * width, 2 * width, 3),
            nn.AdaptiveMaxPool1d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 1),
        )


def tones(n, *, seed):
    rng = torch.Generator().manual_seed(seed)
    frequency = 2 + 18 * torch.rand(n, 1, generator=rng)
    phase = 2 * math.pi * torch.rand(n, 1, generator=rng)
    time = torch.linspace(0, 1, 64)
    clean = torch.sin(2 * math.pi * frequency * time + phase)
    signal = 0.2 * (clean + 0.1 * torch.randn(n, 64, generator=rng))
    return signal.unsqueeze(1), (frequency - 11) / 5.2


def r2(prediction, truth):
    return 1 - ((prediction - truth) ** 2).mean().item() / truth.var().item()


torch.manual_seed(0)
signals, targets = tones(1280, seed=1)
new_signals, new_targets = tones(512, seed=2)

net = ToneNet()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

EPOCHS, BATCH = 4, 64
for epoch in range(EPOCHS):
    net.train()
    fitted = []
    for part in torch.randperm(len(signals)).split(BATCH):
        optimizer.zero_grad()
        prediction = net(signals[part])
        loss = nn.functional.smooth_l1_loss(prediction, targets[part])
        loss.backward()
        optimizer.step()
        fitted.append(r2(prediction.detach(), targets[part]))
    net.eval()
    with torch.no_grad():
        score = r2(net(new_signals), new_targets)
    print(
        f"epoch {epoch}: R2 in training {sum(fitted) / len(fitted):.3f}, on new tones {score:.3f}"
    )
