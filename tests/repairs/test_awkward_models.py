"""Every repair on models that are built unusually: it works, or it refuses in one line, and the model stays as it was."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.nn import FrozenBatchNorm
from normscope.repairs import (
    convert,
    fold_batchnorm,
    fold_redundant_bias,
    move_before_addition,
    remove_batchnorm,
    reset_gamma,
    set_momentum,
)
from repairs.awkward import MODELS, X, made
from repairs.models import state_of

KEEP = {  # evaluation
    "fold-redundant-bias": fold_redundant_bias,
    "fold-batchnorm": fold_batchnorm,
    "set-momentum": lambda m, _: set_momentum(m, 0.3),
    "remove-batchnorm": remove_batchnorm,
    **{f"convert-{to}": lambda m, x, to=to: convert(m, to, x) for to in ("renorm", "ghost", "frozen", "domain", "sync")},
}  # fmt: skip
CHANGE = {
    **{f"convert-{to}": lambda m, x, to=to: convert(m, to, x) for to in ("group", "layer", "instance")},
    "calibrated": lambda m, x: convert(m, "group", x, calibrated=True),
    "reset-gamma": reset_gamma,
    "move-before-addition": move_before_addition,
}  # fmt: skip
EVERY = KEEP | CHANGE
# Layers are exchanged here that another converter would lose, or a careless one would break.
WORKS = {
    "SharedNorm": {*EVERY} - {"move-before-addition"},
    "TwoNames": {*EVERY} - {"move-before-addition"},
    "TiedConvolutions": {*EVERY} - {"move-before-addition"},
    "HookedBehind": {*EVERY} - {"move-before-addition"},
    "PaddedByHand": {*EVERY} - {"move-before-addition"},
    "NoShift": {*EVERY} - {"move-before-addition"},
    "compiled": {*EVERY} - {"move-before-addition"},
    "parallel": {*EVERY} - {"move-before-addition"},
}


def outputs(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(X)


def attempt(repair: str, model: nn.Module) -> tuple[Any, ...] | str:
    """What the repair gives, or why it refuses."""
    try:
        return EVERY[repair](model, X)
    except NormscopeError as reason:
        return str(reason)


@pytest.mark.parametrize("repair", EVERY)
@pytest.mark.parametrize("name", MODELS)
def test_it_works_or_refuses_and_breaks_nothing(name: str, repair: str) -> None:
    model = made(name)
    before = outputs(model)
    model.train()
    state = state_of(model)
    outcome = attempt(repair, model)
    assert state_of(model) == state
    if isinstance(outcome, str):
        assert "\n" not in outcome
        assert repair not in WORKS.get(name, ()), outcome
        return
    repaired, certificate, *_ = outcome
    assert "\n" not in certificate.done
    after = outputs(repaired)
    assert bool(after.isfinite().all())
    if repair in KEEP:
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    if repair not in ("fold-batchnorm", "convert-sync"):
        repaired.train()(X).square().sum().backward()
    repaired.load_state_dict(repaired.state_dict())


def test_a_layer_that_only_holds_the_tensors_is_left_alone() -> None:
    """Another one in its place would do nothing."""
    for name in ("FunctionalCall", "BoundMethod"):
        for to in ("frozen", "ghost", "group"):
            with pytest.raises(NormscopeError, match="norm: it is not called as a layer"):
                convert(made(name), to, X)
        with pytest.raises(NormscopeError, match="can be taken out: norm: it is not called"):
            remove_batchnorm(made(name), X)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("StandardizedWeight", "`Standardized` computes something else from its weight"),
        ("ParametrizedBias", "its bias is computed from others"),
        ("SharedNorm", "the norm behind it (`norm`) is called more than once"),
    ],
)
def test_maps_that_take_nothing_in_are_told(name: str, reason: str) -> None:
    for repair in (fold_batchnorm, fold_redundant_bias):
        _, certificate, *_ = repair(made(name), X)
        assert any(reason in x.reason for x in certificate.left)


def test_a_convolution_of_another_class_takes_the_norm_in() -> None:
    for name in ("PaddedByHand", "TwoNames", "HookedBehind", "parallel"):
        _, certificate = fold_batchnorm(made(name), X)
        assert certificate.done.startswith("folded 1 batch norms")


def test_a_scale_that_the_forward_pass_reads_is_told() -> None:
    for repair in (fold_batchnorm, remove_batchnorm):
        with pytest.raises(
            NormscopeError, match=r"cannot be called after the repair .* in another way"
        ):
            repair(made("ReadsTheScale"), X)


def test_no_running_statistics_no_exchange_that_needs_them() -> None:
    for to in ("renorm", "ghost", "domain", "frozen"):
        with pytest.raises(NormscopeError, match="it keeps no running statistics"):
            convert(made("BatchStatisticsOnly"), to, X)


@pytest.mark.parametrize("name", ["TwoNames", "compiled", "parallel"])
def test_checkpoints_migrate_by_every_name(name: str) -> None:
    model = made(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for to in ("group", "domain", "frozen"):
        repaired, _, migration = convert(model, to, X)
        repaired.load_state_dict(migration.forward(before))
        model.load_state_dict(migration.backward(repaired.state_dict()))
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_hooks_go_along() -> None:
    repaired, _, _ = convert(made("Hooked"), "frozen", X)
    assert isinstance(repaired.norm, FrozenBatchNorm)
    assert (len(repaired.norm._forward_pre_hooks), len(repaired.norm._forward_hooks)) == (1, 1)


def test_what_evaluation_loses_is_noticed() -> None:
    """A layer in a plain list is not reached by `eval()`: frozen, it would do something else."""
    model = made("TwoNames")
    model.again = None
    model.held = [model.norm.train()]
    del model.norm
    model.forward = partial(_through_the_list, model)
    with pytest.raises(NormscopeError, match="Evaluation would move by"):
        convert(model, "frozen", X)


def _through_the_list(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model.head(model.held[0](model.conv(x)).relu().mean((2, 3)))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_compiled_and_lazy_models_are_told() -> None:
    for repair in (fold_batchnorm, partial(convert, to="group")):
        with pytest.raises(NormscopeError, match="is TorchScript"):
            repair(torch.jit.script(made("TwoNames")))
        with pytest.raises(NormscopeError, match="lazy layers that never ran"):
            repair(nn.Sequential(nn.Conv2d(3, 8, 3), nn.LazyBatchNorm2d()))
