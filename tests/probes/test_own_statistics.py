"""Running statistics that layers of a user's own keep: which are found, their momentum, and the gap that they make."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normscope.probes import own_gap, own_statistics
from normscope.probes.observations import OwnStatistics
from normscope.record.torch.batches import Kept
from normscope.record.torch.norms import statistics_in


class Own(nn.Module):
    """Batch normalization in plain operations; statistics are plain tensors, or buffers."""

    def __init__(self, width: int, momentum: float = 0.3, *, buffers: bool = True) -> None:
        super().__init__()
        self.momentum = momentum
        if buffers:
            self.register_buffer("first", torch.zeros(width))
            self.register_buffer("second", torch.ones(width))
        else:
            self.first, self.second = torch.zeros(width), torch.ones(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return (x - self.first) / (self.second + 1e-5).sqrt()
        mean, var = x.mean(0), x.var(0)
        if self.momentum:
            with torch.no_grad():
                self.first += self.momentum * (mean - self.first)
                self.second += self.momentum * (var - self.second)
        return (x - mean) / (var + 1e-5).sqrt()


class Codebook(nn.Module):
    """Averages that training and evaluation read alike, as those of a vector quantizer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(width))
        self.register_buffer("sizes", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x + self.sums / self.sizes
        if self.training:
            self.sums = 0.9 * self.sums + 0.1 * x.detach().sum(0)
            self.sizes = 0.9 * self.sizes + 0.1 * len(x)
        return out


def model(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), layer, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def batches(count: int = 24) -> list[Kept]:
    generator = torch.Generator().manual_seed(1)
    kept = []
    for step in range(count):
        x = 2 + torch.randn(32, 6, generator=generator)
        y = (x[:, :2] > 2).sum(1)
        kept.append(Kept((x,), {}, 32, x.nbytes, step, x.device, y, "cross_entropy", direct=True))
    return kept


def found(net: nn.Module) -> tuple[list[own_statistics.Holder], list[OwnStatistics]]:
    places = [(path, names) for path, _, names in statistics_in(net)]
    for batch in batches(12):
        net(batch.args[0])
    return own_statistics.find(
        net, batches(), places=places, uncalled=(), frozen=(), model_id=0, name="Net", seconds=5.0
    )


@pytest.mark.parametrize("momentum", [0.01, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("buffers", [True, False])
def test_momentum_is_measured(momentum: float, buffers: bool) -> None:
    _, (own,) = found(model(Own(8, momentum, buffers=buffers)))
    assert own.path == "1"
    assert own.momentum == pytest.approx(momentum, rel=1e-3)
    assert not own.fresh
    assert not own.renorm


def test_an_average_that_never_moves_is_told_as_fresh() -> None:
    _, (own,) = found(model(Own(8, 0.0)))
    assert own.fresh
    assert own.momentum == 0


def test_averages_that_training_reads_are_no_statistics_of_a_norm() -> None:
    assert found(model(Codebook(8)))[1] == []


def test_ordinary_modules_hold_none() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cos", torch.linspace(0, 1, 8))
            self.register_buffer("sin", torch.linspace(1, 0, 8))

    assert list(statistics_in(nn.Sequential(Positions(), nn.BatchNorm1d(8), nn.LayerNorm(8)))) == []


def test_nothing_is_left_behind() -> None:
    net = model(Own(8, buffers=False))
    layer = net[1]
    before = (layer.first, layer.first.clone())
    random = torch.get_rng_state()
    places = [(path, names) for path, _, names in statistics_in(net)]
    holders, _ = own_statistics.find(
        net, batches(), places=places, uncalled=(), frozen=(), model_id=0, name="Net", seconds=5.0
    )
    own_gap.measure(net, batches(), holders, (), model_id=0, name="Net", seconds=5.0)
    assert layer.first is before[0]
    assert torch.equal(layer.first, before[1])
    assert net.training
    assert torch.equal(torch.get_rng_state(), random)


def test_the_gap_is_that_of_the_stored_values() -> None:
    net = model(Own(8, 0.1))
    places = [(path, names) for path, _, names in statistics_in(net)]
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for batch in 4 * batches():
        nn.functional.cross_entropy(net(batch.args[0]), batch.target).backward()
        optimizer.step()
        optimizer.zero_grad()
    net[1].first += 3.0  # as if they were of other data
    holders, _ = own_statistics.find(
        net, batches(), places=places, uncalled=(), frozen=(), model_id=0, name="Net", seconds=5.0
    )
    gap = own_gap.measure(net, batches(), holders, (), model_id=0, name="Net", seconds=5.0)
    assert gap.measure == "loss"
    assert gap.stale.value > 3 * gap.stale.noise
    assert abs(gap.inconsistent.value) < gap.stale.value / 3
