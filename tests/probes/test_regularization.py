"""What regularizers cost: each formula against what is known, and without a trace in the model."""

import math

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes import effects, regularization
from normscope.probes.regularizers import Arm, as_trained, dropless, noisy_norms
from normscope.probes.setup import Setup, prepared
from normscope.probes.step_size import step_size
from probes.asking import mlp
from probes.test_batch_size import data
from probes.test_untouched import Talkative, same, state


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Time is ample, so that the number of steps is the same on any machine."""
    monkeypatch.setattr(regularization, "MOST_STEPS", 15)


def with_dropout(rate=0.5):
    net = mlp()
    return nn.Sequential(*net[:3], nn.Dropout(rate), *net[3:])


def asked(model, batches=None, **more):
    facts = {"loss": nn.CrossEntropyLoss(), "optimizer": lambda p: torch.optim.SGD(p, 0.05)}
    return prepared(Setup(model=model, train=batches or data(), **(facts | more)))


def ask(model, batches=None, *, seconds=600.0, **more):
    return regularization.measure(asked(model, batches, **more), model_id=0, seconds=seconds)


def test_the_interval_of_paired_differences_holds_the_truth():
    """Differences with a part of the seed, a part of the sample and the rest."""
    held = 0
    for _ in range(400):
        rest = 0.5 * torch.randn(6, 200).double()
        of_seed, of_sample = 0.1 * torch.randn(6, 1).double(), torch.randn(1, 200).double()
        found = effects.paired(0.3 + of_seed + of_sample + rest)
        held += found.low <= 0.3 <= found.high
    assert held >= 0.93 * 400


def test_the_step_size_is_armijos():
    """For L = a w² / 2 the bound L(w − ηg) ≤ L − η g² / 2 holds up to η = 1 / a exactly."""
    for a, largest in ((1.0, 1.0), (3.0, 0.25), (0.3, 2.0), (0.01, 4.0)):
        model = nn.Linear(1, 1, bias=False)
        batch = asked(
            model, [(torch.ones(4, 1), torch.zeros(4))],
            loss=lambda out, _, a=a: 0.5 * a * out.square().mean(),
        ).train  # fmt: skip
        before = model.weight.detach().clone()
        assert step_size(model, batch) == 0.25 * largest
        assert torch.equal(model.weight, before)


def test_the_loss_of_a_constant_answer():
    y = torch.tensor([0, 0, 1, 2]).repeat(8)
    x = torch.randn(32, 8)
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    assert effects.constant(asked(mlp(), [(x, y)]).train) == pytest.approx(entropy)
    values = torch.randn(32, 3)
    found = effects.constant(asked(mlp(), [(x, values)], loss=nn.MSELoss()).train)
    constant = nn.functional.mse_loss(values.mean(0).expand(32, 3), values)
    assert found == pytest.approx(float(constant), rel=1e-5)
    unknown = asked(mlp(), [(x, y)], loss=lambda out, t: out.square().mean())
    assert effects.constant(unknown.train) is None


class Every(nn.Module):
    """Dropout in all the ways in which a network can have it."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.memory = nn.GRU(8, 8, 2, dropout=0.5, batch_first=True)

    def forward(self, x):
        x = nn.functional.dropout(x[:, None].expand(-1, 3, -1), 0.5, self.training)
        x = self.memory(self.attention(x, x, x)[0])[0]
        p = 0.5 if self.training else 0.0
        x = nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=p)
        return nn.functional.alpha_dropout(x, 0.5, training=self.training).mean(1)


def test_dropless_is_evaluation_for_every_kind_of_dropout():
    model, x = Every(), torch.randn(5, 8)
    model.eval()
    with dropless(model):
        expected = model(x)
    model.train()
    assert not torch.allclose(model(x), expected)
    with dropless(model) as handle:
        found = model(x)
    assert handle.met
    torch.testing.assert_close(found, expected)
    assert (model.attention.dropout, model.memory.dropout) == (0.5, 0.5)
    with dropless(nn.Sequential(nn.Dropout(0.0))) as handle:
        nn.Dropout(0.0)(x)
    assert not handle.met


def test_without_batch_noise_norms_stand_at_population_values():
    model = mlp().eval()
    batches = asked(model).train
    first = model[1]
    norms = [model.get_submodule(p) for p in noisy_norms(model)]
    Arm("batch noise").prepare(model, batches, norms)
    inputs = model[0](torch.cat([b.args[0] for b in batches]))
    torch.testing.assert_close(first.running_mean, inputs.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first.running_var, inputs.var(0), atol=1e-4, rtol=1e-4)
    assert model.training
    assert not any(n.training for n in norms)
    assert all(n.momentum == 0.1 for n in norms)


def test_norms_that_were_frozen_on_purpose_stay_so():
    model = mlp()
    model[1].eval()
    assert noisy_norms(model) == ["4"]
    as_trained(model)
    assert not model[1].training
    assert noisy_norms(model.eval()) == ["1", "4"]  # in evaluation nothing tells what training does


