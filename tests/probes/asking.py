"""Kept batches and questions in one line, as a run would have them."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes import gap
from normscope.probes.recent import recent
from normscope.record.torch.batches import Kept


def kept(x, target=None, loss=None, direct=True, output=0, **options):
    """One training forward on `x`; `options` are those of the loss."""
    args = x if isinstance(x, tuple) else (x,)
    samples = len(args[0])
    device = torch.device("cpu")
    return Kept(args, {}, samples, 0, 0, device, target, loss, options, direct, output)


def cut(x, y, size, loss="cross_entropy"):
    """Batches of `size` in order, the rest as a short one."""
    return [kept(a, b, loss) for a, b in zip(x.split(size), y.split(size), strict=True)]


def ask(model, batches, *, seconds=60.0, frozen=()):
    norms = {m: path for path, m in model.named_modules() if isinstance(m, _BatchNorm)}
    layers = gap.Layers({m: i for i, m in enumerate(norms)}, norms, frozen)
    return gap.measure(model, recent(batches), layers, model_id=0, name="Net", seconds=seconds)


def mlp(inputs=8, classes=3, width=16):
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )


def recalibrate(model, x):
    """Exact running statistics on `x` as one batch."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        model.train()(x)
    for m in norms:
        m.momentum = 0.1
