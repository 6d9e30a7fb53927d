"""How a batch of the user's loader reaches a model."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from normscope.errors import NormscopeError
from normscope.probes.feeding import feeder

X, Y, Z = torch.zeros(4, 3), torch.ones(4), torch.full((4,), 2.0)


class One(nn.Module):
    def forward(self, x, mask=None):
        return x


class Two(nn.Module):
    def forward(self, left, right, *, scale=1.0):
        return left


class Anything(nn.Module):
    def forward(self, **entries):
        return entries["image"]


class Unnamed(nn.Module):
    def forward(self, *parts):
        return parts[0]


@dataclass
class Batch:
    x: torch.Tensor
    label: torch.Tensor


Pair = namedtuple("Pair", "x y")


def parts(model, batch, forward=None):
    fed = feeder(model, forward)(batch)
    return fed.args, fed.kwargs, fed.rest


def test_a_tensor_is_passed_as_it_is():
    assert parts(Two(), X) == ((X,), {}, ())


@pytest.mark.parametrize("batch", [(X, Y), [X, Y], Pair(X, Y)])
def test_of_a_sequence_the_model_gets_what_it_requires(batch):
    assert parts(One(), batch) == ((X,), {}, (Y,))
    assert parts(nn.Sequential(), batch) == ((X,), {}, (Y,))
    assert parts(Unnamed(), batch) == ((X,), {}, (Y,))
    assert parts(Two(), (*batch, Z)) == ((X, Y), {}, (Z,))


def test_several_parts_may_be_left_over():
    assert parts(One(), (X, Y, Z))[2] == (Y, Z)


def test_entries_go_to_the_parameters_of_their_names():
    assert parts(One(), {"x": X, "label": Y}) == ((), {"x": X}, (Y,))
    assert parts(One(), Batch(X, Y)) == ((), {"x": X}, (Y,))
    assert parts(Two(), {"left": X, "right": Y, "scale": 2.0, "label": Z}) == (
        (),
        {"left": X, "right": Y, "scale": 2.0},
        (Z,),
    )
    assert parts(Anything(), {"image": X, "label": Y}) == ((), {"image": X, "label": Y}, ())


def test_wrapped_models_are_asked_for_their_own_signature():
    assert parts(nn.DataParallel(Two()), (X, Y, Z)) == ((X, Y), {}, (Z,))


def test_with_a_forward_of_the_users_own_the_batch_stays_whole():
    def forward(model, batch):
        return model(batch["image"])

    batch = {"image": X, "label": Y}
    assert parts(One(), batch, forward) == ((batch,), {}, ())
    assert parts(One(), (X, Y, Z), forward) == (((X, Y, Z),), {}, (Z,))


@pytest.mark.parametrize(
    ("model", "batch", "told"),
    [
        (Two(), (X,), "1 items, but the model's forward takes 2"),
        (One(), {"image": X}, "lacks x"),
        (Two(), {"left": X}, "lacks right"),
    ],
)
def test_what_does_not_fit_is_told(model, batch, told):
    with pytest.raises(NormscopeError, match=told) as error:
        feeder(model)(batch)
    assert "forward=" in str(error.value)


def test_samples_are_counted_along_dimension_0():
    assert feeder(One())((X, Y)).samples == 4
    assert feeder(One())({"x": [torch.tensor(1.0), X]}).samples == 4
    with pytest.raises(NormscopeError, match="no tensor"):
        _ = feeder(One())(torch.tensor(1.0)).samples
