"""Scale and shift of norms: how they began, and who optimizes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from record.conftest import Observing
from record.loops import Net, evaluate, sgd, single, train


def test_how_the_scale_began(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(
            nn.BatchNorm1d(4), nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 3)
        )
        net[0].weight.data = torch.tensor([1.0, -1.0, 2.0, 2.0])
        net[0].bias.data = torch.tensor([3.0, -3.0, 3.0, -3.0])
        train(net, sgd(net), 2)
    scaled, bare = run.recording.layers.values()
    assert scaled.gamma_mean_at_start == pytest.approx(1.0)
    assert scaled.gamma_sd_at_start == pytest.approx(1.5**0.5)
    assert scaled.beta_rms_at_start == pytest.approx(3.0)
    assert (bare.gamma_mean_at_start, bare.beta_rms_at_start) == (None, None)


def test_a_lazy_layer_is_described_when_it_is_made(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyLinear(3))
        evaluate(net, 1)
    [layer] = run.recording.layers.values()
    assert (layer.gamma_mean_at_start, layer.beta_rms_at_start) == (1.0, 0.0)


def test_eps_of_an_rms_norm_is_that_of_its_dtype(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.RMSNorm(4), nn.RMSNorm(4, eps=1e-6), nn.Linear(4, 3))
        evaluate(net, 1)
    assert [x.eps for x in run.recording.layers.values()] == [torch.finfo(torch.float32).eps, 1e-6]


def test_who_optimizes_what_with_which_decay(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        rest = [p for n, p in net.named_parameters() if not n.startswith(("last", "body.1"))]
        groups = [{"params": rest}, {"params": net.last.parameters(), "weight_decay": 0.5}]
        train(net, torch.optim.SGD(groups, lr=0.05, weight_decay=0.1), 3)
    left, held = run.recording.layers.values()
    assert (left.optimized, left.weight_decay, left.feeders_optimized) == (False, None, True)
    assert (held.optimized, held.weight_decay, held.feeders_optimized) == (True, 0.5, True)


def test_surroundings_that_are_not_optimized(observed: Observing) -> None:
    with observed() as run:
        net = Net()
        train(net, sgd(net.head), 3)
    inner, outer = run.recording.layers.values()
    assert inner.feeders_optimized is False
    assert outer.feeders_optimized is False


def test_a_step_by_hand_decays_nothing(observed: Observing) -> None:
    with observed() as run:
        net = single()
        for _ in range(3):
            net(torch.randn(8, 4)).sum().backward()
            with torch.no_grad():
                for p in net.parameters():
                    p -= 0.01 * p.grad
                    p.grad = None
        evaluate(net, 1)
    [layer] = run.recording.layers.values()
    assert (layer.optimized, layer.weight_decay) == (True, 0.0)
