"""Frozen is frozen: in every mode, under every helper that goes through a model's batch norms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from nn.inputs import EXACT, copied, inputs, native, quick, response, scrambled
from normscope.nn import FrozenBatchNorm


@quick
@given(inputs(least=1), st.booleans(), st.booleans(), st.booleans())
def test_in_every_mode_it_is_batch_norm_in_evaluation(
    x: Tensor, affine: bool, trainable: bool, training: bool
) -> None:
    theirs = native(x, affine=affine).eval()
    ours = FrozenBatchNorm(x.shape[1], affine=affine, dtype=x.dtype, trainable_affine=trainable)
    copied(ours, theirs).train(training)
    y, d_x, state = response(ours, x)
    y_, d_x_, state_ = response(theirs, x)
    torch.testing.assert_close(y, y_, **EXACT)
    torch.testing.assert_close(d_x, d_x_, **EXACT)
    for name, value in state.items():
        torch.testing.assert_close(value, state_[name], **EXACT)
    assert ("weight" in state) == (affine and trainable)


def test_a_model_trains_around_it_and_it_stays() -> None:
    model = nn.Sequential(nn.Linear(4, 3), scrambled(FrozenBatchNorm(3)), nn.Linear(3, 2))
    before = {k: v.clone() for k, v in model[1].state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        model.train()
        optimizer.zero_grad()
        model(torch.randn(2, 4)).square().sum().backward()
        optimizer.step()
    update_bn([torch.randn(8, 4)], model)
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(model[1]) is FrozenBatchNorm
    torch.testing.assert_close(model[1].state_dict(), before, rtol=0, atol=0)


def test_state_dicts_pass_both_ways() -> None:
    theirs = scrambled(nn.BatchNorm2d(3))
    ours = copied(FrozenBatchNorm(3), theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    copied(nn.BatchNorm2d(3), ours)


def test_one_value_is_enough_for_statistics_that_are_there() -> None:
    assert FrozenBatchNorm(3)(torch.ones(1, 3)).shape == (1, 3)


def test_nothing_of_the_size_of_x_is_saved_for_backward() -> None:
    x = torch.randn(8, 4, 6, 6, requires_grad=True)
    for trainable, least in ((False, 0), (True, x.numel())):
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # noqa: B023
            FrozenBatchNorm(4, trainable_affine=trainable)(x)
        assert least <= sum(t.numel() for t in saved) <= least + 5 * 4


def test_derivatives_of_both_orders() -> None:
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    norm = scrambled(FrozenBatchNorm(2, dtype=torch.float64))
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(lambda v: norm(v).pow(2), (x,))


def test_without_statistics_there_is_nothing_to_freeze() -> None:
    with pytest.raises(ValueError, match="frozen statistics are the running ones"):
        FrozenBatchNorm(3, track_running_stats=False)
