"""Single operations arrive by meaning, whichever way the user calls them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.graph.model import (
    Activation,
    Add,
    Affine,
    Cast,
    Concat,
    Dropout,
    Multiply,
    Norm,
    Opaque,
    Pool,
    Shift,
    View,
)
from normscope.graph.torch import capture


class Apply(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def ops(function, *inputs, **parts):
    """The operations between inputs and outputs, in order."""
    graph = capture(Apply(function, **parts), inputs)
    assert not graph.coverage.note
    return [n.op for n in graph if type(n.op).__name__ not in ("Input", "Output")]


IMAGE = torch.randn(4, 6, 8, 8)


class UserBatchNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + 0.0


BATCH = Norm("batch", channels=6, values=256)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.BatchNorm2d(6), BATCH),
        (nn.SyncBatchNorm(6).eval(), Norm("batch", channels=6, batch_stats=False)),
        (UserBatchNorm(6), BATCH),
        (nn.LazyBatchNorm2d(), BATCH),
        (nn.BatchNorm2d(6, momentum=None), Norm("batch", channels=6, momentum=None, values=256)),
        (nn.BatchNorm2d(6, eps=0.1).eval(), Norm("batch", channels=6, eps=0.1, batch_stats=False)),
        (
            nn.BatchNorm2d(6, affine=False, track_running_stats=False).eval(),
            Norm("batch", channels=6, affine=False, tracks=False, values=256),
        ),
        (
            nn.InstanceNorm2d(6),
            Norm("instance", channels=6, tracks=False, affine=False, values=64),
        ),
        (
            nn.InstanceNorm2d(6, affine=True, track_running_stats=True, momentum=0.2),
            Norm("instance", channels=6, momentum=0.2, values=64),
        ),
        (
            nn.GroupNorm(2, 6),
            Norm("group", channels=6, groups=2, momentum=None, tracks=False, values=192),
        ),
        (
            nn.LayerNorm(8),
            Norm("layer", channels=8, momentum=None, axis=3, tracks=False, values=8),
        ),
        (
            nn.LayerNorm((8, 8), elementwise_affine=False),
            Norm(
                "layer", channels=64, momentum=None, axis=2, tracks=False, values=64, affine=False
            ),
        ),
        (
            nn.RMSNorm(8, eps=1e-3),
            Norm("rms", channels=8, eps=1e-3, momentum=None, axis=3, tracks=False, values=8),
        ),
    ],
    ids=repr,
)
def test_norm_modules(module, expected):
    graph = capture(module, (IMAGE,))
    assert [op for _, op in graph.norms()] == [expected]


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, w: F.batch_norm(x, None, None, w, w, True), ("batch", 6, 256)),
        (lambda x, w: F.layer_norm(x, (8,)), ("layer", 8, 8)),
        (lambda x, w: F.group_norm(x, 3, w, w), ("group", 6, 128)),
        (lambda x, w: F.instance_norm(x), ("instance", 6, 64)),
        (lambda x, w: F.instance_norm(x[:1]), ("instance", 6, 64)),
        (lambda x, w: F.rms_norm(x, (8,)), ("rms", 8, 8)),
        (
            lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
            ("rms", 8, 8),
        ),
    ],
    ids=["batch", "layer", "group", "instance", "instance-of-one", "rms", "rms-by-hand"],
)
def test_functional_norms(function, expected, inference):
    model = Apply(lambda m, x: function(x, m.w), w=nn.Parameter(torch.ones(6)))
    with torch.inference_mode(inference):
        graph = capture(model, (IMAGE,))
    [(node, op)] = graph.norms()
    assert (op.kind, op.channels, op.values) == expected
    assert graph.inputs(node)


def test_zero_gamma_is_a_share():
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.weight[:3] = 0
    assert [op.zero_gamma for _, op in capture(norm, (IMAGE,)).norms()] == [0.5]
    rms = nn.RMSNorm(8)
    nn.init.zeros_(rms.weight)
    assert [(op.zero_gamma, op.affine) for _, op in capture(rms, (IMAGE,)).norms()] == [(1, True)]


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    ("module", "x", "expected"),
    [
        (nn.Conv2d(6, 4, 3), IMAGE, Affine("conv", bias=4)),
        (nn.Conv1d(6, 4, 3, bias=False), IMAGE[0].transpose(0, 1), Affine("conv")),
        (nn.ConvTranspose2d(6, 5, 3), IMAGE, Affine("conv", bias=5)),
        (nn.Linear(8, 3), torch.randn(2, 8), Affine("linear", bias=3, axis=1)),
        (nn.Linear(8, 3), torch.randn(8), Affine("linear", bias=3, axis=0)),
        (nn.Linear(8, 3), torch.randn(2, 5, 8), Affine("linear", bias=3, axis=2)),
        (nn.Linear(8, 3, bias=False), torch.randn(2, 5, 8), Affine("linear", axis=2)),
        (nn.Linear(6, 3), torch.randn(2, 6, 5).mT, Affine("linear", bias=3, axis=2)),
        (nn.Linear(8, 3), IMAGE, Affine("linear", bias=3, axis=3)),
    ],
)
def test_affine(module, x, expected, inference):
    with torch.inference_mode(inference):
        graph = capture(module, (x,))
    nodes = [n for n in graph if isinstance(n.op, Affine)]
    assert [n.op for n in nodes] == [expected]
    assert nodes[0].shape == module(x).shape
    assert not [n for n in graph if isinstance(n.op, View)]


def test_a_parameter_added_after_a_bias_free_map_is_its_bias():
    parts = {"w": nn.Parameter(torch.randn(8, 3)), "b": nn.Parameter(torch.randn(3))}
    assert ops(lambda m, x: x @ m.w + m.b, torch.randn(2, 5, 8), **parts) == [
        Affine("linear", bias=3, axis=2)
    ]
    assert ops(lambda m, x: x @ m.w + 1.0, torch.randn(2, 8), **parts) == [
        Affine("linear", axis=1),
        Shift(),
    ]


def test_products_of_activations_are_not_linear_layers():
    x = torch.randn(2, 5, 8)
    assert ops(lambda m, x: x @ x.mT, x)[-1] == Opaque("bmm")
    adjacency = torch.eye(5)
    assert ops(lambda m, x: adjacency @ x, torch.randn(5, 8)) == [Opaque("mm")]


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "sigmoid", "tanh", "elu", "hardswish"])
def test_activations(name, inference):
    with torch.inference_mode(inference):
        assert ops(lambda m, x: getattr(F, name)(x), IMAGE) == [Activation(name)]


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
def test_dropout(kind):
    assert ops(lambda m, x: m.drop(x), IMAGE, drop=kind(0.3)) == [Dropout(0.3)]
    model = nn.Sequential(kind(0.3)).eval()
    assert not [n for n in capture(model, (IMAGE,)) if isinstance(n.op, Dropout)]


def test_sums_and_products():
    parts = {"s": nn.Parameter(torch.ones(8))}
    pair = (torch.randn(2, 8), torch.randn(2, 8))
    assert ops(lambda m, x, y: x + y, *pair) == [Add()]
    assert ops(lambda m, x, y: x - y, *pair) == [Add()]
    assert ops(lambda m, x, y: x * y, *pair) == [Multiply()]
    assert ops(lambda m, x, y: 2 * x, *pair) == [Multiply(constant=True)]
    assert ops(lambda m, x, y: x / 2 + m.s, *pair, **parts) == [Multiply(constant=True), Shift()]
    assert ops(lambda m, x, y: 1 / (x + 0), *pair) == [
        Shift(),
        Opaque("reciprocal"),
        Multiply(constant=True),
    ]


def test_pools_and_joins():
    assert ops(lambda m, x: F.avg_pool2d(x, 2), IMAGE) == [Pool("avg")]
    assert ops(lambda m, x: F.max_pool2d(x, 8), IMAGE) == [Pool("max", over_all=True)]
    assert ops(lambda m, x: F.adaptive_avg_pool2d(x, 1), IMAGE) == [Pool("avg", over_all=True)]
    assert ops(lambda m, x: x.mean((2, 3)), IMAGE) == [Pool("avg", over_all=True)]
    assert ops(lambda m, x: x.mean(1), IMAGE) == [Opaque("mean")]
    assert ops(lambda m, x: torch.cat([x, x], -3), IMAGE) == [Concat(1)]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [{"scale_factor": 2}, {"size": (12, 20)}])
def test_interpolation_averages_positions(mode, size):
    assert ops(lambda m, x: F.interpolate(x, mode=mode, **size), IMAGE) == [Pool("avg")]


@pytest.mark.parametrize(
    ("function", "sources"),
    [
        (lambda x: x.flatten(1), ((0,), (1, 2, 3))),
        (lambda x: x.permute(0, 2, 3, 1), ((0,), (2,), (3,), (1,))),
        (lambda x: x.transpose(1, -1), ((0,), (3,), (2,), (1,))),
        (lambda x: x.unsqueeze(1), ((0,), (), (1,), (2,), (3,))),
        (lambda x: x[:, :, :1].squeeze(2), ((0,), (1,), (3,))),
        (lambda x: x[:, 2], ((0,), (2,), (3,))),
        (lambda x: x[:, 2:4], ((0,), (1,), (2,), (3,))),
        (lambda x: x.view(4, 2, 3, 8, 8), ((0,), (1,), (1,), (2,), (3,))),
        (lambda x: x.view(4, 6, 64).flatten(0, 1), ((0, 1), (2,))),
        (lambda x: x.expand(2, 4, 6, 8, 8), ((), (0,), (1,), (2,), (3,))),
        (lambda x: x.chunk(2, 1)[1], ((0,), (1,), (2,), (3,))),
        (lambda x: x.unbind(1)[1], ((0,), (2,), (3,))),
    ],
)
def test_views(function, sources):
    found = ops(lambda m, x: function(x), IMAGE)
    assert found[-1] == View(sources)


def test_channels_first_to_last_and_back_is_a_cast_and_views():
    found = ops(lambda m, x: x.permute(0, 2, 3, 1).contiguous(), IMAGE)
    assert found == [View(((0,), (2,), (3,), (1,))), Cast("float32")]


def weights_of(function, *inputs, **parts):
    graph = capture(Apply(function, **parts), inputs)
    return [n.weights for n in graph if isinstance(n.op, Affine)]


def test_an_affine_map_tells_its_parameter():
    x = torch.randn(3, 4)
    tensors = nn.ParameterDict({k: nn.Parameter(torch.randn(4, 4)) for k in ("a", "b", "c")})
    assert weights_of(
        lambda m, x: m.last(F.linear(F.linear(x, m.t["b"]), m.t["a"]) @ m.t["c"]),
        x,
        t=tensors,
        last=nn.Linear(4, 2),
    ) == ["t.b", "t.a", "t.c", "last.weight"]


def test_what_is_made_of_parameters_is_none():
    x = torch.randn(3, 4)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    assert weights_of(lambda m, x: m.normed(x), x, normed=normed) == [""]
    flat = torch.randn(32)
    pieces = nn.ParameterDict(
        {k: nn.Parameter(flat[i : i + 16].view(4, 4)) for k, i in (("a", 0), ("b", 16))}
    )
    assert weights_of(lambda m, x: F.linear(x, m.t["a"]), x, t=pieces) == [""]
