"""Several models in one script: which is trained, which is a copy, and which reads another's output."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from record.conftest import Observing
from record.loops import Net, batch, calls_in, evaluate, only_span, sgd, single, spans, train


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4), nn.Tanh()
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z)


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def adversarial(generator: nn.Module, critic: nn.Module, iterations: int) -> None:
    """The order of DCGAN: the generator's output is used once more after the critic's step."""
    of_critic, of_generator = sgd(critic), sgd(generator)
    for _ in range(iterations):
        of_critic.zero_grad()
        F.softplus(-critic(batch(8)[0])).mean().backward()
        fake = generator(torch.randn(8, 2))
        F.softplus(critic(fake.detach())).mean().backward()
        of_critic.step()
        of_generator.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        of_generator.step()


def test_the_order_of_dcgan(observed: Observing) -> None:
    with observed() as run:
        generator, critic = Generator(), Critic()
        adversarial(generator, critic, 5)
        generator.eval()
        with torch.no_grad():
            generator(torch.randn(8, 2))
    r = run.recording
    names = {m.name: m.id for m in r.models.values()}
    assert set(names) == {"Generator", "Critic"}
    assert r.steps == 10  # the critic's and the generator's
    assert r.optimizers == ["SGD"]
    assert all(m.optimized and m.copy_of is None for m in r.models.values())
    assert r.models[names["Generator"]].feeds == (names["Critic"],)
    assert r.models[names["Critic"]].feeds == ()
    # Every generator forward was used by a backward, though the critic was stepped before that.
    training = only_span(r, "training", names["Generator"])
    assert training.forwards == 5
    assert only_span(r, "inference", names["Generator"]).forwards == 1
    assert sum(s.forwards for s in spans(r, "training", names["Critic"])) == 15
    assert spans(r, "inference", names["Critic"]) == []
    [layer] = [x for x in r.layers.values() if x.model == names["Generator"]]
    assert layer.updates == 5


def test_what_a_model_reads_was_made_of_an_output_that_is_gone(observed: Observing) -> None:
    with observed() as run:
        body, head = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), nn.Linear(8, 3)
        optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
        for _ in range(4):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(head(F.relu(body(x) + 1)), y).backward()
            optimizer.step()
    models = run.recording.models
    assert [m.feeds for m in models.values()] == [(1,), ()]


def test_a_model_that_reads_only_data_is_fed_by_none(observed: Observing) -> None:
    with observed() as run:
        one, two = single(), single()
        optimizer = torch.optim.SGD([*one.parameters(), *two.parameters()], lr=0.1)
        for _ in range(4):
            x, y = batch()
            F.cross_entropy(one(x) + two(F.relu(x + 1)), y).backward()
            optimizer.step()
    assert [m.feeds for m in run.recording.models.values()] == [(), ()]


def test_inference_that_feeds_another_models_forward(observed: Observing) -> None:
    with observed() as run:
        encoder, head = single(), nn.Sequential(nn.Linear(3, 3))
        head(batch()[0][:, :3])
        with torch.no_grad():
            for last in (False, False, False, True):
                code = encoder(batch()[0])
                if not last:
                    head(code)
    r = run.recording
    assert only_span(r, "inference", 1).forwards == 4
    assert only_span(r, "inference", 1).feeding == 3
    assert [s.feeding for s in spans(r, "inference", 0)] == [0, 0]


def test_a_teacher_is_not_trained(observed: Observing) -> None:
    with observed() as run:
        student, teacher = single(), Net().eval()
        optimizer = sgd(student)
        for _ in range(4):
            x, _ = batch()
            with torch.no_grad():
                wanted = teacher(x)
            F.mse_loss(student(x), wanted).backward()
            optimizer.step()
    r = run.recording
    ours, theirs = (
        next(m for m in r.models.values() if m.name == n) for n in ("Sequential", "Net")
    )
    assert (ours.optimized, ours.parameters_changed) == (True, True)
    assert (theirs.optimized, theirs.parameters_changed, theirs.copy_of) == (False, False, None)
    assert spans(r, "training", theirs.id) == []
    span = only_span(r, "inference", theirs.id)
    assert (span.forwards, span.blocks, span.steps) == (4, 4, 4)
    assert not any(c.batch_stats for c in calls_in(r, span))
    assert only_span(r, "training", ours.id).forwards == 4


def test_a_deep_copy_made_later_is_known_as_a_copy(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        optimizer = sgd(net)
        train(net, optimizer, 2)
        average = copy.deepcopy(net)
        for _ in range(3):
            train(net, optimizer, 1)
            with torch.no_grad():
                for own, new in zip(average.parameters(), net.parameters(), strict=True):
                    own.lerp_(new, 0.1)
        evaluate(average, 2)
    r = run.recording
    first, second = r.models.values()
    assert (first.copy_of, second.copy_of) == (None, first.id)
    assert (second.optimized, second.optimized_share, second.norm_layers) == (False, 0.0, 2)
    assert r.steps == 5
    assert spans(r, "training", second.id) == []
    assert only_span(r, "inference", second.id).forwards == 2
    # The layers of the copy are its own: their statistics did not move again.
    copied = [x for x in r.layers.values() if x.model == second.id]
    assert [(x.path, x.updates, x.fresh_at_start) for x in copied] == [
        ("body.1", 0, False),
        ("last", 0, False),
    ]


def test_an_average_that_moves_has_changed_parameters_and_no_optimizer(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        average, optimizer = copy.deepcopy(net), sgd(net)
        for _ in range(3):
            train(net, optimizer, 1)
            evaluate(average, 1)
            for own, new in zip(average.parameters(), net.parameters(), strict=True):
                own.data.mul_(0.9).add_(new.data, alpha=0.1)
    r = run.recording
    average_record = next(m for m in r.models.values() if m.copy_of is not None)
    assert average_record.parameters_changed
    assert not average_record.optimized
    assert r.steps == 3
    assert r.optimizers == ["SGD"]


def test_other_shapes_are_no_copy(observed: Observing) -> None:
    with observed() as run:
        for width in (3, 5):
            net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, width))
            train(net, sgd(net), 1)
    assert [m.copy_of for m in run.recording.models.values()] == [None, None]


def test_two_optimizers_of_one_model_make_one_step(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        body = torch.optim.Adam(net.body.parameters(), lr=0.01)
        rest = torch.optim.SGD([*net.last.parameters(), *net.head.parameters()], lr=0.1)
        for _ in range(4):
            x, y = batch()
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            body.step()
            rest.step()
    r = run.recording
    assert r.steps == 4
    assert sorted(r.optimizers) == ["Adam", "SGD"]
    assert r.models[0].optimized_share == 1.0
    assert all(x.optimized for x in r.layers.values())
    assert only_span(r, "training").forwards == 4


def test_two_models_trained_by_turns(observed: Observing) -> None:
    with observed() as run:
        nets = single(), Net()
        optimizers = [sgd(n) for n in nets]
        for _ in range(3):
            for net, optimizer in zip(nets, optimizers, strict=True):
                train(net, optimizer, 1)
    r = run.recording
    assert r.steps == 6
    assert [only_span(r, "training", m).forwards for m in r.models] == [3, 3]
    assert [x.updates for x in r.layers.values()] == [3, 3, 3]


def test_a_model_that_is_gone_at_the_end(observed: Observing) -> None:
    with observed() as run:
        stays = nn.Sequential(nn.Linear(4, 3))
        for net in (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), stays):
            train(net, sgd(net), 1)
        del net
    assert [(m.id, m.alive) for m in run.recording.models.values()] == [(0, False), (1, True)]
