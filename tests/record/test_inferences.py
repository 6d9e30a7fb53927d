"""Inference forwards that are known are not looked into: the recording must not tell the difference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.record.recording import Recording
from normscope.record.torch import inferences
from normscope.record.torch.inferences import Inferences
from record.conftest import Observing
from record.loops import Net, batch, evaluate, sgd, single, spans, told, train


def teacher_between_forward_and_backward() -> None:
    net, teacher = Net(), Net().eval()
    optimizer = sgd(net)
    for _ in range(40):
        x, _ = batch()
        out = net(x)
        with torch.no_grad():
            wanted = teacher(x)
        optimizer.zero_grad()
        F.mse_loss(out, wanted).backward()
        optimizer.step()


def teacher_before_the_forward() -> None:
    net, teacher = Net(), Net().eval()
    optimizer = sgd(net)
    for i in range(40):
        x, _ = batch(5 if i % 9 == 8 else 16)
        with torch.no_grad():
            wanted = teacher(x).argmax(1)
        optimizer.zero_grad()
        F.cross_entropy(net(x), wanted).backward()
        optimizer.step()


def acts_between_its_steps() -> None:
    net = Net()
    optimizer = sgd(net)
    for _ in range(30):
        net.eval()
        with torch.no_grad():
            net(batch(1)[0]).argmax(1)
            net(batch(1)[0]).argmax(1)
        train(net, optimizer, 1)


def acts_and_another_is_trained() -> None:
    actor, critic = Net(), single()
    optimizer = sgd(critic)
    train(actor, sgd(actor), 3)
    for i in range(60):
        evaluate(actor, 1 + i % 3, 1)
        if i % 2:
            train(critic, optimizer, 1)


def targets_of_two_models() -> None:
    actor, critic = single(), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    targets = copy.deepcopy(actor).eval(), copy.deepcopy(critic).eval()
    optimizers = sgd(actor), sgd(critic)
    for _ in range(30):
        x, _ = batch()
        with torch.no_grad():
            goal = targets[1](targets[0](x))
        optimizers[1].zero_grad()
        F.mse_loss(critic(actor(x).detach()), goal).backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        critic(actor(x)).mean().backward()
        optimizers[0].step()


def frozen_backbone_feeds_a_head() -> None:
    backbone, head = single().eval(), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = sgd(head)
    for _ in range(30):
        x, y = batch()
        with torch.no_grad():
            features = backbone(x)
        optimizer.zero_grad()
        F.cross_entropy(head(features), y).backward()
        optimizer.step()


def scored_evaluations() -> None:
    net = Net()
    optimizer = sgd(net)
    for _ in range(4):
        train(net, optimizer, 9)
        net.eval()
        with torch.no_grad():
            for size in (16, 16, 16, 16, 16, 7):
                x, y = batch(size)
                F.cross_entropy(net(x), y)


def one_test_set_all_the_time() -> None:
    net, fixed = Net(), batch()[0]
    optimizer = sgd(net)
    for i in range(12):
        train(net, optimizer, 3)
        net.eval()
        with torch.no_grad():
            net(fixed if i % 4 else fixed.clone())


def a_target_goes_into_training_mode() -> None:
    net, target = Net(), Net().eval()
    optimizer = sgd(net)
    for i in range(30):
        target.train(i > 17)
        with torch.no_grad():
            target(batch()[0])
        train(net, optimizer, 1)


def one_layer_of_it_does() -> None:
    net = Net()
    optimizer = sgd(net)
    for i in range(30):
        train(net, optimizer, 1)
        net.eval()
        net.last.train(12 < i < 20)
        with torch.no_grad():
            net(batch()[0])


def statistics_are_taken_away() -> None:
    net = Net()
    optimizer = sgd(net)
    train(net, optimizer, 6)
    for i in range(30):
        if i == 17:
            net.last.running_mean = net.last.running_var = None
        evaluate(net, 1)


def copies_that_come_and_go() -> None:
    net = Net()
    optimizer = sgd(net)
    for _ in range(4):
        train(net, optimizer, 3)
        evaluate(copy.deepcopy(net), 8)


def exceptions_in_an_evaluation() -> None:
    class Picky(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x)
            if x[0, 0] > 1:
                raise ValueError
            return out

    net = Picky()
    optimizer = sgd(net)
    for _ in range(30):
        with suppress(ValueError):
            train(net, optimizer, 1)
        with suppress(ValueError):
            evaluate(net, 1)


def parameters_that_are_lent() -> None:
    net = Net().eval()
    train(student := single(), optimizer := sgd(student), 3)
    for i in range(20):
        with torch.no_grad():
            other = {k: v + i for k, v in net.named_parameters()}
            torch.func.functional_call(net, other, (batch()[0],))
        train(student, optimizer, 1)


def a_line_that_is_also_mapped() -> None:
    net = Net().eval()
    train(student := single(), optimizer := sgd(student), 3)

    def ask(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return net(x)

    for i in range(20):
        ask(batch()[0])
        if i > 12:
            torch.func.vmap(ask)(torch.randn(2, 16, 4))
        train(student, optimizer, 1)


def gradients_from_within() -> None:
    class Own(Net):
        on = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.set_grad_enabled(self.on):
                return super().forward(x)

    net = Own()
    optimizer = sgd(net)
    for i in range(30):
        net.eval()
        net.on = i > 14
        with torch.no_grad():
            out = net(batch()[0])
        if out.requires_grad:
            optimizer.zero_grad()
            out.sum().backward()
            optimizer.step()


def updates_by_hand() -> None:
    net = Net()
    for _ in range(20):
        x, y = batch()
        net.train()
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.05 * p.grad
        evaluate(net, 2)


def an_argument_that_is_no_tensor() -> None:
    class Early(Net):
        def forward(self, x: torch.Tensor, deep: bool = True) -> torch.Tensor:
            return super().forward(x) if deep else self.body(x)

    net = Early()
    optimizer = sgd(net)
    for i in range(30):
        train(net, optimizer, 1)
        net.eval()
        with torch.no_grad():
            net(batch()[0], i % 7 != 6)
            net(batch()[0], deep=i % 7 != 6)


KNOWN: list[Callable[[], None]] = [
    teacher_between_forward_and_backward,
    teacher_before_the_forward,
    acts_between_its_steps,
    acts_and_another_is_trained,
    targets_of_two_models,
    frozen_backbone_feeds_a_head,
    scored_evaluations,
    one_test_set_all_the_time,
    a_target_goes_into_training_mode,
    one_layer_of_it_does,
    statistics_are_taken_away,
    copies_that_come_and_go,
    exceptions_in_an_evaluation,
    a_line_that_is_also_mapped,
    gradients_from_within,
    updates_by_hand,
]
UNKNOWN = [parameters_that_are_lent, an_argument_that_is_no_tensor]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets an entry for each forward that is not looked into."""
    run, found = Inferences.run, list[int]()

    def noted(self: Inferences, *args: object) -> object:
        found.append(1)
        return run(self, *args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Inferences, "run", noted)
    return found


