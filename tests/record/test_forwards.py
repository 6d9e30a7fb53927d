"""Training and inference forwards, the blocks they make, and what came after them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from record.conftest import Observing
from record.loops import (
    Net,
    batch,
    calls_in,
    evaluate,
    line_at,
    only_span,
    sgd,
    single,
    spans,
    train,
)


def test_epochs_of_training_and_evaluation(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        optimizer = sgd(net)
        for _ in range(3):
            train(net, optimizer, 4)
            evaluate(net, 2)
    r = run.recording
    training, inference = only_span(r, "training"), only_span(r, "inference")
    assert (training.forwards, training.steps) == (12, 12)
    assert (training.first_step, training.last_step) == (0, 11)
    # Two forwards make one pass over the held-out data, and one pass is one block.
    assert (inference.forwards, inference.blocks, inference.steps) == (6, 3, 3)
    assert (inference.first_step, inference.last_step) == (4, 12)
    assert inference.followed_by == {"training": 2, "end": 1}
    assert inference.after_end == 2
    assert training.after_end == 0
    assert all(c.batch_stats and c.updates for c in calls_in(r, training))
    assert not any(c.batch_stats or c.updates for c in calls_in(r, inference))
    assert r.patterns[training.pattern].training
    assert not r.patterns[inference.pattern].training
    assert line_at(r.patterns[inference.pattern].site) == "model(batch(size)[0])"
    assert [x.updates for x in r.layers.values()] == [12, 12]


def test_under_a_default_device_each_call_is_one(observed: Observing) -> None:
    """Such a device is a mode: it takes every function call and makes it once more."""
    with observed() as run, torch.device("cpu"):
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.LayerNorm(8), nn.Linear(8, 3))
        train(net, sgd(net), 3)
    r = run.recording
    assert [r.layers[c.layer].path for c in calls_in(r, only_span(r, "training"))] == ["1", "2"]
    assert next(iter(r.layers.values())).updates == 3


@pytest.mark.parametrize("no_grad", [True, False])
def test_inference_in_training_mode(observed: Observing, no_grad: bool) -> None:
    """Whether gradients are on does not make a training forward: a backward does."""
    with observed() as run:
        net = Net()
        optimizer = sgd(net)
        for _ in range(2):
            train(net, optimizer, 3)
            with torch.set_grad_enabled(not no_grad):
                for _ in range(5):
                    net(batch(32)[0])
    r = run.recording
    training, inference = only_span(r, "training"), only_span(r, "inference")
    assert training.forwards == 6
    assert (inference.forwards, inference.blocks, inference.after_end) == (10, 2, 5)
    assert inference.followed_by == {"training": 1, "end": 1}
    assert all(
        c.batch_stats and c.updates and c.samples == 32 and c.values == 32
        for c in calls_in(r, inference)
    )
    assert r.layers[0].updates == 16


def test_statistics_recomputed_before_an_evaluation(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        train(net, sgd(net), 3)
        with torch.no_grad():
            for _ in range(4):
                net(batch(64)[0])
        evaluate(net, 2)
    r = run.recording
    recomputing, evaluating = spans(r, "inference")
    assert (recomputing.forwards, recomputing.blocks) == (4, 1)
    assert recomputing.followed_by == {"evaluation": 1}
    assert recomputing.after_end == 4
    assert (evaluating.forwards, evaluating.followed_by) == (2, {"end": 1})


def test_a_second_pass_after_a_backward_is_a_block_of_its_own(observed: Observing) -> None:
    with observed() as run:
        net, other = single(), single()
        evaluate(net, 2)
        F.cross_entropy(other(batch()[0]), batch()[1]).backward()
        evaluate(net, 2)
    inference = only_span(run.recording, "inference")
    assert (inference.forwards, inference.blocks) == (4, 2)
    assert inference.followed_by == {"inference": 1, "end": 1}


def test_an_output_that_is_used_later(observed: Observing) -> None:
    """A forward is settled by its own backward, however many inference forwards lie between."""
    with observed() as run:
        net = single()
        x, y = batch(8)
        early = net(x)
        for _ in range(3):
            net(batch(4)[0])
        F.cross_entropy(early, y).backward()
        sgd(net).step()
    r = run.recording
    training, inference = only_span(r, "training"), only_span(r, "inference")
    assert (training.forwards, calls_in(r, training)[0].samples) == (1, 8)
    assert (inference.forwards, calls_in(r, inference)[0].samples) == (3, 4)


def test_one_of_several_outputs_is_enough(observed: Observing) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.heads = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 2)])

        def forward(self, x: torch.Tensor) -> dict[str, list[torch.Tensor]]:
            x = self.norm(x)
            return {"answers": [head(x) for head in self.heads]}

    with observed() as run:
        net = Two()
        net(batch()[0])["answers"][1].sum().backward()
        sgd(net).step()
    assert only_span(run.recording, "training").forwards == 1
    assert run.recording.steps == 1


def test_ragged_batches(observed: Observing) -> None:
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for size in (16, 16, 16, 5) * 2:
            train(net, optimizer, 1, size)
    r = run.recording
    sizes = [(calls_in(r, s)[0].samples, s.forwards) for s in spans(r, "training")]
    assert sizes == [(16, 3), (5, 1), (16, 3), (5, 1)]


def test_values_of_each_mean(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(96, 2))
        net(torch.randn(2, 3, 8, 6)).sum().backward()
        sgd(net).step()
    [call] = calls_in(run.recording, only_span(run.recording, "training"))
    assert (call.samples, call.values) == (2, 2 * 6 * 4)


def test_scored_forwards(observed: Observing) -> None:
    with observed() as run:
        net = single()
        train(net, sgd(net), 2)
        net.eval()
        with torch.no_grad():
            for i in range(4):
                x, y = batch()
                logits = net(x)
                if i % 2:
                    F.cross_entropy(logits, y)
    assert only_span(run.recording, "inference").scored == 2


SCORES: dict[str, tuple[Callable[[torch.Tensor], object], int]] = {
    "the output against a number": (lambda out: out > 0.5, 4),
    "what was made of it": (lambda out: torch.sigmoid(out) >= 0.5, 4),
    "a column of it": (lambda out: out[:, 0] < 0.75, 4),
    "as a method": (lambda out: out.sigmoid().le(0.5), 4),
    "against a number in a tensor": (lambda out: out > torch.tensor(0.5), 4),
    "one number for all": (lambda out: out.mean() > 0.5, 0),
    "one number for each class": (lambda out: out.mean(0) > 0.5, 0),
    "one number for each sample": (lambda out: out.norm(dim=1) > 0.5, 4),
    "one number for each pair": (lambda out: (out[::2] - out[1::2]).norm(dim=1) < 0.75, 4),
    "one number for each two samples": (lambda out: torch.cdist(out, out) < 0.75, 4),
    "one number for each third sample": (lambda out: out[::3].norm(dim=1) < 0.75, 0),
    "two tensors": (lambda out: out > out.flip(0), 0),
    "whole numbers": (lambda out: torch.arange(16) < 3, 0),
    "looked at only": (lambda out: out.norm(), 0),
}


@pytest.mark.parametrize("name", SCORES)
def test_an_output_against_a_threshold_is_scored(observed: Observing, name: str) -> None:
    score, times = SCORES[name]
    with observed() as run:
        net = single()
        train(net, sgd(net), 2)
        net.eval()
        with torch.no_grad():
            for _ in range(4):
                score(net(batch()[0]))
    assert only_span(run.recording, "inference").scored == times


def test_one_number_for_each_sample_of_a_model_that_gives_one(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))
        optimizer = sgd(net)
        for _ in range(2):
            x, y = batch()
            F.binary_cross_entropy_with_logits(net(x).squeeze(1), y.float()).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for _ in range(4):
                x = torch.randn(16, 4)
                _ = torch.sigmoid(net(x).squeeze(1)) > 0.5
    assert only_span(run.recording, "inference").scored == 4


def test_a_threshold_inside_a_model_scores_nothing(observed: Observing) -> None:
    class Gate(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (x > 0.5)

    with observed() as run:
        net = nn.Sequential(nn.BatchNorm1d(4), Gate(), nn.Linear(4, 3))
        train(net, sgd(net), 2)
        evaluate(net, 3)
    assert only_span(run.recording, "inference").scored == 0


def test_a_fixed_test_batch_between_training_batches_is_itself(observed: Observing) -> None:
    held_out = batch()[0]
    with observed() as run:
        net = single()
        optimizer = sgd(net)
        for _ in range(3):
            train(net, optimizer, 1)
            net.eval()
            with torch.no_grad():
                net(held_out)
    r = run.recording
    assert only_span(r, "training").same_input == 0
    assert only_span(r, "inference").same_input == 2


def test_a_single_value_for_each_channel(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        train(net, sgd(net), 3)
        with pytest.raises(ValueError, match="more than 1 value per channel") as refused:
            net(batch(1)[0])
    r = run.recording
    [event] = r.events_of("single-value")
    assert (event.step, event.model, event.layer) == (3, 0, 0)
    assert event.detail == str(refused.value)
    assert "net" in line_at(event.site) or "self.body" in line_at(event.site)
    # What PyTorch refused did not happen.
    assert [x.updates for x in r.layers.values()] == [3, 3]
    assert only_span(r, "training").forwards == 3
    assert sum(len(calls_in(r, s)) for s in spans(r, "inference")) == 0


def test_an_exception_in_a_forward_passes_and_observing_goes_on(observed: Observing) -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.norm(x)
            if len(x) == 7:
                raise LookupError("seven")
            return self.head(x)

    with observed() as run:
        net = Picky()
        optimizer = sgd(net)
        train(net, optimizer, 2)
        with pytest.raises(LookupError, match="seven"):
            train(net, optimizer, 1, 7)
        train(net, optimizer, 2)
    r = run.recording
    assert r.steps == 4
    assert sum(s.forwards for s in spans(r, "training")) == 4
    assert r.layers[0].updates == 5  # the statistics did move before the exception


@pytest.mark.parametrize("mode", ["default", "bfloat16", "scaler"])
def test_several_calls_for_one_loss(observed: Observing, mode: str) -> None:
    """As in recurrent use: every call is a training forward."""
    with observed() as run:
        net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        optimizer = sgd(net)
        scaler = torch.amp.GradScaler("cpu", enabled=mode == "scaler")
        for _ in range(2):
            x, _ = batch()
            with torch.autocast("cpu", torch.bfloat16, enabled=mode == "bfloat16"):
                for _ in range(3):
                    x = net(x)
            scaler.scale(x.float().square().mean()).backward()
            scaler.step(optimizer)
            scaler.update()
    r = run.recording
    training = only_span(r, "training")
    assert (r.steps, training.forwards, training.steps) == (2, 6, 2)
    assert r.layers[0].updates == 6
