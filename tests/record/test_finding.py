"""Models, norm layers and optimizers are found without being named, however they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from record.conftest import Observing
from record.loops import Net, batch, calls_in, line_at, only_span, sgd, single, spans, train


def test_a_model_its_layers_and_its_optimizer(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        train(net, torch.optim.Adam(net.parameters()), 3)
    r = run.recording
    assert (r.framework, r.framework_version, r.steps) == ("torch", torch.__version__, 3)
    assert r.optimizers == ["Adam"]
    [model] = r.models.values()
    assert (model.name, model.norm_layers, model.copy_of) == ("Net", 2, None)
    assert model.parameters == sum(p.numel() for p in net.parameters())
    assert model.optimized
    assert model.optimized_share == 1.0
    assert model.parameters_changed
    assert line_at(model.site) == "F.cross_entropy(model(x), y).backward()"
    facts = [(x.path, x.type, x.kind, x.channels, x.eps, x.momentum) for x in r.layers.values()]
    assert facts == [
        ("body.1", "BatchNorm1d", "batch", 8, 1e-5, 0.1),
        ("last", "BatchNorm1d", "batch", 8, 1e-3, 0.2),
    ]
    for layer in r.layers.values():
        assert layer.affine
        assert layer.tracks
        assert layer.registered
        assert layer.trainable
        assert layer.optimized
        assert layer.parameters_changed
        assert not layer.synchronized
        assert layer.dtype == "float32"
        assert (layer.fresh_at_start, layer.fresh_at_end) == (True, False)
        assert layer.updates == 3


def test_the_site_of_a_layer_is_the_line_that_calls_it(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        train(net, sgd(net), 1)
    layer = run.recording.layer_at(0, "last")
    assert layer is not None
    assert line_at(layer.site) == "return self.head(self.last(self.body(x)))"


def test_what_is_no_model_is_none(observed: Observing) -> None:
    with observed() as run:
        net, loss = single(), nn.CrossEntropyLoss()
        x, y = batch()
        nn.Softmax(1)(net(nn.Identity()(x)))
        loss(net(x), y).backward()
    assert [m.name for m in run.recording.models.values()] == ["Sequential"]


def test_a_model_without_norm_layers(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.Linear(4, 3))
        train(net, sgd(net), 2)
    r = run.recording
    assert [(m.norm_layers, m.optimized) for m in r.models.values()] == [(0, True)]
    assert (r.steps, r.layers, r.polls) == (2, {}, None)
    assert only_span(r, "training").forwards == 2


class UserNorm(nn.BatchNorm2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        return super().forward(input) * 1.0


@pytest.mark.parametrize(
    ("norm", "kind", "values"),
    [
        (nn.BatchNorm2d(6), "batch", 5 * 3 * 3),
        (UserNorm(6), "batch", 5 * 3 * 3),
        (nn.GroupNorm(2, 6), "group", 3 * 3 * 3),
        (nn.LayerNorm([6, 3, 3]), "layer", 6 * 3 * 3),
        (nn.LayerNorm(3), "layer", 3),
        (nn.InstanceNorm2d(6, affine=True), "instance", 3 * 3),
    ],
    ids=["batch", "subclass", "group", "layer over all", "layer over the last", "instance"],
)
def test_every_kind_of_norm(observed: Observing, norm: nn.Module, kind: str, values: int) -> None:
    net = nn.Sequential(nn.Conv2d(2, 6, 1), norm)
    with observed() as run:
        net(torch.randn(5, 2, 3, 3)).square().mean().backward()
        sgd(net).step()
    r = run.recording
    [layer] = r.layers.values()
    assert (layer.type, layer.kind, layer.path) == (type(norm).__name__, kind, "1")
    [call] = calls_in(r, only_span(r, "training"))
    assert (call.layer, call.samples, call.values) == (layer.id, 5, values)
    assert call.batch_stats == call.updates == (kind == "batch")
    assert call.trainable


def test_root_mean_square_norm_is_a_layer(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.Linear(4, 6), nn.RMSNorm(6), nn.Linear(6, 3))
        train(net, sgd(net), 1)
    [layer] = run.recording.layers.values()
    assert (layer.kind, layer.channels, layer.tracks) == ("rms", 6, False)


def test_statistics_of_the_batch_alone(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3))
        train(net, sgd(net), 2)
        net.eval()
        net(batch()[0])
    r = run.recording
    [layer] = r.layers.values()
    assert (layer.tracks, layer.updates, layer.fresh_at_end) == (False, 0, None)
    for kind in ("training", "inference"):
        [call] = calls_in(r, only_span(r, kind))
        assert (call.batch_stats, call.updates) == (True, False)


class Listed(nn.Module):
    """Norm layers in a list and a dict that PyTorch does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norms = [nn.BatchNorm1d(4), nn.BatchNorm1d(4)]
        self.named = {"x": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for norm in self.norms:
            x = norm(x)
        return self.named["x"](x)


def test_layers_in_plain_lists_are_found_and_not_registered(observed: Observing) -> None:
    with observed() as run:
        net = Listed()
        train(net, sgd(net), 2)
        net.eval()
        net(batch()[0])
    r = run.recording
    found = {x.path: (x.registered, x.updates, x.optimized) for x in r.layers.values()}
    # `eval()` does not reach them either: the third call updates once more.
    assert found == {
        "norms[0]": (False, 3, False),
        "norms[1]": (False, 3, False),
        "named['x'].1": (False, 3, False),
    }


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.norm(x)))


