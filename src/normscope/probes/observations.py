"""What replayed batches show besides the gap: plain values that the store keeps and rules read. Imports no framework.

All of it was measured with fixed weights in evaluation mode, on kept training inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec


class Place(msgspec.Struct, frozen=True):
    """How much the samples of one batch resemble each other at one place: the raw input (`path` is "") or a norm's input.

    `correlation` is that of two samples of a batch (analysis of variance of per-sample channel means, averaged over channels,
    the smaller of two halves of the run); `n_eff` the number of independent samples whose mean would vary like a batch mean.
    """

    path: str
    correlation: float
    n_eff: float


class Independence(msgspec.Struct, frozen=True, kw_only=True):
    """Whether training batches are independent draws of samples.

    `p` is the larger of the p-values of two permutation tests, one for each half of the run, each over all places at once:
    small means that both halves vary more between their batches than shuffled batches would, after a linear trend.
    """

    model: int
    name: str
    batches: int
    samples: int
    batch: int  # samples in the commonest batch
    p: float
    places: tuple[Place, ...]
    group: int | None = None  # samples in each of several independent groups that make up a batch
    targets: float | None = None  # correlation of the targets within a batch; None: not known


class Values(msgspec.Struct, frozen=True):
    """What one batch norm of a training batch normalizes together.

    `n_eff` is N·σ²/Var(sample means), the median over channels: the number of independent values that the batch mean is worth,
    for the commonest batch. `rows` is the size of dimension 0 for each sample of the model: above 1 where positions were folded into it.
    """

    layer: int
    path: str
    samples: int
    rows: int
    n_eff: float


class Channels(msgspec.Struct, frozen=True):
    """The outputs of one batch norm: shares of its channels.

    `silent` channels were never above 0; `faded` are those of them with a scale below 0.05. `collapsed`: inputs with a variance below eps.
    """

    layer: int
    path: str
    channels: int
    silent: float
    faded: float
    collapsed: float


class Saturation(msgspec.Struct, frozen=True):
    """One sigmoid or tanh, call number `index` under its module's path.

    `saturated` is the share of values where its slope is below a hundredth of the steepest; `stuck` the share of units that are so at
    the same end for 99 % of the values.
    """

    path: str
    function: str
    index: int
    saturated: float
    stuck: float


class InputScale(msgspec.Struct, frozen=True):
    """The first floating-point input, per channel (dimension 1), in its own unit."""

    channels: int
    variance: float  # median over channels
    largest: float  # root mean square of the largest channel


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """The flow of values through one model."""

    model: int
    name: str
    samples: int
    batches: int
    values: tuple[Values, ...] = ()
    channels: tuple[Channels, ...] = ()
    activations: tuple[Saturation, ...] = ()
    input: InputScale | None = None


class DropoutShift(msgspec.Struct, frozen=True):
    """One batch norm's input variance without dropout: against that with it, and against the running one. Medians over channels."""

    layer: int
    path: str
    off_on: float
    off_running: float


class DropoutShifts(msgspec.Struct, frozen=True, kw_only=True):
    """All batch norms that ran, in a model that called a dropout."""

    model: int
    name: str
    samples: int
    layers: tuple[DropoutShift, ...]


class PaddedNorm(msgspec.Struct, frozen=True):
    """One batch norm that averages over padding: what that does to its statistics, medians over channels.

    `shift` is |mean with padding − mean without| in standard deviations of real positions, `ratio` the variance with over that without.
    """

    layer: int
    path: str
    shift: float
    ratio: float


class Padding(msgspec.Struct, frozen=True, kw_only=True):
    """A run of one constant vector behind sequences of different length.

    `share` of the positions are padding; `spread` is the standard deviation of that share between batches.
    """

    model: int
    name: str
    samples: int
    share: float
    spread: float
    layers: tuple[PaddedNorm, ...]


class OwnStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Running statistics that a layer of the user's own keeps, told by what they do.

    `momentum` is the measured weight of a new batch, 0 where a training forward leaves them as they are; `fresh`: still all 0
    and all 1 at the end. `steps` counts training steps, `evaluations` forwards in evaluation mode after the first of
    them. `renorm`: training corrects the batch's statistics by them, with bounds on scale and shift or without.
    """

    model: int
    name: str
    path: str
    buffers: tuple[str, ...]
    channels: int
    momentum: float
    fresh: bool
    steps: int = 0
    samples: int = 0  # in the commonest training batch
    evaluations: int = 0
    renorm: bool = False
    bounded_scale: bool = True
    bounded_shift: bool = True


def own_statistics(answers: Iterable[object]) -> Iterator[OwnStatistics]:
    """Those of the answers that tell of such a layer."""
    return (a for a in answers if isinstance(a, OwnStatistics))
