"""What the coupling probe found. Imports no framework."""

from __future__ import annotations

import msgspec

from normscope.probes.answers import Change, Estimate


class Mates(msgspec.Struct, frozen=True):
    """A batch in which `replaced` samples were exchanged for others, seen at samples that stayed.

    `change` is the rms change of an output in standard deviations of the output over samples, `flipped` the share of decisions that changed.
    """

    replaced: int
    change: Estimate
    flipped: Estimate | None = None


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """Batch statistics, dropout off: batches as the loader composes them against the same samples shuffled over batches.

    `error` counts wrong decisions, `loss` is in `unit`; each `before` is that of the loader's batches. `running_error` and `running_loss` are
    those of the same samples with running statistics.
    """

    samples: int
    batches: int
    shuffles: int
    unit: str
    error: Change | None = None
    loss: Change | None = None
    running_error: float | None = None
    running_loss: float | None = None


class Coupling(msgspec.Struct, frozen=True, kw_only=True):
    """How much the output for one sample depends on the other samples of its batch.

    `evaluation` is the mode that the model's own `eval()` leaves, `training` that of `train()`; random masks are the same for each
    pair. `floor` is what two runs of the same batch differ by. `leak` is None where samples could not be judged or exchanged: `note` says why.
    """

    model: int
    name: str
    batch: int
    pairs: int
    floor: float
    evaluation: tuple[Mates, ...] = ()
    training: tuple[Mates, ...] = ()
    coupled_layers: tuple[str, ...] = ()  # batch norms with batch statistics after eval()
    leak: Leak | None = None
    note: str = ""
