# pyright: basic
"""An arm set up in a process that trains with Keras, and whether it took hold by the end."""

from __future__ import annotations

from collections.abc import Callable

import keras

from normscope.trials.keras import becoming
from normscope.trials.keras.fitting import Fits
from normscope.trials.keras.norms import Instead, Norms
from normscope.trials.keras.optimizers import Factor, Updates
from normscope.trials.outcome import Outcome, give_up
from normscope.trials.patches import Patches

FACTORS = {"lr": "learning_rate", "wd": "weight_decay"}
OTHER_NORMS = ("group", "layer", "instance")


class Armed:
    """An arm in force, until `finish` writes to the outcome what it did, or tells why it found nothing to change.

    Arguments as those of the arm in PyTorch: the two stand side by side where Keras computes with PyTorch.
    """

    def __init__(
        self,
        kind: str,
        value: float | None,
        steps: int | None,
        run: Outcome,
        patches: Patches,
        *,
        spare: bool = False,
    ) -> None:
        self._run, self._patches, self._spare = run, patches, spare
        self._updates = Updates()
        self._missing: Callable[[], str] = lambda: ""
        if kind in OTHER_NORMS:
            self._norms(becoming.another_norm(kind, int(value or 0)))
        elif kind == "momentum":
            self._momentum(value or 0.0)
        elif kind == "ghost":
            self._norms(becoming.ghosts(int(value or 32)))
        elif kind == "none":
            self._eagerly(lambda: self._norms(becoming.first_batch_map()))
        elif kind == "frozen-tail":
            self._eagerly(lambda: self._frozen_tail(0.2 if value is None else value, steps))
        elif kind in FACTORS:
            self._factor(FACTORS[kind], 1.0 if value is None else value)
        elif kind == "batch":
            self._fits(int(value or 1))
        elif kind == "drop-last":
            self._missing = lambda: (
                "`fit` of Keras cuts batches from arrays by itself, an incomplete last one included"
            )
        elif kind == "renorm":
            self._refuse(
                "there is no batch renormalization for Keras models here; the layer of Keras has it as `renorm=True`"
            )
        self._updates.install(patches)

    @property
    def used(self) -> bool:
        """Whether anything was trained by an optimizer of Keras."""
        return self._updates.count > 0

    def finish(self) -> str:
        told = self._run.told
        if eager():
            told.steps += self._updates.count
        return self._missing()

    def _norms(self, instead: Instead) -> None:
        norms = Norms(instead)
        if self._spare:
            norms.spare()
        norms.install(self._patches)

        def missing() -> str:
            reason = norms.missing()
            if reason and norms.count:
                self._run.told.reason = reason  # whatever else the arm did change
            self._run.told.exchanged += norms.count
            return reason

        self._missing = missing

    def _momentum(self, momentum: float) -> None:
        if momentum >= 1:
            self._refuse("with momentum 1, in Keras' sense, moving statistics never move")
            return
        self._norms(becoming.other_momentum(momentum))
        norms = self._missing

        def missing() -> str:
            reason = norms()
            if not reason:
                self._run.told.note = f"momentum {momentum:g} is meant in Keras' sense, the weight of the old average: {1 - momentum:g} in PyTorch's."
            return reason

        self._missing = missing

    def _frozen_tail(self, share: float, steps: int | None) -> None:
        if not steps:
            self._refuse("the unchanged run of this seed counted no step of an optimizer")
            return
        tail = becoming.FrozenTail()
        at = max(1, int((1 - share) * steps))
        updates = self._updates

        def after() -> None:
            if updates.count >= at:
                tail.freeze()

        updates.after = after
        self._norms(tail)

    def _factor(self, entry: str, factor: float) -> None:
        scaled = Factor(entry, factor)
        scaled.install(self._patches, self._updates)

        def missing() -> str:
            self._run.told.changed += scaled.changed
            return (
                ""
                if scaled.changed
                else f"no optimizer of Keras stepped with a `{entry}` other than 0"
            )

        self._missing = missing

    def _fits(self, size: int) -> None:
        fits = Fits(size)
        fits.install(self._patches)

        def missing() -> str:
            self._run.told.changed += fits.changed
            return "" if fits.changed else "no `fit` was given arrays: the script makes its batches"

        self._missing = missing

    def _eagerly(self, then: Callable[[], None]) -> None:
        """What changes from one step to another is not seen by a step that was compiled before."""
        if eager():
            then()
        else:
            self._refuse(
                f"the {keras.backend.backend()} backend compiles the training step once, and this arm changes it later"
            )

    def _refuse(self, reason: str) -> None:
        """The run ends when training begins."""
        self._updates.around = lambda _: give_up(reason)


def eager() -> bool:
    return keras.backend.backend() == "torch"
