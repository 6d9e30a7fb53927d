"""Ghosts against as many batch norms, for batches that divide and batches that do not."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nn.inputs import EXACT, assert_alike, copied, inputs, native, quick, response
from normscope.nn import GhostBatchNorm
from normscope.statistics import momentum_for_batch


def ghosts_of(n: int, ghost_size: int, *, neighbours: bool) -> list[list[int]]:
    """Which samples share statistics, told from the documentation alone."""
    k = max(1, n // ghost_size)
    size, larger = divmod(n, k)
    if neighbours:
        ends = [0]
        for g in range(k):
            ends.append(ends[-1] + size + (g < larger))
        return [list(range(a, b)) for a, b in pairwise(ends)]
    cut = larger * (size + 1)
    return [list(range(g, cut, larger)) for g in range(larger)] + [
        list(range(cut + g, n, k - larger)) for g in range(k - larger)
    ]


class Separate(nn.Module):
    """Batch norm of each ghost from the same running statistics, which then become the mean of what each made of them."""

    def __init__(self, norm: Any, ghosts: list[list[int]]) -> None:
        super().__init__()
        self.norm, self.ghosts = norm, ghosts

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        norm.num_batches_tracked += 1
        alpha = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        y, moved = torch.empty_like(x), []
        for ghost in self.ghosts:
            mean, var = norm.running_mean.clone(), norm.running_var.clone()
            y[ghost] = F.batch_norm(
                x[ghost], mean, var, norm.weight, norm.bias, True, alpha, norm.eps
            )
            moved.append(torch.stack([mean, var]))
        for buffer, value in zip(
            (norm.running_mean, norm.running_var), torch.stack(moved).mean(0), strict=True
        ):
            buffer.copy_(value)
        return y


@quick
@given(inputs(least=2, most=13), st.integers(2, 5), st.sampled_from([0.1, 1.0, None]))
def test_each_ghost_is_a_batch_norm(x: Tensor, size: int, momentum: float | None) -> None:
    theirs = native(x, momentum=momentum)
    ours = copied(GhostBatchNorm(x.shape[1], size, momentum=momentum, dtype=x.dtype), theirs)
    separate = Separate(theirs, ghosts_of(len(x), size, neighbours=not x.is_contiguous()))
    for _ in range(2):
        y, d_x, state = response(separate, x)
        renamed = {k.removeprefix("norm."): v for k, v in state.items()}
        assert_alike(response(ours, x), (y, d_x, renamed), **EXACT)


@quick
@given(inputs(least=2, most=9))
def test_one_ghost_and_evaluation_are_batch_norm(x: Tensor) -> None:
    theirs = native(x)
    ours = copied(GhostBatchNorm(x.shape[1], 5, dtype=x.dtype), theirs)
    assert_alike(response(ours, x), response(theirs, x), **EXACT)
    small = copied(GhostBatchNorm(x.shape[1], 2, dtype=x.dtype), theirs)
    assert_alike(response(small.eval(), x), response(theirs.eval(), x), **EXACT)


@quick
@given(st.integers(1, 300), st.integers(1, 64))
def test_every_sample_is_in_one_ghost_of_enough_samples(n: int, size: int) -> None:
    x = torch.arange(n, dtype=torch.float64).view(n, 1)
    ghosts = ghosts_of(n, size, neighbours=False)
    assert sorted(i for g in ghosts for i in g) == list(range(n))
    assert min(map(len, ghosts)) >= min(n, size)
    if min(map(len, ghosts)) > 1:
        y = GhostBatchNorm(1, size, affine=False, eps=1e-12, dtype=torch.float64)(x)
        for ghost in ghosts:
            assert float(y[ghost].mean()) == pytest.approx(0, abs=1e-9)
            assert float(y[ghost].var(correction=0)) == pytest.approx(1)


def test_the_papers_window_is_another_momentum() -> None:
    """Four ghosts that move the average one by one forget as much as one batch with 1 − (1−α)⁴."""
    x = torch.randn(16, 1, dtype=torch.float64)
    one_by_one = nn.BatchNorm1d(1, dtype=torch.float64)
    for _ in range(4):
        one_by_one(x[:4])  # one ghost four times, so that their order does not matter
    at_once = GhostBatchNorm(1, 4, momentum=momentum_for_batch(0.1, 4), dtype=torch.float64)
    at_once(x[:4].repeat_interleave(4, 0))
    torch.testing.assert_close(at_once.running_mean, one_by_one.running_mean, **EXACT)
    torch.testing.assert_close(at_once.running_var, one_by_one.running_var, **EXACT)
    assert int(at_once.num_batches_tracked) == 1


def test_second_derivatives_and_no_statistics() -> None:
    x = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=True)
    norm = GhostBatchNorm(2, 2, track_running_stats=False, dtype=torch.float64)
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


def test_one_value_per_channel_and_ghost_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        GhostBatchNorm(3, 1)(torch.zeros(4, 3))
    GhostBatchNorm(3, 1)(torch.zeros(4, 3, 2))  # two positions are two values
    with pytest.raises(ValueError, match="ghost_size must be at least 1 sample, got 0"):
        GhostBatchNorm(3, 0)
