"""Batches of any structure, loaders of any kind, models of any dtype and in any wrapper."""

import collections
import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from normscope.errors import NormscopeError
from normscope.repairs import recalibrate
from repairs.models import Residual, inputs, mlp


class Named(nn.Module):
    """Takes its inputs by name, as models of transformers do."""

    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, pixel_values, scale=1.0):
        return self.body(pixel_values * scale)


@dataclass
class Sample:
    pixel_values: torch.Tensor
    labels: torch.Tensor


class Encoding(collections.UserDict):
    """A mapping that moves itself, as BatchEncoding does."""

    moved = 0

    def to(self, device):
        type(self).moved += 1
        return Encoding({k: v.to(device) for k, v in self.data.items()})


Pair = collections.namedtuple("Pair", "x y")
PLAIN = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, torch.zeros(len(x))),
    "list": lambda x: [x, torch.zeros(len(x)), "path"],
    "named tuple": lambda x: Pair(x, torch.zeros(len(x))),
}
BY_NAME = {
    "dict": lambda x: {"pixel_values": x, "labels": torch.zeros(len(x))},
    "dataclass": lambda x: Sample(x, torch.zeros(len(x))),
    "encoding": lambda x: Encoding(pixel_values=x, labels=torch.zeros(len(x))),
}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return mlp().state_dict()


@pytest.mark.parametrize("kind", PLAIN)
def test_batches_that_begin_with_the_input(kind, state):
    model, plain = mlp(), mlp()
    model.load_state_dict(state)
    plain.load_state_dict(state)
    recalibrate(plain, inputs())
    assert recalibrate(model, [PLAIN[kind](x) for x in inputs()]).samples == 96
    assert torch.equal(model[5].running_var, plain[5].running_var)


@pytest.mark.parametrize("kind", BY_NAME)
def test_batches_with_names(kind, state):
    model, plain = Named(), mlp()
    model.body.load_state_dict(state)
    plain.load_state_dict(state)
    recalibrate(plain, inputs())
    recalibrate(model, [BY_NAME[kind](x) for x in inputs()])
    assert torch.equal(model.body[5].running_var, plain[5].running_var)


def test_a_forward_of_the_users_own(state):
    model, plain = mlp(), mlp()
    model.load_state_dict(state)
    plain.load_state_dict(state)
    recalibrate(plain, inputs())
    batches = [[{"image": row} for row in x] for x in inputs()]
    certificate = recalibrate(
        model, batches, forward=lambda m, b: m(torch.stack([s["image"] for s in b]))
    )
    assert certificate.samples == 96  # one mapping is one sample
    assert torch.equal(model[5].running_var, plain[5].running_var)


def test_a_batch_that_does_not_fit_is_told():
    with pytest.raises(NormscopeError, match="Say how a batch reaches the model"):
        recalibrate(Named(), [{"image": torch.randn(4, 4)}])


def test_loaders_of_any_kind(state):
    data = torch.cat(inputs())
    loaders = {
        "list": inputs(),
        "generator": (x for x in inputs()),
        "iterator": iter(inputs()),
        "function": inputs,
        "generator function": lambda: (x for x in inputs()),
        "DataLoader": DataLoader(TensorDataset(data), batch_size=32),
        "dataset of batches": DataLoader(inputs(), batch_size=None),
    }
    found = {}
    for name, loader in loaders.items():
        model = mlp()
        model.load_state_dict(state)
        recalibrate(model, loader, exact=name == "generator function")
        found[name] = model[1].running_var
    assert all(torch.equal(v, found["list"]) for v in found.values())


@pytest.mark.parametrize("loader", [[], iter(()), list])
def test_a_loader_without_batches_is_told(loader):
    with pytest.raises(NormscopeError, match="gives no batch"):
        recalibrate(mlp(), loader)


def test_no_loader_is_told():
    with pytest.raises(NormscopeError, match="`loader` is a int"):
        recalibrate(mlp(), 3)


@pytest.mark.parametrize("exact", [False, True])
def test_batches_of_one_value_per_channel_are_told(exact):
    with pytest.raises(NormscopeError, match=r"one value per channel at `[15]`"):
        recalibrate(mlp(), [torch.randn(1, 4)] * 5, exact=exact)


def test_an_unshuffled_loader_that_is_cut_short_is_told():
    data = TensorDataset(torch.randn(200, 4))
    cut = recalibrate(mlp(), DataLoader(data, batch_size=50), samples=100)
    assert any("not shuffled" in w for w in cut.warnings)
    for loader, samples in (
        (DataLoader(data, batch_size=50), None),
        (DataLoader(data, batch_size=50), 200),
        (DataLoader(data, batch_size=50, shuffle=True), 100),
    ):
        assert not any(
            "not shuffled" in w for w in recalibrate(mlp(), loader, samples=samples).warnings
        )


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        AveragedModel,
        lambda m: torch.compile(m, backend="eager"),
        lambda m: AveragedModel(torch.compile(m, backend="eager")),
    ],
    ids=["data parallel", "averaged", "compiled", "averaged compiled"],
)
def test_wrapped_models(wrap, state):
    plain, inner = Named(), Named()
    plain.body.load_state_dict(state)
    inner.body.load_state_dict(state)
    recalibrate(plain, inputs())
    wrapped = wrap(inner)
    certificate = recalibrate(wrapped, [BY_NAME["dict"](x) for x in inputs()])
    buffers = [b for k, b in wrapped.named_buffers() if k.endswith("5.running_var")]
    assert torch.equal(buffers[0], plain.body[5].running_var)
    assert [x.path for x in certificate.layers] == ["body.1", "body.5"]