def test_an_arm_trains_as_training_does():
    """Weight decay in a linear model, against SGD written by hand over the same order of batches."""
    model, batches = nn.Linear(8, 3), data(128, 32)
    trial = regularization._Trial(model, asked(model, batches, optimizer=None, weight_decay=0.3))
    assert [arm.without for arm in trial.arms] == ["", "weight decay"]
    order = regularization._order(len(batches), 7, seed=3)
    for arm, decay in zip(trial.arms, (0.3, 0.0), strict=True):
        w, b = (p.detach().clone().requires_grad_() for p in model.parameters())
        for i in order:
            loss = nn.functional.cross_entropy(batches[i][0] @ w.T + b, batches[i][1])
            for p, g in zip((w, b), torch.autograd.grad(loss, (w, b)), strict=True):
                p.data -= trial.rate * (g + decay * p.data)
        x, y = (torch.cat(t) for t in zip(*batches, strict=True))
        expected = nn.functional.cross_entropy(x @ w.T + b, y, reduction="none")
        found, _ = trial.run(arm, 3, 7)
        torch.testing.assert_close(found.float(), expected.detach())


def test_effects_are_those_of_the_regularizers_that_there_are():
    answer = ask(with_dropout(), held_out=data(64), weight_decay=0.01)
    names = {e.regularizer for e in answer.effects} | set(answer.diverged)
    assert names == {"dropout", "batch noise", "weight decay"}
    assert {i.regularizer for i in answer.immediate} == {"dropout", "batch noise"}
    assert all(e.held_out is not None for e in answer.effects)
    [dropout] = [i for i in answer.immediate if i.regularizer == "dropout"]
    assert dropout.change.value == pytest.approx(dropout.off - dropout.on)
    assert dropout.change.low < dropout.change.value < dropout.change.high
    assert answer.weight_decay == 0.01
    plain = ask(mlp())
    assert {e.regularizer for e in plain.effects} | set(plain.diverged) == {"batch noise"}
    assert plain.effects[0].held_out is None


def test_weight_decay_of_the_setups_optimizer_is_known():
    answer = ask(mlp(), optimizer=lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.2))
    assert answer.weight_decay == 0.2
    assert answer.rate is None


def test_much_dropout_costs_more_than_little():
    """By direction: what dropout of 0.7 takes from the loss on training data is far more than 0.1 does."""

    def trained(rate):
        torch.manual_seed(0)
        model, batches = with_dropout(rate), data(512)
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for x, y in batches * 8:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        answer = ask(model, batches)
        return {e.regularizer: e.train for e in answer.effects}["dropout"]

    much, little = trained(0.7), trained(0.1)
    assert much.high < 0
    assert much.value < 3 * min(little.value, 0)


@pytest.mark.parametrize("fails_at", [None, 1, 30, 200])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_model_is_left_as_it_was(fails_at, error):
    calls = []

    class Failing(Talkative):
        def forward(self, x):
            calls.append(1)
            if fails_at is not None and len(calls) >= fails_at + 2:  # setting it up may call it
                raise error
            return super().forward(x)

    model, batches = Failing(), data()
    asking = asked(model, batches)
    model.body(batches[0][0]).sum().backward()
    before = state(model)
    if fails_at is None:
        regularization.measure(asking, model_id=0, seconds=600.0)
    else:
        with pytest.raises(error):
            regularization.measure(asking, model_id=0, seconds=600.0)
    assert same(state(model), before)


def test_progress_grows_to_the_end():
    told = []
    regularization.measure(asked(mlp()), model_id=0, seconds=600.0, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 5
    assert told[-1] == pytest.approx(1.0)


class Uncopied(nn.Sequential):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'generator' object")


def test_it_says_why_it_cannot_be_asked():
    with pytest.raises(NormscopeError, match="no dropout, no batch norm in training and no weight"):
        ask(nn.Linear(8, 3))
    with pytest.raises(NormscopeError, match="it needs a loss"):
        ask(mlp(), loss=None)
    with pytest.raises(NormscopeError, match="cannot be copied: TypeError: cannot pickle"):
        ask(Uncopied(*mlp()))
    with pytest.raises(NormscopeError, match="seconds, which is more than 3 times"):
        ask(mlp(), seconds=1e-6)
    with pytest.raises(NormscopeError, match="none of its parameters wants a gradient"):
        ask(mlp().requires_grad_(False))
    with pytest.raises(NormscopeError, match="diverged when it was trained on"):
        ask(mlp(), optimizer=lambda p: torch.optim.SGD(p, 1e30))


class Slow(nn.Module):
    """Each forward takes so many seconds of a clock that stands still otherwise."""

    def __init__(self, body, clock, seconds):
        super().__init__()
        self.body, self.clock, self.seconds = body, [clock], seconds

    def forward(self, x):
        self.clock[0][0] += self.seconds * len(x) / 32
        return self.body(x)


@pytest.mark.parametrize(("seconds", "samples"), [(600.0, 1024), (60.0, 360), (30.0, 128)])
def test_slow_models_are_judged_on_fewer_samples(seconds, samples, monkeypatch):
    """Sixteen runs, each of ten steps of three forwards and of four times the samples judged."""
    clock = [0.0]
    monkeypatch.setattr(regularization, "now", lambda: clock[0])
    model = Slow(mlp(), clock, 0.05)
    batches = asked(model, data()).train
    found = regularization._judgeable(model, batches, seconds)
    assert found == pytest.approx(samples, abs=60)


def test_what_takes_too_long_is_refused_before_anything_else(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(regularization, "now", lambda: clock[0])
    model = Slow(mlp(), clock, 1.0)
    with pytest.raises(
        NormscopeError, match="would take about 736 seconds, which is more than 3 times the 60 "
    ):
        ask(model, data(), seconds=60.0)
    assert clock[0] <= 3.0
