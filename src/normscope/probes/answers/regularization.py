"""What the probe of regularizers found: plain values that the store keeps and rules read. Imports no framework.

A regularizer is `dropout`, `batch noise` (batch norms normalize with each batch's own statistics) or `weight decay`. All losses
that are compared after training steps are *clean*: dropout off, batch norms with statistics recomputed for the weights at hand.
"""

from __future__ import annotations

import msgspec

from normscope.probes.answers.batch_size import Interval


class Immediate(msgspec.Struct, frozen=True):
    """The loss on training data with fixed weights: with the regularizer, without, and the paired difference `without − with`."""

    regularizer: str
    on: float
    off: float
    change: Interval


class Effect(msgspec.Struct, frozen=True):
    """What a few training steps without one regularizer do to the clean loss, against the same steps with all of them.

    Below 0: better without. Paired by order of the data, random state and sample.
    """

    regularizer: str
    train: Interval
    held_out: Interval | None = None


class Regularization(msgspec.Struct, frozen=True, kw_only=True):
    """One model, trained on from the given state on copies, `seeds` times for each regularizer.

    `start` is the clean loss before, `loss` after `steps` steps with all regularizers on, averaged over seeds. `constant` is what the
    best constant answer would lose (entropy of the classes, variance of the targets); None where that is not known. `rate` is
    the learning rate of plain SGD; None where the setup gave an optimizer.
    """

    model: int
    name: str
    unit: str
    samples: int
    held_out_samples: int
    steps: int
    seeds: int
    start: float
    loss: float
    constant: float | None = None
    error: float | None = None  # share of wrong decisions on training data, before
    held_out: float | None = None  # clean loss on held-out data after the steps with all on
    rate: float | None = None
    weight_decay: float = 0.0
    immediate: tuple[Immediate, ...] = ()
    effects: tuple[Effect, ...] = ()
    diverged: tuple[str, ...] = ()  # regularizers without which training on did not end in a number


def strongest(answer: Regularization) -> Effect | None:
    """The effect that lowers the training loss most; None where none lowers it."""
    found = min(answer.effects, key=lambda e: e.train.value, default=None)
    return found if found is not None and found.train.value < 0 else None
