"""Samples in other batches: every one once, with its own target, whatever the structure."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.mixing import shuffled
from normscope.probes.setup import Setup, prepared


class Takes(nn.Module):
    """Reads the first tensor of whatever it is given."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x))


@dataclass
class Row:
    x: torch.Tensor
    label: torch.Tensor


def batches(make, sizes=(8, 8, 8, 5)):
    """Sample k has k in all of its parts."""
    found, at = [], 0
    for size in sizes:
        numbers = torch.arange(at, at + size)
        found.append(make(numbers[:, None].float().expand(-1, 3).clone(), numbers))
        at += size
    return found


def first(batch):
    x = batch[0] if isinstance(batch, (tuple, list)) else batch
    return x["x"] if isinstance(x, dict) else x.x if isinstance(x, Row) else x


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: (x, y),
        lambda x, y: [x, y],
        lambda x, y: ({"x": x, "ids": [str(int(k)) for k in y]}, y),
        lambda x, y: (Row(x, y), y),
        lambda x, y: (x, torch.tensor(7.0), y),
    ],
    ids=["tuple", "list", "dict with names", "dataclass", "a constant beside"],
)
def test_every_sample_keeps_what_is_its_own(make):
    setup = Setup(
        model=Takes(),
        train=batches(make),
        loss=nn.CrossEntropyLoss(),
        forward=lambda model, batch: model(first(batch)),
        target=lambda batch: batch[-1],
    )
    given = prepared(setup).train
    others, order = shuffled(given, [b.samples for b in given], seed=1)
    assert [b.samples for b in others] == [8, 8, 8, 5]
    assert sorted(order.tolist()) == list(range(29))
    assert order.tolist() != list(range(29))
    inputs = torch.cat([first(b.args[0])[:, 0] for b in others])
    assert torch.equal(inputs, order.float())
    assert torch.equal(torch.cat([b.target for b in others]), order)
    assert torch.equal(torch.cat([b.args[0][-1] for b in others]), order)


def test_names_stay_with_their_samples():
    made = batches(lambda x, y: {"x": x, "names": [f"n{int(k)}" for k in y]})
    setup = Setup(model=Takes(), train=made, forward=lambda model, batch: model(batch["x"]))
    others, order = shuffled(prepared(setup).train, [10, 19], seed=0)
    assert [n for b in others for n in b.args[0]["names"]] == [f"n{k}" for k in order.tolist()]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, i: torch.randn(len(x), 3 + i), "samples differ in shape"),
        (lambda x, i: torch.randn(3, 5) + i, "dimension 0 of an input is not the samples"),
        (lambda x, i: f"batch {i}", "changes from batch to batch"),
        (lambda x, i: {str(i): x}, "keys change"),
        (lambda x, i: x if i else None, "changes its type"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(change, told):
    made = batches(lambda x, y: (x, y))
    made = [(x, change(x, i), y) for i, (x, y) in enumerate(made)]
    setup = Setup(model=Takes(), train=made, forward=lambda model, batch: model(batch[0]))
    with pytest.raises(NormscopeError, match=told):
        shuffled(prepared(setup).train, [8, 8], seed=0)
