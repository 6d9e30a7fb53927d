"""Norms that are no part of their model: one record for each place, however many modules take it."""

from __future__ import annotations

import torch
from torch import nn

from record.conftest import Observing
from record.loops import evaluate, sgd, train


class BuildsNorms(nn.Module):
    """Two norms of equal size and one of another, all built in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.BatchNorm1d(6)(self.first(x))
        x = nn.BatchNorm1d(6)(x)
        return nn.BatchNorm1d(3)(self.second(x))


def test_a_norm_built_in_every_forward_is_one_place(observed: Observing) -> None:
    with observed() as run:
        net = BuildsNorms()
        train(net, sgd(net), steps=30)
        evaluate(net, 4)
    layers = list(run.recording.layers.values())
    assert sorted(x.channels for x in layers) == [3, 6, 6]
    assert all(x.instances > 1 for x in layers)
    assert len(run.recording.patterns) < 10


def test_norms_in_a_list_are_places_of_their_own(observed: Observing) -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 6)
            self.norms = [nn.BatchNorm1d(6), nn.BatchNorm1d(6)]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for norm in self.norms:
                x = norm(self.first(x) if norm is self.norms[0] else x)
            return x[:, :3]

    with observed() as run:
        net = Listed()
        train(net, sgd(net), steps=10)
    assert [x.instances for x in run.recording.layers.values()] == [1, 1]
