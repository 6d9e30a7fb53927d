"""Batch norms that are called past `torch.nn.functional`: told, not followed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope import diagnosis
from record.conftest import Observing
from record.loops import Net, batch, sgd, single, train


class Direct(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
        self.mean = nn.Buffer(torch.zeros(8))
        self.var = nn.Buffer(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        if self.how == "torch":
            x = torch.batch_norm(
                x, None, None, self.mean, self.var, self.training, 0.1, 1e-5, False
            )
        elif self.how == "native":
            x = torch.native_batch_norm(
                x, None, None, self.mean, self.var, self.training, 0.1, 1e-5
            )[0]
        elif self.how == "instance":
            x = F.instance_norm(x[..., None].expand(-1, -1, 3)).mean(-1)
        else:
            x = F.batch_norm(x, self.mean, self.var, training=self.training)
        return self.last(F.relu(x))


@pytest.mark.parametrize("how", ["torch", "native"])
def test_a_model_of_such_norms_alone_is_not_evaluated(observed: Observing, how: str) -> None:
    with observed() as run:
        model = Direct(how)
        train(model, sgd(model), 3)
    told = diagnosis.diagnose(run.recording)
    assert [m.unfollowed for m in run.recording.models.values()] == [1]
    assert told.verdict.status == "not_evaluated"
    assert "1 batch norm of a training forward ran past" in told.coverage.notes[0]


def test_one_beside_norms_that_are_followed(observed: Observing) -> None:
    with observed() as run:
        net = nn.Sequential(nn.BatchNorm1d(4), Direct("torch"))
        train(net, sgd(net), 3)
    [model] = run.recording.models.values()
    assert (model.norm_layers, model.unfollowed) == (1, 1)


@pytest.mark.parametrize("make", [Net, single, "functional", "instance"])
def test_what_is_followed_is_not_told(observed: Observing, make) -> None:
    with observed() as run:
        model = Direct(make) if isinstance(make, str) else make()
        train(model, sgd(model), 3)
        model(batch()[0])
    assert [m.unfollowed for m in run.recording.models.values()] == [0]


def test_what_ran_before_the_model_is_no_part_of_it(observed: Observing) -> None:
    """A predictor on an encoder: its norms, and an instance norm in between, lie behind the input."""
    with observed() as run:
        encoder, predictor = Net(), Direct("torch")
        predictor.first = nn.Linear(3, 8)
        optimizer = torch.optim.SGD([*encoder.parameters(), *predictor.parameters()], lr=0.1)
        for _ in range(3):
            x, y = batch()
            features = F.instance_norm(encoder(x)[..., None].expand(-1, -1, 3)).mean(-1)
            loss = F.cross_entropy(predictor(features.mul_(2)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    told = {m.name: (m.norm_layers, m.unfollowed) for m in run.recording.models.values()}
    assert told["Direct"] == (0, 1)
    assert told["Net"][1] == 0