def test_a_shared_layer_is_one_layer_with_two_calls(observed: Observing) -> None:
    with observed() as run:
        net = Shared()
        train(net, sgd(net), 3)
    r = run.recording
    [layer] = r.layers.values()
    assert layer.updates == 6
    assert [c.layer for c in calls_in(r, only_span(r, "training"))] == [layer.id] * 2


def test_frozen_layers(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        net.body[1].requires_grad_(False)
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
        net.body[1].eval()
        for _ in range(2):
            x, y = batch()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    r = run.recording
    frozen, moving = r.layers.values()
    assert (frozen.trainable, frozen.optimized, frozen.parameters_changed) == (False,) * 3
    assert (frozen.updates, frozen.fresh_at_end) == (0, True)
    assert (moving.trainable, moving.optimized, moving.updates) == (True, True, 2)
    first, second = calls_in(r, only_span(r, "training"))
    assert (first.batch_stats, first.updates, first.trainable) == (False, False, False)
    assert (second.batch_stats, second.updates, second.trainable) == (True, True, True)
    share = 1 - 16 / sum(p.numel() for p in net.parameters())
    assert r.models[0].optimized_share == pytest.approx(share)


def test_zero_scales_are_counted(observed: Observing) -> None:
    with observed() as run:
        net = single()
        with torch.no_grad():
            net[0].weight[:3] = 0.0
        train(net, sgd(net), 1)
    [layer] = run.recording.layers.values()
    assert (layer.zero_gamma_at_start, layer.zero_gamma_at_end) == (0.75, 0.0)


def test_norm_functions_outside_any_module(observed: Observing) -> None:
    with observed() as run:
        weight = torch.randn(4, 3, requires_grad=True)
        mean, var = torch.zeros(4), torch.ones(4)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for _ in range(3):
            x, y = batch()
            x = F.batch_norm(x, mean, var, training=True, momentum=0.3)
            logits = F.batch_norm(x @ weight, None, None, training=True)
            F.cross_entropy(logits, y).backward()
            optimizer.step()
    r = run.recording
    assert r.steps == 3
    [model] = r.models.values()
    first, second = r.layers.values()
    assert (first.type, first.channels, first.momentum, first.tracks) == (
        "batch_norm",
        4,
        0.3,
        True,
    )
    assert (second.channels, second.tracks, second.updates) == (3, False, 0)
    assert first.updates == 3
    assert not first.registered
    assert line_at(first.site).startswith("x = F.batch_norm(x, mean, var")
    assert line_at(second.site).startswith("logits = F.batch_norm(")
    span = only_span(r, "training", model.id)
    assert span.forwards == 3
    assert [c.updates for c in calls_in(r, span)] == [True, False]


class Homemade(nn.Module):
    """Calls the function with buffers of its own, under its own names."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(4))
        self.register_buffer("spread", torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.batch_norm(x, self.average, self.spread, training=self.training))


def test_a_norm_function_inside_a_module(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(Homemade())
        train(net, sgd(net), 2)
    r = run.recording
    [layer] = r.layers.values()
    assert (layer.model, layer.path, layer.updates) == (0, "0", 2)
    assert line_at(layer.site).startswith("return self.head(F.batch_norm(")


class Several(nn.Module):
    """Two norms by functions; where their tensors lie is chosen."""

    def __init__(self, *, in_a_dict: bool) -> None:
        super().__init__()
        self.lines = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = nn.Linear(4, 3)
        self.kept = nn.ParameterDict()
        for i in range(2):
            self.kept[f"scale{i}"] = nn.Parameter(torch.ones(4))
            for name, value in ((f"mean{i}", torch.zeros(4)), (f"var{i}", torch.ones(4))):
                if in_a_dict:
                    self.kept[name] = nn.Parameter(value, requires_grad=False)
                else:
                    self.register_buffer(name, value)

    def statistics(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        held = {**dict(self.named_buffers()), **dict(self.kept.items())}
        return held[f"mean{i}"], held[f"var{i}"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, line in enumerate(self.lines):
            scale = self.kept[f"scale{i}"]
            x = F.batch_norm(line(x), *self.statistics(i), scale, None, self.training)
        return self.head(x)


@pytest.mark.parametrize(
    ("in_a_dict", "paths"),
    [(False, ["0.mean0", "0.mean1"]), (True, ["0.kept.mean0", "0.kept.mean1"])],
)
def test_several_norm_functions_of_one_module_are_several_layers(
    observed: Observing, in_a_dict: bool, paths: list[str]
) -> None:
    with observed() as run:
        net = nn.Sequential(Several(in_a_dict=in_a_dict))
        train(net, sgd(net), 5)
        net.eval()(batch()[0])
    r = run.recording
    assert [(x.path, x.updates, x.channels, x.tracks) for x in r.layers.values()] == [
        (path, 5, 4, True) for path in paths
    ]
    assert [m.norm_layers for m in r.models.values()] == [2]
    assert [c.layer for c in calls_in(r, only_span(r, "inference"))] == list(r.layers)
    for i, number in enumerate(r.layers):
        mean = net[0].statistics(i)[0]
        assert torch.equal(torch.tensor(r.channels[number].running_mean).float(), mean)


class TwoWays(nn.Module):
    """Trains without the running statistics that it evaluates with: one layer all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("average", torch.zeros(4))
        self.register_buffer("spread", torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = (None, None) if self.training else (self.average, self.spread)
        return self.head(F.batch_norm(x, *kept, self.scale, training=self.training))


def test_a_norm_function_with_statistics_and_without_is_one_layer(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(TwoWays())
        train(net, sgd(net), 2)
        net.eval()(batch()[0])
        net.train()
        train(net, sgd(net), 1)
    assert [x.path for x in run.recording.layers.values()] == ["0"]


def test_tensors_that_no_module_holds_go_by_their_line(observed: Observing) -> None:
    with observed() as run:
        net = Several(in_a_dict=False)
        loose = {i: (torch.zeros(4), torch.ones(4)) for i in range(2)}
        net.statistics = loose.__getitem__
        train(net, sgd(net), 3)
    [layer] = run.recording.layers.values()
    assert (layer.path, layer.updates) == ("", 6)
    assert line_at(layer.site).startswith("x = F.batch_norm(line(x)")


def test_wrappers_do_not_show_in_names_and_paths(observed: Observing) -> None:
    with observed() as run:
        net = nn.DataParallel(Net())
        train(net, sgd(net), 1)
    r = run.recording
    assert [m.name for m in r.models.values()] == ["Net"]
    assert [x.path for x in r.layers.values()] == ["body.1", "last"]


def test_a_method_that_calls_inner_modules_makes_each_a_model(observed: Observing) -> None:
    """Only calls count: a plain method is no forward, so that the modules it calls are outermost."""
    with observed() as run:
        net = Net()
        x, y = batch()
        F.cross_entropy(net.head(net.last(net.body(x))), y).backward()
        sgd(net).step()
    r = run.recording
    assert sorted(m.name for m in r.models.values()) == ["BatchNorm1d", "Linear", "Sequential"]
    assert r.steps == 1
    for model in r.models:
        assert [s.forwards for s in spans(r, "training", model)] == [1]


def test_sites_name_the_users_file(observed: Observing) -> None:
    with observed() as run:
        net = single()
        net(batch()[0])
    site = run.recording.models[0].site
    assert site is not None
    assert Path(site.file).resolve() == Path(__file__).resolve()


def test_a_lazy_layer(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(momentum=0.2), nn.LazyLinear(3))
        with torch.no_grad():
            net(batch()[0])
        train(net, sgd(net), 2)
    r = run.recording
    [layer] = r.layers.values()
    assert (layer.kind, layer.channels, layer.momentum, layer.tracks) == ("batch", 8, 0.2, True)
    assert layer.trainable
    assert layer.optimized
    assert layer.updates == 3
    assert only_span(r, "training").forwards == 2


def test_a_model_is_followed_from_where_it_has_values(observed: Observing) -> None:
    """A dry run on the meta device tells shapes alone."""
    with observed() as run:
        with torch.device("meta"):
            net = single()
            net(torch.randn(8, 4)).sum().backward()
        net.to_empty(device="cpu")
        for module in net:
            module.reset_parameters()
        train(net, sgd(net), 3)
    r = run.recording
    assert (r.steps, len(r.models)) == (3, 1)
    assert [x.updates for x in r.layers.values()] == [3]


def test_a_model_that_was_made_in_inference_mode_is_no_error(observed: Observing) -> None:
    with observed() as run:
        net = single()
        train(net, sgd(net), 3)
        with torch.inference_mode():
            single()(torch.randn(8, 4))
    assert len(run.recording.models) == 1


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_inputs_that_are_not_dense_are_no_error(observed: Observing) -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 4))
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x @ self.weight)

    with observed() as run:
        net = Sparse()
        optimizer = sgd(net)
        for _ in range(3):
            for _ in range(2):
                net(torch.eye(6).to_sparse_csr()).square().sum().backward()
            optimizer.step()
    assert run.recording.steps == 3


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_has_no_shape(observed: Observing) -> None:
    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(torch.cat(x.unbind()))

    with observed() as run:
        net = Ragged()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for i in range(6):
            net(
                torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(3 + i, 3)])
            ).sum().backward()
            optimizer.step()
    assert not run.recording.events_of("observer-error")
    assert (run.recording.steps, run.recording.layers[0].updates) == (6, 6)
