"""What other converters and freezers do wrong, by name of the tool; ours does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from normscope.errors import NormscopeError
from normscope.nn import FrozenBatchNorm, GhostBatchNorm
from normscope.repairs import convert, fold_batchnorm, reset_gamma

SHAPES = {nn.BatchNorm1d: (8, 6), nn.BatchNorm2d: (8, 6, 4, 4), nn.BatchNorm3d: (4, 6, 3, 3, 3)}
MAPS = {nn.BatchNorm1d: nn.Linear(6, 6), nn.BatchNorm2d: nn.Conv2d(6, 6, 1), nn.BatchNorm3d: nn.Conv3d(6, 6, 1)}  # fmt: skip


def trained(kind: type[nn.Module], **words: object) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(MAPS[kind], kind(6, **words))
    x = torch.randn(SHAPES[kind])
    for _ in range(3):
        model(x * 2 + 1)
    with torch.no_grad():
        model[1].weight.uniform_(0.5, 2)
        model[1].bias.normal_()
    return model, x


@pytest.mark.parametrize("kind", SHAPES)
def test_timm_and_detectron2_freeze_two_dimensions_only(kind: type[nn.Module]) -> None:
    model, x = trained(kind)
    expected = model.eval()(x)
    repaired, certificate, _ = convert(model, "frozen", x)
    assert isinstance(repaired[1], FrozenBatchNorm)
    assert not certificate.left
    torch.testing.assert_close(repaired.train()(x), expected)


def test_timm_loses_momentum_between_freezing_and_thawing() -> None:
    model, x = trained(nn.BatchNorm2d, momentum=0.03, eps=1e-3)
    frozen, _, migration = convert(model, "frozen", x)
    assert (frozen[1].momentum, frozen[1].eps) == (0.03, 1e-3)
    # Thawing is to load into the old model, which is as it was.
    model.load_state_dict(migration.backward(frozen.state_dict()))
    assert (type(model[1]), model[1].momentum) == (nn.BatchNorm2d, 0.03)


def test_a_frozen_layer_is_thawed_by_the_next_call_of_train() -> None:
    """Lightning, gt-pyg: `eval()` on the norms lasts until the trainer says `train()`."""
    model, x = trained(nn.BatchNorm2d)
    frozen, _, _ = convert(model, "frozen", x)
    before = frozen[1].running_mean.clone()
    for _ in range(2):
        frozen.train()
        frozen(x + 3)
        frozen.eval()
    assert torch.equal(before, frozen[1].running_mean)


def test_synchronizing_a_frozen_layer_thaws_it() -> None:
    model, x = trained(nn.BatchNorm2d)
    frozen, _, _ = convert(model, "frozen", x)
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(frozen)[1], FrozenBatchNorm)
    with pytest.raises(NormscopeError, match="it has none"):
        convert(frozen, "sync", x)


def test_apex_turns_instance_norm_into_synchronized_batch_norm() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True, track_running_stats=True))  # fmt: skip
    for to in ("sync", "group", "frozen"):
        with pytest.raises(NormscopeError, match="it has none"):
            convert(model, to, torch.randn(2, 3, 6, 6))


def test_torch_makes_a_synchronized_norm_of_no_channels_from_a_lazy_one() -> None:
    with pytest.raises(NormscopeError, match="lazy layers that never ran"):
        convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.LazyBatchNorm2d()), "sync")


@pytest.mark.parametrize("to", ["group", "layer", "instance"])
def test_opacus_forgets_scale_shift_and_eps(to: str) -> None:
    model, x = trained(nn.BatchNorm2d, eps=1e-3)
    repaired, _, _ = convert(model, to, x)
    for name in ("weight", "bias"):
        assert torch.equal(getattr(repaired[1], name), getattr(model[1], name))
    assert repaired[1].eps == 1e-3


def test_opacus_misses_subclasses() -> None:
    class Own(nn.BatchNorm2d):
        pass

    repaired, _, _ = convert(nn.Sequential(nn.Conv2d(3, 16, 3), Own(16)), "group", torch.randn(2, 3, 6, 6))  # fmt: skip
    assert isinstance(repaired[1], nn.GroupNorm)


def test_composers_ghosts_refuse_a_batch_smaller_than_one() -> None:
    model, x = trained(nn.BatchNorm2d)
    repaired, _, _ = convert(model, "ghost", x, ghost_size=32)
    assert isinstance(repaired[1], GhostBatchNorm)
    for n in (1, 3, 8):
        assert repaired.train()(x[:n]).shape == x[:n].shape
        assert repaired.eval()(x[:n]).shape == x[:n].shape


def test_torchs_folding_tells_no_difference() -> None:
    model, x = trained(nn.BatchNorm2d)
    _, certificate = fold_batchnorm(model, x)
    [difference] = certificate.differences
    assert difference.mode == "eval"
    assert difference.distance is not None
    assert difference.distance < 1e-6


def test_a_trained_scale_is_reset_without_a_word() -> None:
    """model-clinic sets the scale of any norm to 1 and calls it treatment."""
    model, x = trained(nn.BatchNorm2d)
    _, certificate = reset_gamma(model, x)
    assert "the model is trained" in certificate.warnings[0]
    fresh = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    nn.init.normal_(fresh[1].weight, 0.0, 0.02)
    assert not reset_gamma(fresh)[1].warnings


def test_what_is_repaired_twice_is_as_after_the_first_time() -> None:
    """A function called twice left momentum 0 in algorithmic-efficiency."""
    model, x = trained(nn.BatchNorm2d, momentum=0.3)
    once, _, _ = convert(model, "ghost", x)
    twice, _, _ = convert(once, "ghost", x)
    assert twice[1].momentum == once[1].momentum == 0.3
    assert torch.equal(twice.eval()(x), once.eval()(x))
