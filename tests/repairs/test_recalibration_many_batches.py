"""More calls than there is room for at once: memory that serves again holds nothing of what was there before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.repairs import recalibrate
from normscope.repairs.recalibration.rows import ROWS


class Unequal(nn.Module):
    """One norm on the input, called once, and one called for every time step."""

    def __init__(self):
        super().__init__()
        self.once, self.often = nn.BatchNorm1d(3), nn.BatchNorm1d(5)
        self.lift = nn.Linear(3, 5)

    def forward(self, x):
        with torch.no_grad():
            y = self.lift(self.once(x))
        return sum(self.often(y + step) for step in range(self.steps))


def unequal(steps):
    torch.manual_seed(0)
    model = Unequal()
    model.steps = steps
    return model


def sizes(batches):
    return [4 + i % 3 for i in range(batches)]


def assert_statistics(norm, values):
    wide = values.double()
    torch.testing.assert_close(norm.running_mean.double(), wide.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), wide.var(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batches", [ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 5])
@pytest.mark.parametrize("steps", [1, 3, ROWS + 8])
def test_every_call_counts_once(batches, steps):
    model = unequal(steps)
    data = [10 * i + torch.randn(n, 3) for i, n in enumerate(sizes(batches))]
    certificate = recalibrate(model, data, samples=None)
    assert_statistics(model.once, torch.cat(data))
    lifted = [nn.functional.batch_norm(x, None, None, training=True) for x in data]
    seen = [model.lift(x) + step for x in lifted for step in range(steps)]
    assert_statistics(model.often, torch.cat(seen).detach())
    calls = {x.path: x.calls for x in certificate.layers}
    assert calls == {"once": batches, "often": batches * steps}


def test_a_batch_that_was_refused_after_rows_were_used_again_counts_nowhere():
    norm = nn.BatchNorm1d(3)
    data = [torch.randn(n, 3) for n in sizes(ROWS + 9)]
    certificate = recalibrate(norm, [*data[: ROWS + 4], torch.full((1, 3), 1e6), *data[ROWS + 4 :]])
    assert certificate.batches == len(data)
    assert_statistics(norm, torch.cat(data))


@pytest.mark.parametrize("at", [3, ROWS + 3])
def test_what_is_not_finite_is_told_wherever_it_comes(at):
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    data = [torch.randn(4, 3) for _ in range(2 * ROWS)]
    data[at][0, 1] = float("nan")
    with pytest.raises(NormscopeError, match=r"The inputs of `0` .* \(channel 1 of 3"):
        recalibrate(model, data)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_without_comparison_the_statistics_are_the_same_and_no_pass_is_made_for_it():
    models, forwards = [], []
    for compare in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4))
        count = []
        model[0].register_forward_hook(lambda *_, count=count: count.append(1))
        certificate = recalibrate(model, [torch.randn(8, 3) for _ in range(5)], compare=compare)
        assert bool(certificate.differences) is compare
        assert bool(certificate.layers) is compare
        models.append(model)
        forwards.append(len(count))
    assert forwards == [9, 5]
    for one, two in zip(*(m.state_dict().values() for m in models), strict=True):
        assert torch.equal(one, two)
