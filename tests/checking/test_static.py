"""What is known of a model without training, and that looking leaves no trace."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn

import normscope
from normscope.checking.inputs import InputSpec
from normscope.checking.shapes import without_values
from normscope.checking.torch import example_of, static_recording, tensors_from
from normscope.errors import NormscopeError
from normscope.graph.model import Dropout


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Flatten(),
        nn.Linear(8 * 36, 5),
    )


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_looking_leaves_no_trace(training):
    model = network().train(training)
    model[3].eval()
    before, held = state(model), dict(model.named_parameters())
    modes, seed = [m.training for m in model.modules()], torch.get_rng_state()
    normscope.check(model, torch.randn(4, 3, 8, 8, generator=torch.Generator()))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p is held[n] for n, p in model.named_parameters())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), seed)


def test_both_modes_are_captured():
    recording = static_recording(network(), tensors_from([InputSpec((4, 3, 8, 8))]), target="t")
    train, evaluate = recording.graphs
    assert (train.training, evaluate.training) == (True, False)
    assert [n.batch_stats for _, n in train.norms()] == [True]
    assert [n.batch_stats for _, n in evaluate.norms()] == [False]
    assert [n.op.active for n in train if isinstance(n.op, Dropout)] == [True]


class Chooses(nn.Module):
    """Its path depends on values, which shapes alone do not have."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(x) if x.sum().item() > -1e9 else x


class NeedsPlainTensor(nn.Module):
    """Keeps a tensor that is neither parameter nor buffer."""

    def __init__(self):
        super().__init__()
        self.norm, self.shift = nn.BatchNorm1d(4), torch.ones(4)

    def forward(self, x):
        return self.norm(x + self.shift)


@pytest.mark.parametrize("make", [Chooses, NeedsPlainTensor])
def test_models_that_need_values_get_them_and_keep_their_statistics(make):
    model = make()
    before = state(model)
    recording = static_recording(model, (torch.randn(8, 4),), target="t")
    assert [len(list(g.norms())) for g in recording.graphs] == [1, 1]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_scales_that_are_zero_are_told_although_shapes_have_no_values():
    model = network()
    nn.init.zeros_(model[1].weight)
    recording = static_recording(model, (torch.randn(4, 3, 8, 8),), target="t")
    assert [n.zero_gamma for g in recording.graphs for _, n in g.norms()] == [1.0, 1.0]


def test_shared_parameters_stay_shared():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    normscope.check(model, torch.randn(8, 4))
    assert model[2].weight is model[0].weight


def test_lazy_modules_become_real():
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    recording = static_recording(model, (torch.randn(8, 3),), target="t")
    assert [x.channels for x in recording.layers.values()] == [4]


def test_without_an_input_the_structure_is_not_evaluated():
    diagnosis = normscope.check(network())
    assert diagnosis.verdict.status == "healthy"
    assert "The structure was not looked at" in diagnosis.verdict.summary
    assert "NS101" in {n.code for n in diagnosis.not_evaluated}
    with_input = normscope.check(network(), torch.randn(4, 3, 8, 8))
    assert "NS101" in {f.code for f in with_input.findings}
    assert all(n.needs != "graph" for n in with_input.not_evaluated)


def test_training_is_not_evaluated_and_never_called_healthy():
    diagnosis = normscope.check(network(), torch.randn(4, 3, 8, 8))
    assert {"NS401", "NS402", "NS408"} <= {n.code for n in diagnosis.not_evaluated}
    assert diagnosis.verdict.normalization_to_blame is None


def test_a_model_without_norms_is_acquitted():
    diagnosis = normscope.check(nn.Linear(3, 3), torch.randn(2, 3))
    assert diagnosis.verdict.normalization_to_blame is False


def test_what_the_model_raises_is_one_line():
    with pytest.raises(
        NormscopeError, match=r"in training mode with inputs of \(4, 2, 8, 8\) raised RuntimeError"
    ):
        normscope.check(network(), torch.randn(4, 2, 8, 8))