def test_averages_of_weights_get_statistics_of_their_own():
    model = mlp()
    average = AveragedModel(model)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    average.update_parameters(model)
    average.update_parameters(model)
    recalibrate(average, inputs())
    x = torch.cat(inputs())
    truth = average.module[0](x).var(0)
    torch.testing.assert_close(average.module[1].running_var, truth, rtol=1e-5, atol=0)


@pytest.mark.parametrize("precise", [False, True])
def test_double_precision(precise):
    model = mlp().double()
    batches = [x.double() for x in inputs()]
    recalibrate(model, batches, precise=precise)
    y = model[0](torch.cat(batches))
    torch.testing.assert_close(model[1].running_var, y.var(0), rtol=1e-13, atol=0)
    torch.testing.assert_close(model[1].running_mean, y.mean(0), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_buffers_are_summed_in_double(dtype):
    norm = nn.BatchNorm1d(3).to(dtype)
    batches = [(4 + torch.randn(16, 3)).to(dtype) for _ in range(200)]
    recalibrate(norm, batches)
    x = torch.cat(batches).double()
    # Rounded once, to what the buffer can hold.
    assert torch.equal(norm.running_mean, x.mean(0).to(dtype))
    assert torch.equal(norm.running_var, x.var(0).to(dtype))


def test_autocast_is_the_users_choice():
    model = Residual()
    batches = [torch.randn(8, 3, 6, 6) for _ in range(4)]
    with torch.autocast("cpu", torch.bfloat16):
        recalibrate(model, batches)
        y = torch.cat([model.conv1(x).double() for x in batches])
    torch.testing.assert_close(model.bn1.running_var.double(), y.var((0, 2, 3)), rtol=1e-5, atol=0)
    assert model.bn1.running_var.dtype == torch.float32


def test_synchronized_norms_without_a_process_group(state):
    plain = mlp()
    plain.load_state_dict(state)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    recalibrate(plain, inputs())
    recalibrate(model, inputs())
    assert torch.equal(model[5].running_var, plain[5].running_var)


def test_norms_with_a_forward_of_their_own():
    class Activated(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x).relu()

    model = nn.Sequential(nn.Linear(4, 8), Activated(8), nn.Linear(8, 2))
    recalibrate(model, inputs())
    y = model[0](torch.cat(inputs())).double()
    torch.testing.assert_close(model[1].running_var.double(), y.var(0), rtol=1e-6, atol=0)


def test_a_norm_with_a_mask_is_refused_until_it_is_left_out():
    class Masked(nn.BatchNorm1d):
        def forward(self, x, mask):
            return super().forward(x) * mask

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.masked = nn.BatchNorm1d(4), Masked(4)

        def forward(self, x):
            return self.masked(self.first(x), torch.ones(len(x), 1))

    with pytest.raises(NormscopeError, match=r"Leave it out: `frozen=\['masked'\]`"):
        recalibrate(Net(), inputs())
    assert recalibrate(Net(), inputs(), frozen=["masked"]).left[0].path == "masked"


def test_lazy_models_that_never_ran_are_told():
    with pytest.raises(NormscopeError, match="lazy layers that never ran"):
        recalibrate(nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()), inputs())
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    model(inputs()[0])
    assert recalibrate(model, inputs()).samples == 96


def test_models_without_batch_norm_and_without_values_are_told():
    with pytest.raises(NormscopeError, match="no batch norm module"):
        recalibrate(nn.Linear(4, 2), inputs())
    with pytest.raises(NormscopeError, match="meta device"):
        recalibrate(mlp().to("meta"), inputs())


def test_layers_that_no_batch_reaches_are_told():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.used(x)

    for exact in (False, True):
        certificate = recalibrate(Spare(), inputs(), exact=exact)
        assert [(x.path, x.reason) for x in certificate.left] == [("spare", "no batch reached it")]
    with pytest.raises(NormscopeError, match="No batch reached a batch norm"):
        recalibrate(Spare(), inputs(), layers=["spare"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_from_host_batches():
    model = Residual().cuda()
    batches = [torch.randn(16, 3, 8, 8) for _ in range(8)]
    recalibrate(model, batches)
    y = torch.cat([model.conv1(x.cuda()) for x in batches]).double()
    torch.testing.assert_close(model.bn1.running_var.double(), y.var((0, 2, 3)), rtol=1e-4, atol=0)
