"""Batch renorm against its definition, at both ends of its bounds and between them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nn.inputs import EXACT, assert_alike, copied, inputs, native, quick, response, scrambled
from normscope.nn import BatchRenorm
from normscope.nn.layer import along_channels

PAPER = {"r_max": 3.0, "d_max": 5.0, "warmup": 5_000, "r_steps": 40_000, "d_steps": 25_000}


class Defined(nn.Module):
    """Section 3 of the paper, word for word, with autograd's own derivatives."""

    def __init__(self, norm: BatchRenorm, r_max: float, d_max: float) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(p.detach().clone()) for p in (norm.weight, norm.bias)
        )
        for name, b in norm.named_buffers():
            self.register_buffer(name, b.clone())
        self.eps, self.alpha, self.r_max, self.d_max = norm.eps, norm.momentum, r_max, d_max

    def forward(self, x: Tensor) -> Tensor:
        over = [d for d in range(x.ndim) if d != 1]
        var, mean = torch.var_mean(x, over, correction=0)
        batch, stored = (var + self.eps).sqrt(), (self.running_var + self.eps).sqrt()
        r = (batch / stored).detach().clamp(1 / self.r_max, self.r_max)
        d = ((mean - self.running_mean) / stored).detach().clamp(-self.d_max, self.d_max)
        mean, batch, r, d, weight, bias = (
            along_channels(t, x) for t in (mean, batch, r, d, self.weight, self.bias)
        )
        n = x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean += self.alpha * (mean.flatten() - self.running_mean)
            self.running_var += self.alpha * (var * n / (n - 1) - self.running_var)
            self.num_batches_tracked += 1
        return weight * ((x - mean) / batch * r + d) + bias


def relaxed(channels: int, **words: float) -> BatchRenorm:
    """Without warm-up: all bounds at their final values from the first step."""
    return scrambled(
        BatchRenorm(channels, dtype=torch.float64, warmup=0, r_steps=0, d_steps=0, **words)
    )


@quick
@given(inputs(), st.sampled_from([1.0, 1.5, 3.0]), st.sampled_from([0.0, 0.5, 5.0]))
def test_it_is_what_the_paper_defines(x: Tensor, r_max: float, d_max: float) -> None:
    norm = relaxed(x.shape[1], r_max=r_max, d_max=d_max)
    norm.num_batches_tracked += 1  # the schedule is over after its step 0
    defined = Defined(norm, r_max, d_max)
    for _ in range(2):
        assert_alike(response(norm, x), response(defined, x), rtol=1e-7, atol=1e-9)


@quick
@given(inputs(), st.booleans())
def test_during_the_warm_up_it_is_batch_norm(x: Tensor, training: bool) -> None:
    theirs = native(x, momentum=0.01).train(training)
    ours = copied(BatchRenorm(x.shape[1], dtype=x.dtype), theirs)
    assert_alike(response(ours, x), response(theirs, x), **EXACT)


@quick
@given(inputs())
def test_within_the_bounds_training_computes_what_evaluation_does(x: Tensor) -> None:
    norm = relaxed(x.shape[1], r_max=1e9, d_max=1e9)
    norm.num_batches_tracked += 1
    evaluated = norm.eval()(x)
    torch.testing.assert_close(norm.train()(x), evaluated, rtol=1e-6, atol=1e-8)


def test_the_schedule_is_the_papers() -> None:
    norm = BatchRenorm(1)
    assert {k: getattr(norm, k) for k in PAPER} == PAPER
    for step, expected in {
        0: (1, 0),
        5_000: (1, 0),
        15_000: (1 + 2 * 10 / 35, 2.5),
        25_000: (1 + 2 * 20 / 35, 5),
        40_000: (3, 5),
        10**6: (3, 5),
    }.items():
        norm.num_batches_tracked.fill_(step)
        assert [float(b) for b in norm.bounds()] == pytest.approx(expected)


def test_uncorrected_it_is_batch_norm_and_afterwards_itself_again() -> None:
    x = torch.randn(6, 2, dtype=torch.float64)
    norm = relaxed(2)
    norm.num_batches_tracked += 1
    plain = copied(nn.BatchNorm1d(2, dtype=torch.float64, momentum=0.01), norm)
    corrected = norm(x)
    with norm.uncorrected():
        torch.testing.assert_close(norm(x), plain(x), **EXACT)
    assert (norm.r_max, norm.d_max) == (3.0, 5.0)
    assert not torch.allclose(corrected, plain(x))


def test_second_derivatives_exist() -> None:
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    norm = BatchRenorm(2, dtype=torch.float64)  # batch norm yet, so that differences tell the truth
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"track_running_stats": False}, "track_running_stats=False was given"),
        ({"r_max": 0.5}, "expected r_max ≥ 1"),
        ({"d_max": -1.0}, "d_max ≥ 0"),
        ({"warmup": 50_000}, "expected 0 ≤ warmup ≤ r_steps"),
    ],
)
def test_what_makes_no_sense_is_refused(words: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchRenorm(3, **words)
