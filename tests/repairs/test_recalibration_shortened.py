"""Of a chain of modules, what stands behind the last batch norm runs once and no more; of any other model everything runs."""

import copy

import pytest
import torch
from torch import nn

from normscope.repairs import recalibrate
from repairs.models import inputs, mlp, state_of


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []  # a list of its own is not given back

    def forward(self, x):
        self.seen.append(len(x))
        return x


class Own(nn.Module):
    """The same chain with a forward of its own."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


class Hidden(nn.Module):
    """Calls a layer that it does not hold."""

    def __init__(self, norm):
        super().__init__()
        self.others = [norm]

    def forward(self, x):
        return self.others[0](x)


def whole(seen):
    """Whole batches among the forwards: the certificate's few rows are fewer."""
    return [n for n in seen if n == 32]


@pytest.mark.parametrize("ways", [{}, {"precise": True}], ids=str)
def test_the_rest_of_a_chain_runs_for_the_first_batch_only(ways):
    head, tail = Counted(), Counted()
    model = nn.Sequential(head, mlp(), tail)
    other = Own(copy.deepcopy(model))
    recalibrate(model, inputs(), **ways)
    assert (len(whole(head.seen)), len(whole(tail.seen))) == (3, 1)
    recalibrate(other, inputs(), **ways)
    assert len(whole(other.body[2].seen)) == 3
    assert [*state_of(model)[0].values()] == [*state_of(other)[0].values()]


def test_layer_by_layer_no_pass_goes_further_than_its_layer():
    marks = [Counted() for _ in range(3)]
    body = mlp()
    model = nn.Sequential(*body[:2], marks[0], *body[2:6], marks[1], *body[6:], marks[2])
    other = Own(copy.deepcopy(model))
    recalibrate(model, inputs(), exact=True)
    # One forward for the graph; then 3 batches in the second pass, of which the first pass runs one.
    assert [len(whole(m.seen)) for m in marks] == [1 + 1 + 3, 1 + 1 + 1, 1 + 1 + 1]
    recalibrate(other, inputs(), exact=True)
    assert [*state_of(model)[0].values()] == [*state_of(other)[0].values()]


def test_only_what_the_chosen_layers_need():
    mark = Counted()
    body = mlp()
    model = nn.Sequential(*body[:2], mark, *body[2:])
    recalibrate(model, inputs(), layers=["1"])
    assert len(whole(mark.seen)) == 1


def test_a_layer_that_the_rest_calls_by_a_reference_of_its_own_counts_every_time():
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(norm, nn.Linear(4, 4), Hidden(norm))
    certificate = recalibrate(model, inputs())
    assert certificate.layers[0].calls == 6


def test_hooks_of_the_users_own_run_every_time():
    model = mlp()
    seen = []
    model.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    recalibrate(model, inputs())
    assert len(whole(seen)) == 3


def test_a_forward_of_the_users_own_gets_the_model():
    model, given = mlp(), []

    def forward(m, x):
        given.append(m)
        return m(x)

    recalibrate(model, inputs(), forward=forward)
    assert all(m is model for m in given)


def test_a_chain_inside_a_chain_is_opened():
    mark = Counted()
    body = mlp()
    model = nn.Sequential(nn.Sequential(body[0], nn.Sequential(*body[1:6], mark)), nn.Linear(8, 2))
    other = Own(copy.deepcopy(model))
    recalibrate(model, inputs())
    recalibrate(other, inputs())
    assert len(whole(mark.seen)) == 1
    assert [*state_of(model)[0].values()] == [*state_of(other)[0].values()]


def test_nothing_is_left_behind_when_it_fails_in_the_first_batch():
    model = mlp()
    before = state_of(model)
    with pytest.raises(RuntimeError):
        recalibrate(model, [torch.randn(8, 3)])
    assert state_of(model) == before
