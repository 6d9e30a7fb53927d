"""Averages are asked on what their sources were trained on; swapped weights by what was kept of them."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from normscope.errors import NormscopeError
from normscope.probes.results import gap_of
from normscope.probes.stand_ins import holding
from probes.asking import mlp
from probes.test_at_exit import evaluate, gap_on, train, watched


def average(copied, model):
    with torch.no_grad():
        for a, p in zip(copied.parameters(), model.parameters(), strict=True):
            a.lerp_(p, 0.5)


def test_a_copy_that_is_never_stepped_is_asked_on_its_sources_inputs(tmp_path):
    model = mlp()
    copied = copy.deepcopy(model)

    def script():
        for _ in range(3):
            train(model)
            average(copied, model)
            evaluate(copied)

    recording = watched(tmp_path, script, model, copied)
    assert recording.models[1].copy_of == 0
    assert gap_on(recording, 1).samples == gap_on(recording, 0).samples
    mine = [x for x in recording.layers.values() if x.model == 1]
    assert [x.statistics_changed for x in mine] == [False, False]
    assert all(x.statistics_changed for x in recording.layers.values() if x.model == 0)


def test_a_wrapped_average_that_only_the_script_held_is_asked_too(tmp_path):
    def script():
        model = mlp()
        wrapped = AveragedModel(model)
        for _ in range(2):
            train(model)
            wrapped.update_parameters(model)
        evaluate(wrapped)

    recording = watched(tmp_path, script)
    assert recording.models[1].copy_of == 0
    assert gap_on(recording, 1) is not None


def test_a_server_that_was_there_before_its_clients(tmp_path):
    server = mlp()

    def script():
        evaluate(server)
        for _ in range(2):
            clients = [copy.deepcopy(server) for _ in range(2)]
            for client in clients:
                train(client)
            average(server, clients[0])
            evaluate(server)

    recording = watched(tmp_path, script, server)
    of_clients = [gap_on(recording, i).samples for i in (1, 2, 3, 4)]
    assert gap_on(recording, 0).samples > max(of_clients)


@pytest.mark.parametrize("mode", ["never evaluated", "in train mode"])
def test_other_copies_are_not_asked(tmp_path, mode):
    model = mlp()
    copied = copy.deepcopy(model)

    def script():
        train(model)
        copied.train(mode == "in train mode")
        average(copied, model)
        if mode == "in train mode":
            with torch.no_grad():
                copied(torch.randn(16, 8))

    assert gap_on(watched(tmp_path, script, model, copied), 1) is None


def test_layers_that_the_source_trained_frozen_stay_as_they_are(tmp_path):
    model = mlp()
    copied = copy.deepcopy(model)

    def script():
        model.train()
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(20):
            norms[0].eval()
            loss = nn.functional.cross_entropy(
                model(torch.randn(16, 8)), torch.randint(0, 3, (16,))
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        average(copied, model)
        evaluate(copied)

    gap = gap_on(watched(tmp_path, script, model, copied), 1)
    assert [layer.path for layer in gap.layers] == ["4"]


def test_swapped_weights_are_asked_and_the_model_keeps_its_own(tmp_path):
    model = mlp()
    left = {}

    def script():
        train(model)
        own = copy.deepcopy(model.state_dict())
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.3)
        evaluate(model)
        model.load_state_dict(own)
        train(model, steps=2)
        left.update(copy.deepcopy(model.state_dict()))

    recording = watched(tmp_path, script, model)
    swapped = gap_of(recording.measurements["stand_in"], 0)
    assert recording.models[0].stand_ins == 1
    assert swapped.running.value != gap_on(recording).running.value
    assert all(torch.equal(left[k], v) for k, v in model.state_dict().items())


def test_other_values_are_lent_only_for_the_block():
    model = mlp()
    own = copy.deepcopy(model.state_dict())
    other = {k: torch.ones_like(v) for k, v in own.items()}

    def fail():
        with holding(model, other):
            assert all(bool((v == 1).all()) for v in model.state_dict().values())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert all(torch.equal(own[k], v) for k, v in model.state_dict().items())


def test_a_model_of_other_shapes_cannot_hold_them():
    with (
        pytest.raises(NormscopeError, match="not those of the evaluation"),
        holding(mlp(), {"0.weight": torch.zeros(1)}),
    ):
        pass
