"""What replayed batches show: independence, channels, activations, dropout, padding; and that nothing is left behind."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.errors import NormscopeError
from normscope.probes import replays
from probes.asking import kept, mlp


def subject(model):
    norms = {m: path for path, m in model.named_modules() if isinstance(m, _BatchNorm)}
    return replays.Subject(0, "Net", {m: i for i, m in enumerate(norms)}, norms)


def ask(model, xs, **options):
    return replays.measure(model, [kept(x) for x in xs], subject(model), seconds=60.0, **options)


def grouped(batches=16, size=32, correlation=0.5, each=None):
    """Batches whose samples share a part: all of them, or each group of `each`."""
    for _ in range(batches):
        groups = 1 if each is None else size // each
        shared = torch.randn(groups, 8).repeat_interleave(size // groups, 0)
        yield correlation**0.5 * shared + (1 - correlation) ** 0.5 * torch.randn(size, 8)


def place(answer, path=""):
    return next(p for p in answer["independence"].places if p.path == path)


def test_independent_samples():
    answer = ask(mlp(), [torch.randn(32, 8) for _ in range(16)])
    assert answer["independence"].p > 0.01
    assert place(answer).n_eff > 20


def test_correlated_samples_are_found_and_measured():
    answer = ask(mlp(), list(grouped(batches=40, correlation=0.5)))
    assert answer["independence"].p == pytest.approx(1 / 200)
    # Kish: 32/(1 + 31·0.5) = 1.9; the smaller of two halves' correlations is a little less.
    assert place(answer).n_eff == pytest.approx(1.94, rel=0.4)
    assert answer["independence"].group is None


def test_groups_of_equal_size_are_recognised():
    answer = ask(mlp(), list(grouped(batches=40, correlation=0.6, each=8)))
    assert answer["independence"].group == 8


def test_a_slow_drift_is_no_correlation():
    answer = ask(mlp(), [torch.randn(32, 8) + 0.05 * k for k in range(40)])
    assert answer["independence"].p > 0.01


def test_data_that_change_once_are_no_correlation():
    xs = [torch.randn(32, 8) + 3.0 * (k > 25) for k in range(40)]
    assert ask(mlp(), xs)["independence"].p > 0.01


def test_too_few_batches_give_no_test():
    assert "independence" not in ask(mlp(), [torch.randn(32, 8) for _ in range(11)])


def test_batches_of_any_size_give_no_test():
    assert "independence" not in ask(mlp(), [torch.randn(20 + 3 * k, 8) for k in range(16)])


def test_effective_values_of_maps():
    """White noise: every value counts. Constant maps: one value a sample."""
    model = nn.Sequential(nn.BatchNorm2d(3))
    white = ask(model, [torch.randn(8, 3, 6, 6) for _ in range(40)])["signal"].values[0]
    flat = ask(model, [torch.randn(8, 3, 1, 1).expand(8, 3, 6, 6) for _ in range(40)])["signal"]
    assert white.n_eff == pytest.approx(8 * 36, rel=0.35)
    assert flat.values[0].n_eff == pytest.approx(8, rel=0.1)


def test_positions_in_the_first_dimension_are_told_from_samples():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(5)

        def forward(self, x):
            return self.norm(x.flatten(0, 1))

    shared = [torch.randn(4, 1, 5).expand(4, 10, 5).contiguous() for _ in range(40)]
    [found] = ask(Folded(), shared)["signal"].values
    assert found.rows == 10
    assert found.n_eff == pytest.approx(4, rel=0.1)


def test_silent_and_faded_channels():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].bias[:3] = -9.0
        model[0].weight[2] = 0.01
    [found] = ask(model, [torch.randn(32, 4) for _ in range(4)])["signal"].channels
    assert (found.silent, found.faded) == (0.75, 0.25)


def test_channels_are_judged_on_the_data_of_the_end():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())
    batches = [kept(torch.randn(32, 4) - 50.0 * (k >= 4)) for k in range(8)]
    for k, batch in enumerate(batches):
        batch.step = k
    [found] = replays.measure(model, batches, subject(model), seconds=60.0)["signal"].channels
    assert found.silent == 1.0


@pytest.mark.parametrize(
    ("act", "function"), [(nn.Tanh(), "tanh"), (lambda x: x.sigmoid(), "sigmoid")]
)
def test_saturated_and_stuck_units(act, function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            if isinstance(act, nn.Module):
                self.act = act

        def forward(self, x):
            return act(self.norm(x))

    x = torch.tensor([[7.0, 0.0]]).repeat(32, 1) + 0.1 * torch.randn(32, 2)
    [found] = ask(Net(), [x, x])["signal"].activations
    assert found.function == function
    assert (found.saturated, found.stuck) == (0.5, 0.5)


@pytest.mark.parametrize("functional", [False, True])
def test_dropout_halves_the_variance(functional):
    """Zero mean, rate 0.5: variance with dropout is twice that without."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(6)

        def forward(self, x):
            x = nn.functional.dropout(x, 0.5, self.training) if functional else self.drop(x)
            return self.norm(x)

    model = Net()
    model.norm.running_var.fill_(2.0)
    [found] = ask(model, [torch.randn(256, 6) for _ in range(16)])["dropout"].layers
    assert found.off_on == pytest.approx(0.5, rel=0.1)
    assert found.off_running == pytest.approx(0.5, rel=0.1)


def test_no_dropout_no_answer():
    assert "dropout" not in ask(mlp(), [torch.randn(32, 8) for _ in range(4)])


def padded(lengths, value=0.0):
    x = 5.0 + torch.randn(len(lengths), 3, max(lengths))
    for row, n in enumerate(lengths):
        x[row, :, n:] = value
    return x


def test_padding_and_its_effect():
    model = nn.Sequential(nn.BatchNorm1d(3))
    answer = ask(model, [padded([4, 10, 12, 20] * 4) for _ in range(8)])["padding"]
    assert answer.share == pytest.approx(1 - 46 / 80, abs=1e-6)
    [layer] = answer.layers
    assert layer.shift == pytest.approx(5 * (1 - 46 / 80), rel=0.1)
    assert layer.ratio == pytest.approx(0.575 + 25 * 0.575 * 0.425, rel=0.1)


def test_dark_borders_are_no_padding():
    images = [padded([20, 24, 26, 28] * 4) for _ in range(8)]
    for x in images:
        x[:, :, :3] = 0.0
    assert ask(nn.Sequential(nn.BatchNorm1d(3)), images)["padding"].share == 0.0


def test_the_model_and_random_numbers_are_untouched():
    model = nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.5), nn.BatchNorm1d(6), nn.Tanh()).train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    ask(model, [torch.randn(32, 8, generator=torch.Generator().manual_seed(k)) for k in range(14)])
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_one_batch_is_refused():
    with pytest.raises(NormscopeError, match="fewer than two training batches"):
        ask(mlp(), [torch.randn(32, 8)])


def test_a_model_that_is_too_slow_is_refused():
    batches = [kept(torch.randn(32, 8)) for _ in range(4)]
    with pytest.raises(NormscopeError, match="would take about"):
        replays.measure(mlp(), batches, subject(mlp()), seconds=0.0)
