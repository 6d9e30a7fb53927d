"""SkipInit: nothing of the branch at first, and a scale that learns."""

from __future__ import annotations

import torch
from torch import nn

from normscope.nn import SkipInit


class Block(nn.Module):
    def __init__(self, scale: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale(self.branch(x))


def test_the_branch_is_closed_at_first_and_opens() -> None:
    block, x = Block(SkipInit()), torch.randn(16, 8)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        (block(x) - 2 * x.relu()).square().mean().backward()
        weights = block.branch[0].weight.grad
        assert bool(weights.any()) == (step > 0)  # α = 0 stands in between at step 0 only
        assert bool(block.scale.scale.grad)
        optimizer.step()


def test_depth_does_not_blow_up_the_signal() -> None:
    """Each open branch adds its own variance; with the scale the signal passes 100 blocks as it came."""
    x = torch.randn(256, 8)

    def deep(scale: type[nn.Module]) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(*(Block(scale()) for _ in range(100)))

    with torch.no_grad():
        torch.testing.assert_close(deep(SkipInit)(x), x, rtol=0, atol=0)
        assert float(deep(nn.Identity)(x).std()) > 10 * float(x.std())


def test_a_value_other_than_0_and_precision() -> None:
    scale = SkipInit(0.5, dtype=torch.bfloat16)
    assert float(scale(torch.ones(3, dtype=torch.bfloat16)).sum().detach()) == 1.5
    scale.reset_parameters()
    assert scale.scale.shape == ()
    assert "value=0.5" in repr(scale)
