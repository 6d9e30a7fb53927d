"""The reference against PyTorch's kernels, in every layout, mode and setting."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from nn.inputs import EXACT, Words, assert_alike, copied, inputs, native, quick, response, words
from normscope.nn import BatchNorm

MORE_THAN_ONE = "Expected more than 1 value per channel when training"


@quick
@given(inputs(), words, st.booleans())
def test_it_is_torch_batch_norm(x: Tensor, chosen: Words, training: bool) -> None:
    theirs = native(x, **chosen._asdict()).train(training)
    ours = copied(BatchNorm(x.shape[1], dtype=x.dtype, **chosen._asdict()), theirs)
    for _ in range(2):  # the second batch meets moved statistics
        assert_alike(response(ours, x), response(theirs, x), **EXACT)


@quick
@given(inputs(), st.booleans())
def test_second_derivatives_are_those_of_torch(x: Tensor, training: bool) -> None:
    theirs = native(x).train(training)
    ours = copied(BatchNorm(x.shape[1], dtype=x.dtype), theirs)

    def penalty(norm: Any) -> tuple[Tensor, ...]:
        v = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(norm(v).pow(3).sum(), v, create_graph=True)
        # A function of the gradient that is not constant: its own derivatives by x, γ and β.
        return torch.autograd.grad(grad.square().sum(), (v, norm.weight), allow_unused=True)

    for a, b in zip(penalty(ours), penalty(theirs), strict=True):
        scale = float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9 * max(1.0, scale))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (2, 2, 3), (2, 2, 2, 2)])
def test_derivatives_by_hand_are_those_by_difference(shape: tuple[int, ...], affine: bool) -> None:
    norm = BatchNorm(shape[1], affine=affine, track_running_stats=False, dtype=torch.float64)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    parameters = tuple(norm.parameters())

    def run(v: Tensor, *values: Tensor) -> Tensor:
        names = dict(zip(("weight", "bias"), values, strict=False))
        return torch.func.functional_call(norm, names, (v,))

    assert torch.autograd.gradcheck(run, (x, *parameters))
    assert torch.autograd.gradgradcheck(run, (x, *parameters))


@quick
@given(inputs())
def test_one_dimension_or_two_makes_no_difference(x: Tensor) -> None:
    """Batch norm knows only values of a channel: positions may as well be samples."""
    flat = x.movedim(1, -1).reshape(-1, x.shape[1])
    norm, other = (BatchNorm(x.shape[1], dtype=x.dtype) for _ in range(2))
    y, z = norm(x), other(flat)
    torch.testing.assert_close(y.movedim(1, -1).reshape(z.shape), z, **EXACT)
    torch.testing.assert_close(norm.state_dict(), other.state_dict(), **EXACT)
    bare = nn.BatchNorm1d(x.shape[1], dtype=x.dtype)
    torch.testing.assert_close(bare(flat), z, **EXACT)


@quick
@given(inputs(least=3))
def test_single_precision_is_off_by_at_most_a_few_roundings(x: Tensor) -> None:
    """Bound: 1e-6 · (1 + |μ|/σ) of an output of size 1, and the same share of the largest gradient."""
    assume(x.numel() // x.shape[1] > 3)
    exact = BatchNorm(x.shape[1], dtype=torch.float64)
    single = BatchNorm(x.shape[1])
    y, d_x, state = response(exact, x)
    y32, d_x32, state32 = response(single, x.float())
    over = [d for d in range(x.ndim) if d != 1]
    var, mean = torch.var_mean(x, over, correction=0)
    offset = 1 + float((mean.abs() / (var + exact.eps).sqrt()).max())
    assert float((y32 - y).abs().max()) < 1e-6 * offset * float(y.abs().max())
    assert float((d_x32 - d_x).abs().max()) < 3e-6 * offset * float((1 / (var + 1e-5).sqrt()).max())
    for name in state:
        torch.testing.assert_close(
            state32[name].double(), state[name].double(), rtol=1e-5, atol=1e-5 * offset
        )


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_one_value_per_channel_is_refused_as_torch_does(shape: tuple[int, ...]) -> None:
    norm = BatchNorm(3)
    with pytest.raises(ValueError, match=MORE_THAN_ONE):
        norm(torch.zeros(shape))
    assert norm.eval()(torch.zeros(shape)).shape == shape


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 2, 5)])
def test_a_wrong_shape_is_told_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"expected an input of shape \(N, 3\) or \(N, 3, \*\), got"
    ):
        BatchNorm(3)(torch.zeros(shape))


def test_what_is_saved_for_backward_is_x_and_a_few_numbers_a_channel() -> None:
    x = torch.randn(8, 4, 6, 6, requires_grad=True)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        BatchNorm(4)(x)
    assert sum(t.numel() for t in saved if t.data_ptr() != x.data_ptr()) <= 4 * 4
