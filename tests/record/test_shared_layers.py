"""Models that share layers: a part that was called alone, and two heads on one encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from normscope.probes import roles
from record.conftest import Observed, Observing
from record.loops import batch, evaluate, sgd, spans, train


def encoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())


def kept(run: Observed, model: int) -> int:
    return len(run.observer.kept.batches.get(model, []))


def test_a_part_that_was_called_before_the_whole_is_trained(observed: Observing) -> None:
    with observed() as run:
        part = encoder()
        part(torch.zeros(2, 4))
        whole = nn.Sequential(nn.Sequential(part, nn.Linear(8, 3)))
        train(whole, sgd(whole), 3)
        assert run.observer.registry.roots[0].module is whole
    r = run.recording
    [model] = r.models.values()
    [layer] = r.layers.values()
    assert (model.norm_layers, model.parameters_changed, layer.path) == (1, True, "0.0.1")
    assert kept(run, 0) == 3
    assert [g.model for g in r.graphs] == [0]
    assert r.layer_at(0, "0.0.1") is layer


def test_parts_that_were_called_one_by_one_are_one_model(observed: Observing) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = encoder(), nn.Sequential(nn.BatchNorm1d(8))
            self.head = nn.Linear(self.two(self.one(torch.zeros(2, 4))).shape[1], 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.two(self.one(x)))

    with observed() as run:
        model = Whole()
        train(model, sgd(model), 3)
        model.eval()
        model.one(torch.zeros(2, 4))
    r = run.recording
    assert sorted(x.path for x in r.layers.values()) == ["one.1", "two.0"]
    [trained] = [m for m in r.models.values() if m.norm_layers]
    assert (trained.name, trained.norm_layers) == ("Whole", 2)
    assert {x.model for x in r.layers.values()} == {trained.id}
    assert kept(run, trained.id) == 3


def test_a_container_around_parts_that_are_known_is_their_model(observed: Observing) -> None:
    with observed() as run:
        part, head = encoder(), nn.Linear(8, 3)
        whole = nn.Sequential(part, head)
        train(whole, sgd(whole), 2)
        nn.Sequential(part, nn.ReLU())(batch()[0])
    assert len(run.recording.models) == 1


def test_a_second_head_is_a_model_of_its_own(observed: Observing) -> None:
    with observed() as run:
        part = encoder()
        first, second = (nn.Sequential(part, nn.Linear(8, 3)) for _ in range(2))
        train(first, sgd(first), 3)
        [norm] = run.observer.registry.layers
        assert norm.record.model == 0
        train(second, sgd(second), 4)
        evaluate(second, 1)
    r = run.recording
    assert [(m.norm_layers, m.copy_of) for m in r.models.values()] == [(0, None), (1, None)]
    assert [sum(s.forwards for s in spans(r, "training", k)) for k in (0, 1)] == [3, 4]
    assert (kept(run, 0), kept(run, 1)) == (3, 4)
    [layer] = r.layers.values()
    assert (layer.model, layer.path, layer.updates) == (1, "0.1", 7)
    one, two = run.observer.registry.roots
    assert roles.relied_on(run.observer, one) is False
    assert roles.relied_on(run.observer, two) is True


def test_two_heads_that_train_by_turns_are_both_relied_on(observed: Observing) -> None:
    with observed() as run:
        part = encoder()
        heads = [nn.Sequential(part, nn.Linear(8, 3)) for _ in range(2)]
        optimizers = [sgd(h) for h in heads]
        for _ in range(3):
            for head, optimizer in zip(heads, optimizers, strict=True):
                train(head, optimizer, 1)
        for head in heads:
            evaluate(head, 1)
    assert (kept(run, 0), kept(run, 1)) == (3, 3)
    assert all(roles.relied_on(run.observer, root) for root in run.observer.registry.roots)


def test_a_head_on_frozen_layers_is_judged_by_its_own_training(observed: Observing) -> None:
    with observed() as run:
        part = encoder()
        first, second = (nn.Sequential(part, nn.Linear(8, 3)) for _ in range(2))
        train(first, sgd(first), 3)
        part.eval()
        optimizer = sgd(second[1])
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(second(x), y).backward()
            optimizer.step()
    one, two = run.observer.registry.roots
    [norm] = run.observer.registry.layers
    assert roles.frozen(run.observer, two) == {norm.record.id}
    assert roles.frozen(run.observer, one) == set()
