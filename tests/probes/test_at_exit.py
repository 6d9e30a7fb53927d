"""The probes as a run asks them at its end."""

import copy

import pytest
import torch
from torch import nn

from normscope import live
from normscope.errors import NormscopeError
from normscope.probes.results import gap_of
from probes.asking import ask, cut, mlp


def train(model, steps=20):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(torch.randn(16, 8)), torch.randint(0, 3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def evaluate(model):
    model.eval()
    with torch.no_grad():
        nn.functional.cross_entropy(model(torch.randn(16, 8)), torch.randint(0, 3, (16,)))


def watched(tmp_path, script, *models):
    # With the default budget it depends on the machine's speed how many batches so short a run keeps.
    with live.watch(*models, record=tmp_path / "run.nscope", budget=1.0) as run:
        script()
    return run.diagnose().recording


def gap_on(recording, number=0):
    return gap_of(recording.measurements["gap"], number)


def reasons(recording):
    return [e.detail for e in recording.events_of("not-probed")]


def test_the_answer_is_recorded_and_nothing_is_printed(tmp_path, capfd):
    model = mlp()

    def script():
        train(model)
        evaluate(model)

    recording = watched(tmp_path, script, model)
    gap = gap_on(recording)
    assert gap.measure == "loss"
    assert gap.relied_on
    assert [layer.path for layer in gap.layers] == ["1", "4"]
    assert recording.channels[gap.layers[0].layer].population_var.shape == (16,)
    assert capfd.readouterr().out == ""


def test_one_model_that_is_only_trained_is_meant_for_later(tmp_path):
    model = mlp()
    assert gap_on(watched(tmp_path, lambda: train(model), model)).relied_on


def test_a_copy_that_was_only_tried_is_not_relied_on(tmp_path):
    model = mlp()
    trial = copy.deepcopy(model)

    def script():
        train(trial)
        train(model)
        evaluate(model)

    recording = watched(tmp_path, script, model, trial)
    assert [gap_on(recording, i).relied_on for i in (0, 1)] == [False, True]


def test_the_last_of_several_that_nobody_evaluates(tmp_path):
    first, last = mlp(), mlp()

    def script():
        train(first)
        train(last)

    recording = watched(tmp_path, script, first, last)
    assert [gap_on(recording, i).relied_on for i in (0, 1)] == [False, True]


def test_layers_frozen_in_training_keep_their_statistics(tmp_path):
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[1].eval()
            return self

    model = Frozen(*mlp())
    recording = watched(tmp_path, lambda: train(model), model)
    assert [layer.path for layer in gap_on(recording).layers] == ["4"]


def test_a_model_that_fails_when_asked_is_named(tmp_path):
    class Once(nn.Sequential):
        def forward(self, x):
            if not self[1].training:
                raise RuntimeError("only for training")
            return super().forward(x)

    model = Once(*mlp())
    recording = watched(tmp_path, lambda: train(model), model)
    assert reasons(recording) == ["Once: asking it raised RuntimeError: only for training"]
    assert "gap" not in recording.measurements


def test_a_model_that_is_too_slow_is_refused():

    data = cut(torch.randn(64, 8), torch.zeros(64, dtype=torch.long), 32)
    with pytest.raises(NormscopeError, match="would take about"):
        ask(mlp(), data, seconds=1e-7)
