"""Mixed precision, loss scaling, activation checkpointing and compiled models."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from normscope.diagnosis import coverage
from record.conftest import Observing
from record.loops import Net, batch, calls_in, evaluate, only_span, sgd, single, spans, train


def test_autocast(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        optimizer = sgd(net)
        for _ in range(3):
            x, y = batch()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
    r = run.recording
    training = only_span(r, "training")
    assert (r.steps, training.forwards) == (3, 3)
    assert [x.updates for x in r.layers.values()] == [3, 3]
    assert {x.dtype for x in r.layers.values()} == {"float32"}
    assert len(r.graphs) == 1


def test_a_scaled_loss_is_recorded_as_it_was(observed: Observing) -> None:
    losses = []
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for _ in range(4):
            x, y = batch()
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
    r = run.recording
    assert r.steps == 4
    assert r.scalars is not None
    assert r.scalars.loss.tolist() == losses


def test_an_overflow_makes_no_step(observed: Observing) -> None:
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for i in range(6):
            x, y = batch()
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            if i in (1, 4):
                loss = loss * float("inf")
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    r = run.recording
    assert r.steps == 4
    assert only_span(r, "training").forwards == 6
    assert r.layers[0].updates == 6


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first = nn.Linear(4, 8)
        self.block = nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
        self.last = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = checkpoint(self.block, self.first(x), use_reentrant=self.reentrant)
        return self.head(self.last(x))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(observed: Observing, reentrant: bool) -> None:
    with observed() as run:
        net = Checkpointed(reentrant=reentrant)
        optimizer = sgd(net)
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        net.eval()
        net(batch()[0].requires_grad_())
    r = run.recording
    assert r.steps == 3
    inside, outside = r.layers.values()
    assert (inside.path, outside.path) == ("block.0", "last")
    # The second forward of the block, during backward, moves its statistics once more.
    assert (inside.updates, outside.updates) == (6, 3)
    assert int(net.block[0].num_batches_tracked) == 6
    training = only_span(r, "training")
    assert training.forwards == 3
    assert [m.name for m in r.models.values()] == ["Checkpointed"]
    calls = [(c.layer, c.recomputed, c.updates) for c in calls_in(r, training)]
    assert calls == [(0, False, True), (1, False, True), (0, True, True)]
    assert [c.recomputed for c in calls_in(r, only_span(r, "inference"))] == [False, False]


def test_a_compiled_model(observed: Observing) -> None:
    torch.compiler.reset()
    with observed() as run:
        net = Net()
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        optimizer = sgd(net)
        for _ in range(4):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(compiled(x), y).backward()
            optimizer.step()
    r = run.recording
    [event] = r.events_of("compiled")
    assert event.detail.startswith("Net is compiled")
    assert r.graphs == []
    assert r.steps == 4
    assert [(m.name, m.compiled) for m in r.models.values()] == [("Net", True)]
    assert [(x.path, x.updates) for x in r.layers.values()] == [("body.1", 4), ("last", 4)]
    assert only_span(r, "training").forwards == 4
    assert coverage(r).unobserved_layers == ()
    # The running statistics themselves are read all the same.
    assert r.polls is not None
    assert r.polls.steps.tolist() == [0, 1, 2, 3, 4]
    last = r.polls.values["running_var_max"][-1]
    assert last.tolist() == [float(m.running_var.max()) for m in (net.body[1], net.last)]
    torch.compiler.reset()


def test_a_model_compiled_in_place(observed: Observing) -> None:
    class Layered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(x))

    torch.compiler.reset()
    with observed() as run:
        net = Layered()
        net.compile(backend="eager")
        train(net, sgd(net), 3)
    # Its calls cannot be seen, which is not the same as that it was never called.
    assert coverage(run.recording).unobserved_layers == ()
    torch.compiler.reset()


def test_a_graph_is_captured_once_where_nothing_is_compiled(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        optimizer = sgd(net)
        for _ in range(3):
            F.cross_entropy(net(batch()[0]), batch()[1]).backward()
            optimizer.step()
        evaluate(net, 1)
    r = run.recording
    [graph] = r.graphs
    assert (graph.model, graph.training) == (0, True)
    assert [n.path for n, _ in graph.norms()] == ["body.1", "last"]
    assert len(spans(r, "inference")) == 1
