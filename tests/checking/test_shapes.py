"""Answers about shapes are those of the operations themselves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normscope.checking.shapes import ANSWERS, shapes_alone, without_values

IMAGE = torch.zeros(2, 6, 4, 4)
ROWS = torch.zeros(3, 5, 6)
CASES = {
    "batch norm": (nn.BatchNorm2d(6), IMAGE),
    "batch norm, channels last": (
        nn.BatchNorm2d(6),
        IMAGE.contiguous(memory_format=torch.channels_last),
    ),
    "batch norm, permuted": (nn.BatchNorm2d(6), torch.zeros(2, 4, 4, 6).permute(0, 3, 1, 2)),
    "batch norm of rows": (nn.BatchNorm1d(6), torch.zeros(3, 6)),
    "batch norm, no statistics": (
        nn.BatchNorm2d(6, affine=False, track_running_stats=False),
        IMAGE,
    ),
    "layer norm": (nn.LayerNorm(6), ROWS),
    "layer norm over two": (nn.LayerNorm((5, 6), elementwise_affine=False), ROWS),
    "layer norm, permuted": (nn.LayerNorm(6), IMAGE.permute(0, 2, 3, 1)),
    "dense": (nn.Linear(6, 7), ROWS),
    "dense of rows": (nn.Linear(6, 7), torch.zeros(3, 6)),
    "softmax": (nn.Softmax(-1), ROWS.transpose(1, 2)),
    **{
        f.__name__: (f, ROWS.transpose(0, 1))
        for f in (F.relu, F.gelu, F.silu, torch.sigmoid, torch.tanh)
    },
    **{
        f.__name__: (lambda x, f=f: f(x.clone()), ROWS)
        for f in (torch.relu_, torch.sigmoid_, torch.tanh_)
    },
    "half": (nn.BatchNorm1d(6).half(), torch.zeros(3, 6).half()),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("module", "x"), CASES.values(), ids=CASES)
def test_shape_order_and_dtype_are_those_of_a_real_pass(module, x, training):
    owner = module.train(training) if isinstance(module, nn.Module) else nn.Identity()
    real = module(x)
    with shapes_alone(owner):
        told = module(without_values(x))
    assert told.is_meta
    assert (told.shape, told.stride(), told.dtype) == (real.shape, real.stride(), real.dtype)
    assert told.requires_grad == real.requires_grad


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.BatchNorm2d(5), IMAGE),
        (nn.LayerNorm(5), ROWS),
        (nn.Linear(5, 7), torch.zeros(3, 6)),
        (nn.Linear(6, 7), torch.zeros(3, 6).double()),
    ],
    ids=["batch norm", "layer norm", "dense", "dtype"],
)
def test_what_does_not_fit_is_refused(module, x):
    with pytest.raises((RuntimeError, ValueError)), shapes_alone(module):
        module(without_values(x))


def test_whole_numbers_become_floats_as_ever():
    with shapes_alone(nn.Identity()):
        assert (
            torch.sigmoid(without_values(torch.zeros(3, dtype=torch.int64))).dtype == torch.float32
        )


def test_every_operation_has_an_overload():
    assert all(op.name() for op in ANSWERS)