def test_keyword_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x, *, scale):
            return self.norm(x) * scale

    assert normscope.check(Two(), torch.randn(8, 4), scale=torch.ones(4)).recording.graphs


def test_uncalled_layers_are_told():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x):
            return self.used(x)

    coverage = normscope.check(Idle(), torch.randn(8, 4)).coverage
    assert coverage.unobserved_layers == ("Idle.idle",)


@pytest.mark.parametrize("made", [None, 7, "net", (nn.Linear(1, 1),), {"model": 1}])
def test_nonsense_from_a_factory(made):
    with pytest.raises(NormscopeError, match=r"a torch\.nn\.Module was expected"):
        example_of(made, "m.py:f")


class Batch(NamedTuple):
    x: torch.Tensor
    scale: float


@dataclass(frozen=True)
class Pair:
    x: torch.Tensor
    y: list[torch.Tensor]


class TakesOne(nn.Module):
    """One value that holds tensors; `norm` sees the one under `x`."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, batch):
        return self.norm(batch["x"] if isinstance(batch, dict) else batch.x)


class TakesTwo(TakesOne):
    def forward(self, x, scale=1.0):
        return self.norm(x) * scale


def given(model, *rest):
    example = example_of((model, *rest), "t")
    return example.args, dict(example.kwargs)


def test_a_model_with_its_inputs():
    model, x = TakesTwo(), torch.zeros(8, 4)
    one = Batch(x, 2.0)
    assert given(model, x) == ((x,), {})
    assert given(model, [x, 2.0]) == ((x, 2.0), {})
    assert given(model, one) == ((one,), {})
    assert given(model, {"x": x, "scale": 2.0}) == ((), {"x": x, "scale": 2.0})
    assert given(model, x, {"scale": 2.0}) == ((x,), {"scale": 2.0})
    assert given(TakesOne(), {"x": x}) == (({"x": x},), {})
    assert example_of(model, "t").args is None


@pytest.mark.parametrize(
    "one",
    [
        Batch(torch.zeros(8, 4), 2.0),
        Pair(torch.zeros(8, 4), [torch.zeros(2)]),
        {"x": torch.zeros(8, 4)},
        OrderedDict(x=torch.zeros(8, 4)),
        SimpleNamespace(x=torch.zeros(8, 4)),
    ],
    ids=["named tuple", "dataclass", "dict", "ordered dict", "object"],
)
def test_tensors_inside_of_one_input(one):
    recording = static_recording(TakesOne(), (one,), target="t")
    assert [[n.path for n, _ in g.norms()] for g in recording.graphs] == [["norm"], ["norm"]]
    assert not (one["x"] if isinstance(one, dict) else one.x).is_meta


def test_a_container_without_values_is_of_the_same_class():
    one = without_values(Pair(torch.zeros(8, 4), [torch.zeros(2)]))
    assert isinstance(one, Pair)
    assert one.x.is_meta
    assert one.y[0].is_meta
    assert type(without_values(Batch(torch.zeros(1), 2.0))) is Batch
    with pytest.raises(TypeError, match="SimpleNamespace holds tensors"):
        without_values(SimpleNamespace(x=torch.zeros(1)))


def test_whole_numbers_are_indices_that_exist():
    x, y = tensors_from([InputSpec((2, 3)), InputSpec((2, 3), "int64")])
    assert x.dtype == torch.float32
    assert x.std() > 0
    assert not y.any()


def test_pooling_that_names_its_strides_anew_keeps_its_place_in_the_graph():
    """Adaptive pooling of channels-last maps to 1 × 1 ends with `as_strided_`."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    recording = static_recording(model.to(memory_format=torch.channels_last), (x,), target="t")
    assert [g.coverage.note for g in recording.graphs] == ["", ""]
    assert [type(n.op).__name__ for n in recording.graphs[0]][-2:] == ["Affine", "Output"]
