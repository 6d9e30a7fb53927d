"""How much an output owes to its batch mates, and whether an answer leaks: against what is known of simple models."""

import math

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.leak import leak
from normscope.probes.mates import in_evaluation, in_training, mates, pairs_of, steps_of
from normscope.probes.setup import Setup, prepared
from normscope.probes.untouched import untouched
from normscope.probing import coupling
from probes.asking import mlp


def given(model, batches, **facts):
    return prepared(Setup(model=model, train=batches, **facts))


def ask(model, batches, **facts):
    return coupling.ask(given(model, batches, **facts), 60.0, lambda _: None)["coupling"]


def data(batches=24, size=16, features=8):
    return [(torch.randn(size, features), torch.randint(0, 3, (size,))) for _ in range(batches)]


def test_which_numbers_of_mates_are_replaced():
    assert steps_of(32) == [1, 2, 4, 8, 16]
    assert steps_of(12) == [1, 2, 4, 6]
    assert steps_of(2) == [1]
    assert steps_of(1) == []


def test_pairs_share_no_batch():
    batches = given(mlp(), [*data(5), *data(2, 7)]).train
    pairs = pairs_of(batches, 16)
    assert len(pairs) == 2
    assert len({id(b) for pair in pairs for b in pair}) == 4


class Centred(nn.Module):
    """Subtracts the batch's mean: the change is known."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)  # not called

    def forward(self, x):
        return x - x.mean(0)


@pytest.mark.parametrize("size", [8, 32])
def test_the_change_of_a_known_model(size):
    """The mean of N moves by the sum of r differences over N, each of variance 2: √(2r)/N."""
    batches = given(Centred(), data(400, size)).train
    with untouched(Centred()):
        rows = mates(Centred(), pairs_of(batches, size, most=200), in_evaluation)
    assert rows[0].replaced == 0
    assert rows[0].change.value == 0
    for row in rows[1:]:
        truth = math.sqrt(2 * row.replaced) / size / math.sqrt(1 - 1 / size)
        assert row.change.value == pytest.approx(truth, rel=0.08)
        assert row.change.low < truth < row.change.high


def test_coverage_of_the_interval_over_pairs():
    inside, runs = 0, 40
    for run in range(runs):
        torch.manual_seed(run)
        batches = given(Centred(), data(32, 8)).train
        [_, *rows] = mates(Centred(), pairs_of(batches, 8), in_evaluation)
        truth = math.sqrt(2) / 8 / math.sqrt(1 - 1 / 8)
        inside += rows[0].change.low <= truth <= rows[0].change.high
    assert inside / runs >= 0.85


def test_evaluation_is_independent_and_training_is_not():
    answer = ask(mlp(), data())
    assert all(r.change.value < 1e-6 and r.flipped.value == 0 for r in answer.evaluation)
    changes = [r.change.value for r in answer.training]
    assert changes == sorted(changes)
    assert changes[0] > 0.01
    assert answer.coupled_layers == ()


def test_dropout_is_no_coupling():
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Dropout(0.5), nn.Linear(16, 3))
    batches = given(model, data()).train
    with untouched(model):
        rows = mates(model, pairs_of(batches, 16), in_training)
    assert max(r.change.value for r in rows) < 1e-6


def test_a_layer_that_eval_does_not_reach_is_named():
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16, track_running_stats=False))
    answer = ask(model, data())
    assert answer.coupled_layers == ("1",)
    assert answer.evaluation[-1].change.value > 0.01


class Majority(nn.Module):
    """Decides by the sign of the batch's mean of feature 0: all of the answer leaks, none of it is in the sample."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, affine=False)

    def forward(self, x):
        mean = (x - self.norm(x) * x.std(0, correction=0)).mean(
            0
        )  # what batch statistics take away
        return torch.stack([-mean[:1].expand(len(x)), mean[:1].expand(len(x))], 1)


def pure(batches=40, size=16):
    """Batches of one class, whose mean of feature 0 tells it; each sample hardly does."""
    found = []
    for i in range(batches):
        y = torch.full((size,), i % 2)
        found.append((torch.randn(size, 2) + (2 * y[:, None] - 1), y))
    return found


def test_a_leak_is_measured():
    train = given(Majority(), pure(), loss=nn.CrossEntropyLoss())
    with untouched(train.model):
        found = leak(train.model, train.train, [train.model.norm])
    assert found.error.before == 0
    assert found.error.after == pytest.approx(
        0.5, abs=0.12
    )  # the majority of 16 is little above chance
    assert found.error.rise.value > 6 * found.error.rise.noise
    assert found.error.rise.low > 0.2
    assert found.loss.rise.value > 0


def test_random_batches_do_not_leak():
    """Under the null the difference is above three times its noise in hardly any of 60 draws."""
    above = inside = 0
    for run in range(60):
        torch.manual_seed(run)
        train = given(mlp(), data(16), loss=nn.CrossEntropyLoss())
        with untouched(train.model):
            found = leak(train.model, train.train, [train.model[1], train.model[4]])
        rise = found.error.rise
        above += abs(rise.value) > 3 * rise.noise
        inside += rise.low <= 0 <= rise.high
    assert above <= 1
    assert inside >= 54


def test_norms_that_training_leaves_in_evaluation_mode_stay_there():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[1].eval()
            return self

    assert len(coupling.trained(Frozen(*mlp()))) == 1
    answer = ask(Frozen(nn.Linear(8, 4), nn.BatchNorm1d(4)), data())
    assert answer.leak is None
    assert "no batch statistics" in answer.note


@pytest.mark.parametrize(
    ("batches", "facts", "told"),
    [
        (3, {"loss": nn.CrossEntropyLoss()}, "fewer than 4 batches"),
        (8, {}, "nothing is known of a single sample"),
        (8, {"loss": lambda out, target: (out.std() - target.float().mean()) ** 2}, None),
    ],
)
def test_what_cannot_be_tested_says_why(batches, facts, told):
    train = data(batches) if facts else [x for x, _ in data(batches)]
    answer = ask(mlp(), train, **facts)
    if told is None:  # one number for a batch is no loss of a sample, but classes decide
        assert answer.leak.loss is None
        assert answer.leak.error is not None
    else:
        assert answer.leak is None
        assert told in answer.note


def test_a_single_pair_has_no_interval():
    answer = ask(mlp(), data(2))
    assert answer.pairs == 1
    assert answer.training[0].change.low is None


def test_batches_of_one_sample_are_refused():
    with pytest.raises(NormscopeError, match="two batches of one size"):
        ask(nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)), data(4, size=1))
