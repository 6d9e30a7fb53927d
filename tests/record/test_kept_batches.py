"""Kept batches: host copies of what training forwards were given, bounded, and deaf to later edits."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.probes.replay import replay
from normscope.record.recording import Model
from normscope.record.torch.batches import Kept, KeptBatches
from normscope.record.torch.outermost import Outermost
from normscope.record.torch.roots import Root
from record.conftest import Observed, Observing
from record.loops import Net, batch, evaluate, sgd, single, train


def kept(run: Observed, model: int = 0) -> list[Kept]:
    return run.observer.kept.batches.get(model, [])


def test_inputs_targets_and_loss(observed: Observing) -> None:
    told = []
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for _ in range(3):
            x, y = batch()
            told.append((x.clone(), y.clone()))
            optimizer.zero_grad()
            F.cross_entropy(net(x), y, label_smoothing=0.1).backward()
            optimizer.step()
            x.zero_()  # loaders reuse their buffers
            y.fill_(-1)
    batches = kept(run)
    assert [b.step for b in batches] == [0, 1, 2]
    for b, (x, y) in zip(batches, told, strict=True):
        assert b.target is not None
        assert torch.equal(b.args[0], x)
        assert torch.equal(b.target, y)
        assert (b.samples, b.size) == (16, 16 * 4 * 4)
        assert (b.loss, b.direct, b.output) == ("cross_entropy", True, 0)
        assert b.loss_kwargs == {"weight": None, "ignore_index": -100, "label_smoothing": 0.1}


def test_an_option_of_a_loss_that_has_no_name_where_it_is_given(observed: Observing) -> None:
    weight = torch.tensor([1.0, 2.0, 3.0])
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(net(x), y, weight).backward()
            optimizer.step()
    weight.zero_()  # as a mask that is filled anew for each batch
    for b in kept(run):
        assert b.direct
        assert b.loss_kwargs["weight"].tolist() == [1.0, 2.0, 3.0]


def test_inputs_are_copied_before_the_model_edits_them(observed: Observing) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x.mul_(0.0).add_(torch.randn_like(x)))

    with observed() as run:
        net = InPlace()
        x = torch.randn(8, 4)
        before = x.clone()
        net(x).square().mean().backward()
        sgd(net).step()
    assert not torch.equal(x, before)
    assert torch.equal(kept(run)[0].args[0], before)


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(torch.ones(1))])
def test_a_loss_module_that_passes_its_options_by_place(
    observed: Observing, loss: nn.Module
) -> None:
    with observed() as run:
        net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        x, _ = batch()
        loss(net(x), torch.zeros(16, 4)).backward()
        sgd(net).step()
    [b] = kept(run)
    assert b.loss == "binary_cross_entropy_with_logits"
    assert b.direct
    assert (b.loss_kwargs["weight"] is None) == (loss.weight is None)


def test_a_loss_on_something_computed_from_the_output(observed: Observing) -> None:
    with observed() as run:
        net = single()
        x, y = batch()
        F.nll_loss(net(x).log_softmax(1), y).backward()
        sgd(net).step()
    [b] = kept(run)
    assert (b.loss, b.direct) == ("nll_loss", False)


def test_without_a_known_loss_there_is_no_target(observed: Observing) -> None:
    with observed() as run:
        net = single()
        net(batch()[0]).logsumexp(1).mean().backward()
        sgd(net).step()
    [b] = kept(run)
    assert (b.target, b.loss) == (None, None)


def test_a_target_for_something_else_than_samples_is_not_kept(observed: Observing) -> None:
    with observed() as run:
        net = single()
        F.mse_loss(net(batch()[0]).mean(0), torch.zeros(3)).backward()
        sgd(net).step()
    assert kept(run)[0].target is None


def test_inference_is_not_kept(observed: Observing) -> None:
    with observed() as run:
        net = single()
        train(net, sgd(net), 1)
        evaluate(net, 2)
        net.train()
        net(batch(8)[0])  # with gradients, but no backward
    assert [b.samples for b in kept(run)] == [16]


def test_the_whole_stays_bounded_and_ends_with_the_run(observed: Observing) -> None:
    each = 16 * 4 * 4
    limit = 8 * each
    most = 0
    with observed(keep_bytes=limit) as run:
        net = single()
        optimizer = sgd(net)
        for _ in range(100):
            train(net, optimizer, 1)
            most = max(most, sum(b.size for b in kept(run)))
    assert most <= limit
    steps = [b.step for b in kept(run)]
    assert len(steps) == 8
    assert steps == sorted(steps)
    assert steps[-1] >= 98


def test_each_doubling_of_the_run_is_kept_alike() -> None:
    root = Root(None, Model(id=0, name="Net"))
    batches = KeptBatches(1 << 30)
    for step in range(16_000):
        if batches.due(root, step):
            held = batches.copy(root, (torch.zeros(2, 1),), {}, step)
            assert held is not None
            batches.keep(root, held, 1)
    steps = [b.step for b in batches.batches[0]]
    halves = [sum(a <= s < 2 * a for s in steps) for a in (1_000, 2_000, 4_000, 8_000)]
    assert len(steps) < 2_000
    assert min(halves) > 10
    assert max(halves) <= 1.1 * min(halves)


def test_models_share_the_bound(observed: Observing) -> None:
    limit = 16 * 16 * 4 * 4
    with observed(keep_bytes=limit) as run:
        nets = [single(), Net()]
        optimizers = [sgd(n) for n in nets]
        for _ in range(40):
            for net, optimizer in zip(nets, optimizers, strict=True):
                train(net, optimizer, 1)
    sizes = [sum(b.size for b in kept(run, m)) for m in (0, 1)]
    assert all(0 < s <= limit // 2 for s in sizes)


def test_nothing_is_kept_of_a_batch_that_is_too_large(observed: Observing) -> None:
    with observed(keep_bytes=400) as run:
        net = single()
        train(net, sgd(net), 2)
    assert kept(run) == []
    assert run.observer.kept.refused == {0: "one batch takes 0 MB"}


def test_nothing_is_kept_when_told_so(observed: Observing) -> None:
    with observed(keep_bytes=0) as run:
        net = single()
        train(net, sgd(net), 2)
    assert kept(run) == []


def test_arguments_of_many_kinds(observed: Observing) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, pair: list[torch.Tensor], *, scale: float, more: object) -> torch.Tensor:
            return self.norm(pair[0] + pair[1]) * scale

    with observed() as run:
        net = Two()
        a, b = torch.randn(8, 4), torch.randn(8, 4)
        net([a, b], scale=2.0, more={"mask": None}).sum().backward()
        sgd(net).step()
    [held] = kept(run)
    [[x, y]] = held.args
    assert torch.equal(x, a)
    assert torch.equal(y, b)
    assert held.kwargs == {"scale": 2.0, "more": {"mask": None}}
    assert (held.samples, held.size) == (8, 2 * 8 * 4 * 4)


class Pair(NamedTuple):
    x: torch.Tensor
    mask: torch.Tensor | None


def test_a_named_tuple_is_kept_and_replayed_as_one(observed: Observing) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, pair: Pair) -> torch.Tensor:
            return self.norm(pair.x)

    with observed() as run:
        net = Reader()
        x = torch.randn(8, 4)
        net(Pair(x, None)).square().sum().backward()
        sgd(net).step()
    [held] = kept(run)
    [pair] = held.args
    assert type(pair) is Pair
    assert torch.equal(pair.x, x)
    [out] = replay(net, held)
    assert torch.allclose(out, net(Pair(x, None)))


def test_a_packed_sequence_is_not_taken_for_a_named_tuple(observed: Observing) -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, steps: nn.utils.rnn.PackedSequence) -> torch.Tensor:
            return self.norm(steps.data)

    with observed() as run:
        net = Packed()
        net(nn.utils.rnn.pack_sequence([torch.randn(3, 4), torch.randn(2, 4)])).sum().backward()
        sgd(net).step()
    assert run.observer.kept.refused == {0: "its inputs hold a PackedSequence"}


def test_an_argument_that_cannot_be_copied_is_said(observed: Observing) -> None:
    class Graph:
        def __init__(self, x: torch.Tensor) -> None:
            self.x = x

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, graph: Graph) -> torch.Tensor:
            return self.norm(graph.x)

    with observed() as run:
        net = Reader()
        for _ in range(2):
            net(Graph(torch.randn(8, 4))).square().sum().backward()
            sgd(net).step()
    assert kept(run) == []
    assert run.observer.kept.refused == {0: "its inputs hold a Graph"}
    assert run.recording.steps == 2


def test_a_look_before_the_step_does_not_take_its_place(observed: Observing) -> None:
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for _ in range(3):
            net(batch(8)[0])  # with gradients, but no backward
            train(net, optimizer, 1)
    assert [(b.samples, b.step) for b in kept(run)] == [(16, 0), (16, 1), (16, 2)]


def test_a_known_loop_keeps_inputs_without_being_recorded(
    observed: Observing, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[int] = []
    run_in_full = Outermost.run
    monkeypatch.setattr(
        Outermost, "run", lambda self, *a: (recorded.append(1), run_in_full(self, *a))[1]
    )
    with observed(budget=0.0) as run:
        run.observer.schedule.charge(1.0, measuring=True)  # an empty purse
        net = single()
        train(net, sgd(net), 200)
    assert len(recorded) < 10
    steps = [b.step for b in kept(run)]
    assert len(steps) == len(set(steps)) >= 30
    # However poor: eight from the last half.
    assert sum(s >= 100 for s in steps) >= 7
    assert steps[-1] >= 180
    assert all(b.target is not None and b.direct for b in kept(run))


def test_a_copied_input_whose_forward_raises_or_goes_unused_is_not_kept(
    observed: Observing,
) -> None:
    class Picky(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x[0, 0] == 7:
                raise LookupError
            return super().forward(x)

    with observed(budget=0.0) as run:
        run.observer.schedule.charge(1.0, measuring=True)
        net = Picky(*single())
        optimizer = sgd(net)
        for i in range(28):
            x, y = batch()
            x[0, 0] = {10: 7, 20: 8}.get(i, 0)
            optimizer.zero_grad()
            try:
                out = net(x)
            except LookupError:
                continue
            if i == 20:
                continue
            F.cross_entropy(out, y).backward()
            optimizer.step()
    marks = [float(b.args[0][0, 0]) for b in kept(run)]
    assert len(marks) >= 24
    assert set(marks) == {0.0}