@pytest.mark.parametrize("script", KNOWN + UNKNOWN, ids=lambda s: s.__name__)
@pytest.mark.parametrize("budget", [1e9, 0.0])
def test_known_or_looked_into(
    observed: Observing,
    monkeypatch: pytest.MonkeyPatch,
    known: list[int],
    script: Callable[[], None],
    budget: float,
) -> None:
    with monkeypatch.context() as without:
        without.setattr(Inferences, "known", lambda *_: None)
        torch.manual_seed(3)
        with observed(keep_bytes=0) as run:
            script()
        looked_into = by_model(run.recording)
        assert not known

    torch.manual_seed(3)
    with observed(budget=budget, keep_bytes=0) as run:
        if not budget:
            run.observer.schedule.charge(1.0, measuring=True)  # an empty purse
        script()
    assert bool(known) == (script not in UNKNOWN)
    now = by_model(run.recording)
    for name, wanted in looked_into.items():
        assert now[name] == wanted, name


def by_model(r: Recording) -> dict[str, object]:
    """What is told, each model's forwards in their order: a counted loop may be written down after another model's forward."""
    spans = {
        model: [
            (
                *(p.model, p.training, p.calls, p.site),
                msgspec.to_builtins(msgspec.structs.replace(s, pattern=0)),
            )
            for s in r.spans
            if (p := r.patterns[s.pattern]).model == model
        ]
        for model in r.models
    }
    return {**told(r), "spans": spans, "patterns": len(r.patterns)}


def test_a_loop_with_a_teacher_is_counted(observed: Observing) -> None:
    with observed(budget=0.0, keep_bytes=0) as run:
        run.observer.schedule.charge(1.0, measuring=True)
        teacher_between_forward_and_backward()
        assert run.observer.routine.active
    assert [s.forwards for s in spans(run.recording, "training")] == [40]
    assert [s.forwards for s in spans(run.recording, "inference", model=1)] == [40]


def test_old_kinds_make_room(
    observed: Observing, monkeypatch: pytest.MonkeyPatch, known: list[int]
) -> None:
    monkeypatch.setattr(inferences, "MOST", 2)
    with observed():
        train(net := Net(), sgd(net), 2)
        for _ in range(4):
            known.clear()
            evaluate(copy.deepcopy(net), 8)
            assert known


def test_what_changes_within_is_found_again(observed: Observing) -> None:
    """What cannot be seen from outside: until the next look into a forward, one after a quarter of those before."""

    class Branching(Net):
        deep = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if self.deep else self.head(self.body(x))

    with observed() as run:
        net = Branching()
        train(net, sgd(net), 2)
        evaluate(net, 40)
        net.deep = False
        evaluate(net, 40)
    deep, shallow = spans(run.recording, "inference")
    assert deep.forwards + shallow.forwards == 80
    assert 40 <= deep.forwards <= 50
