"""Masked batch norm against batch norm of the real values, gathered."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from nn.inputs import EXACT, Words, assert_alike, copied, inputs, native, quick, response, words
from normscope.nn import MaskedBatchNorm


class Gathered(nn.Module):
    """Batch norm of the values that count, put back among zeros."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows = x.movedim(1, -1)
        return (
            torch.zeros_like(rows)
            .masked_scatter(mask[..., None].expand_as(rows), self.norm(rows[mask]))
            .movedim(-1, 1)
        )


@st.composite
def masked(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    x = draw(inputs(least=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    mask = torch.rand(x.shape[0], *x.shape[2:], generator=generator) < draw(
        st.sampled_from([0.4, 0.8])
    )
    assume(int(mask.sum()) > 1)
    return x, mask


@quick
@given(masked(), words, st.booleans(), st.booleans())
def test_only_the_real_values_count(
    pair: tuple[Tensor, Tensor], chosen: Words, training: bool, wide: bool
) -> None:
    x, mask = pair
    theirs = native(x.flatten(2)[..., 0] if x.ndim > 2 else x, **chosen._asdict()).train(training)
    ours = copied(MaskedBatchNorm(x.shape[1], dtype=x.dtype, **chosen._asdict()), theirs)
    y, d_x, state = response(Gathered(theirs), x, mask)
    given_mask = mask.unsqueeze(1) if wide else mask
    renamed = {k.removeprefix("norm."): v for k, v in state.items()}
    assert_alike(response(ours, x, given_mask), (y, d_x, renamed), **EXACT)


@quick
@given(inputs(), words, st.booleans(), st.booleans())
def test_with_nothing_masked_it_is_batch_norm(
    x: Tensor, chosen: Words, training: bool, stated: bool
) -> None:
    theirs = native(x, **chosen._asdict()).train(training)
    ours = copied(MaskedBatchNorm(x.shape[1], dtype=x.dtype, **chosen._asdict()), theirs)
    mask = torch.ones(x.shape[0], *x.shape[2:], dtype=torch.bool) if stated else None
    assert_alike(response(ours, x, mask), response(theirs, x), **EXACT)


@quick
@given(masked(), st.sampled_from([math.nan, math.inf, 1e300]), st.booleans())
def test_what_stands_in_the_padding_makes_no_difference(
    pair: tuple[Tensor, Tensor], junk: float, training: bool
) -> None:
    x, mask = pair
    dirty = torch.where(mask.unsqueeze(1), x, junk)
    norm, other = (MaskedBatchNorm(x.shape[1], dtype=x.dtype).train(training) for _ in range(2))
    clean, soiled = response(norm, x, mask), response(other, dirty, mask)
    assert_alike(soiled, clean, rtol=0, atol=0)
    assert not clean[0][~mask.unsqueeze(1).expand_as(x)].any()


@pytest.mark.parametrize("real", [0, 1])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_of_padding_leaves_the_statistics_alone(real: int, momentum: float | None) -> None:
    norm = MaskedBatchNorm(2, momentum=momentum)
    mask = torch.arange(12).view(3, 4) < real
    y, d_x, state = response(norm, torch.randn(3, 2, 4), mask)
    assert not y.any()  # β of the one real value, which is 0
    assert torch.isfinite(d_x).all()
    torch.testing.assert_close(state["running_mean"], torch.zeros(2))
    torch.testing.assert_close(state["running_var"], torch.ones(2))
    assert int(norm.num_batches_tracked) == 0


def test_derivatives_of_both_orders_with_a_mask() -> None:
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(4, 3) < 0.6
    norm = MaskedBatchNorm(2, track_running_stats=False, dtype=torch.float64)

    def run(v: Tensor, weight: Any, bias: Any) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (v, mask))

    assert torch.autograd.gradcheck(run, (x, norm.weight, norm.bias))
    assert torch.autograd.gradgradcheck(run, (x, norm.weight, norm.bias))


def test_a_mask_that_does_not_fit_is_told_in_one_line() -> None:
    norm, x = MaskedBatchNorm(2), torch.zeros(3, 2, 4)
    with pytest.raises(
        ValueError, match=r"expected a boolean mask.*got torch.float32: `mask.bool\(\)`"
    ):
        norm(x, torch.ones(3, 4))
    with pytest.raises(
        ValueError, match=r"expected a mask of shape \(3, 4\) or \(3, 1, 4\), got \(3, 2, 4\)"
    ):
        norm(x, torch.ones(3, 2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(torch.zeros(1, 2, 1), torch.ones(1, 1, dtype=torch.bool))
