"""Layers of a user's own that call batch norm: statistics and scale are those that it was handed, whatever they are called."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from record.conftest import Observing


class ConvNorm(nn.Module):
    """`weight` is the kernel; the norm's tensors have names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 2, 3))
        self.gamma = nn.Parameter(torch.ones(6))
        self.register_buffer("mu", torch.zeros(6))
        self.register_buffer("sigma2", torch.ones(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.conv1d(x, self.weight)
        return F.batch_norm(x, self.mu, self.sigma2, self.gamma, None, self.training, 0.2)


def test_names_do_not_matter(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(ConvNorm(), nn.Flatten(), nn.Linear(36, 3))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(net(torch.randn(16, 2, 8)), torch.randint(0, 3, (16,))).backward()
            optimizer.step()
    (layer,) = run.recording.layers.values()
    assert layer.tracks
    assert layer.fresh_at_start
    assert layer.fresh_at_end is False
    assert layer.channels == 6
    assert layer.gamma_mean_at_start == 1.0
    assert layer.gamma_sd_at_start == 0.0
    assert layer.momentum == 0.2
    assert layer.updates == 3
