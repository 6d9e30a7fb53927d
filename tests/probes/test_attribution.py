"""Which layer carries the gap: known because it was put there."""

import math

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from probes.asking import ask, cut, recalibrate


def trained():
    """A net of three norms that separates four clusters, with exact running statistics."""
    layers = []
    for width in (8, 24, 24):
        layers += [nn.Linear(width, 24), nn.BatchNorm1d(24), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(24, 4))
    centres = 3 * torch.randn(4, 8)
    y = torch.arange(640) % 4
    x = centres[y] + torch.randn(640, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    recalibrate(model, x)
    return model, x, y


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_corrupted_layer_carries_it(which):
    model, x, y = trained()
    norm = [m for m in model if isinstance(m, _BatchNorm)][which]
    sd = norm.running_var.sqrt()
    norm.running_mean += 4 * sd * torch.randn(24).sign()
    norm.running_var *= 9
    gap = ask(model, cut(x, y, 64)).gap
    assert gap.stale.value > 3 * gap.stale.noise
    found = {layer.path: layer for layer in gap.layers}
    culprit = found.pop(str(3 * which + 1))
    assert culprit.share == pytest.approx(1, abs=0.1)
    assert culprit.mean_shift == pytest.approx(4, rel=0.1)
    assert culprit.log_sd == pytest.approx(math.log(3), rel=0.1)
    for innocent in found.values():
        assert innocent.share == pytest.approx(0, abs=0.1)
        assert max(innocent.mean_shift, innocent.log_sd) < 0.1


def test_no_shares_where_nothing_is_stale():
    model, x, y = trained()
    gap = ask(model, cut(x, y, 64)).gap
    assert abs(gap.stale.value) < 0.05
    assert all(layer.share != layer.share for layer in gap.layers)


def test_the_floor_is_the_difference_of_the_halves():
    model, x, y = trained()
    half = torch.tensor([i.bit_count() % 2 for i in range(10)]).repeat_interleave(64)
    x = x + 2.0 * half[:, None]  # the halves of the probe differ, by design of the test
    gap = ask(model, cut(x, y, 64)).gap
    first = model[0](x[half == 0]).mean(0) - model[0](x[half == 1]).mean(0)
    sd = model[0](x).std(0)
    expected = 0.5 * (first / sd).square().mean().sqrt().item()
    assert gap.layers[0].floor == pytest.approx(expected, rel=0.05)
