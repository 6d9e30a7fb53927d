"""What holds for every layer: precision, memory formats, compiling, checkpoints, copies, and helpers of PyTorch."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.optim.swa_utils import update_bn

import normscope
from nn.inputs import LAYERS, response, scrambled
from normscope.nn import FrozenBatchNorm, GhostBatchNorm, MaskedBatchNorm, SkipInit

every = pytest.mark.parametrize("name", LAYERS)
SHAPES = [(7, 4), (7, 4, 3), (7, 4, 3, 2), (7, 4, 2, 2, 2)]


def mask_for(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """A mask where the layer takes one: half of its work is there."""
    if not isinstance(layer, MaskedBatchNorm):
        return {}
    return {"mask": torch.arange(x[:, 0].numel()).view(x[:, 0].shape) % 3 > 0}


@every
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_shape_and_precision_are_kept(name: str, shape: tuple[int, ...], training: bool) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        layer = scrambled(LAYERS[name](4, dtype=dtype)).train(training)
        x = torch.randn(shape, dtype=torch.float64)
        y, d_x, _ = response(layer, x.to(dtype), **mask_for(layer, x))
        assert y.shape == d_x.shape == shape
        assert y.dtype == d_x.dtype == dtype
        exact = scrambled(LAYERS[name](4, dtype=torch.float64)).train(training)
        y64, _, _ = response(exact, x.to(dtype).double(), **mask_for(layer, x))
        bound = 8 * torch.finfo(dtype).eps * float(y64.abs().max())
        assert float((y.double() - y64).abs().max()) <= bound


@every
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_input_meets_single_precision_parameters_under_autocast(
    name: str, training: bool
) -> None:
    layer = LAYERS[name](4).train(training)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), layer)
    x = torch.randn(6, 3, 5, 5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert torch.isfinite(x.grad).all()
    for n, t in layer.state_dict().items():
        assert t.dtype == (torch.long if "num_batches" in n else torch.float32)


@every
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_stays_so(name: str, training: bool) -> None:
    layer = LAYERS[name](4).train(training)
    x = torch.randn(7, 4, 5, 3).contiguous(memory_format=torch.channels_last)
    y, d_x, _ = response(layer, x, **mask_for(layer, x))
    for t in (y, d_x):
        assert t.is_contiguous(memory_format=torch.channels_last)
    if name != "GhostBatchNorm":  # whose ghosts are other samples there, as its documentation says
        plain, d_plain, _ = response(
            LAYERS[name](4).train(training), x.contiguous(), **mask_for(layer, x)
        )
        torch.testing.assert_close(y, plain)
        torch.testing.assert_close(d_x, d_plain)


@every
def test_state_dict_copy_and_pickle_come_back_the_same(name: str) -> None:
    x = torch.randn(7, 4, 3)
    layer = LAYERS[name](4)
    layer(x, **mask_for(layer, x))
    fresh = LAYERS[name](4)
    fresh.load_state_dict(layer.state_dict())
    twins = [layer, fresh, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    for training in (True, False):
        outputs = [twin.train(training)(x) for twin in twins]
        for twin, y in zip(twins, outputs, strict=True):
            torch.testing.assert_close(twin.state_dict(), layer.state_dict(), rtol=0, atol=0)
            torch.testing.assert_close(y, outputs[0], rtol=0, atol=0)


@every
@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_of_torch_batch_norm_load(name: str, legacy: bool) -> None:
    source = scrambled(nn.BatchNorm2d(4)).eval()
    state: Any = source.state_dict()
    if legacy:  # from before PyTorch 0.4.1
        state = {k: v for k, v in state.items() if k != "num_batches_tracked"}
    layer = LAYERS[name](4)
    assert not any(layer.load_state_dict(state))
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(layer.eval()(x), source(x))
    if name != "DomainBatchNorm":
        assert list(layer.state_dict()) == list(source.state_dict())


@every
def test_no_affine_and_the_meta_device(name: str) -> None:
    layer = LAYERS[name](4, affine=False, eps=1e-3, momentum=None)
    assert not list(layer.parameters())
    assert layer(torch.randn(6, 4)).shape == (6, 4)
    empty = LAYERS[name](4, device="meta")
    assert all(t.is_meta for t in empty.state_dict().values())
    assert "4" in repr(empty)


@every
def test_one_value_per_channel_is_refused_in_training(name: str) -> None:
    layer = LAYERS[name](4)
    x = torch.randn(1, 4, 1)
    if isinstance(layer, FrozenBatchNorm):
        layer(x)
        return
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        layer(x)
    layer.eval()(x)


@every
def test_an_empty_batch_passes_and_moves_nothing(name: str) -> None:
    layer = LAYERS[name](4)
    x = torch.zeros(0, 4, 3)
    before = {k: b.clone() for k, b in layer.named_buffers() if "running" in k}
    y, d_x, state = response(layer, x, **mask_for(layer, x))
    assert y.shape == d_x.shape == x.shape
    torch.testing.assert_close({k: state[k] for k in before}, before, rtol=0, atol=0)


# Dynamo makes an instance of an autograd function for itself.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@every
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_compiles_to_one_graph(name: str, backend: str) -> None:
    torch.compiler.reset()
    x = torch.randn(7, 4, 3, 3)
    layers = [scrambled(LAYERS[name](4)) for _ in range(2)]
    words = mask_for(layers[0], x)
    compiled = torch.compile(layers[0], backend=backend, fullgraph=True)
    for training in (True, True, False):
        for layer in layers:
            layer.train(training)
        y, d_x, _ = response(compiled, x, **words)
        y_, d_x_, _ = response(layers[1], x, **words)
        torch.testing.assert_close(y, y_)
        torch.testing.assert_close(d_x, d_x_)
        torch.testing.assert_close(layers[0].state_dict(), layers[1].state_dict())


def test_what_each_layer_is_to_isinstance() -> None:
    kinds = {
        n: (isinstance(m(4), _BatchNorm), isinstance(m(4), _NormBase)) for n, m in LAYERS.items()
    }
    assert kinds == {
        **dict.fromkeys(LAYERS, (True, True)),
        "FrozenBatchNorm": (False, True),
        "DomainBatchNorm": (False, False),  # its members are
    }
    assert not isinstance(SkipInit(), _NormBase)


@every
def test_recomputing_statistics_the_usual_way_reaches_all_but_the_frozen(name: str) -> None:
    model = nn.Sequential(LAYERS[name](4))
    data = [torch.randn(12, 4) * 3 + 2 for _ in range(4)]
    update_bn(data, model)
    mean = dict(model.named_buffers())
    mean = next(v for k, v in mean.items() if k.endswith("running_mean"))
    expected = torch.zeros(4) if name == "FrozenBatchNorm" else torch.cat(data).mean(0)
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)


@every
def test_synchronizing_keeps_parameters_and_leaves_the_frozen_alone(name: str) -> None:
    model = nn.Sequential(scrambled(LAYERS[name](4)))
    before = list(model.parameters())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    converted = any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    assert converted == (name != "FrozenBatchNorm")


def test_names_are_reached_from_the_package_when_asked_for() -> None:
    assert normscope.nn.GhostBatchNorm is GhostBatchNorm
    assert "nn" in dir(normscope)
    assert set(normscope.nn.__all__) == {*LAYERS, "SkipInit", "in_domain"}
