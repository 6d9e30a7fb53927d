# pyright: basic
"""Calls of norm layers inside the models: by whose statistics they normalize, and over how much."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from keras.src import backend as keras_backend

from normscope.record.guard import guarded
from normscope.record.keras.norms import alpha_of, scale_of, statistics_of
from normscope.record.keras.outermost import flag

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer


class NormCalls:
    """Entry points of the `call` methods of norm layers."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._noted = 0
        # Whether a training call moved the statistics, of layers with a call of their own.
        self._moves: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    @guarded
    def before(self, layer: Any, training: Any) -> tuple[int, Any]:
        """A subclass runs its own `call`: what tells afterwards whether it called Keras', and moved its statistics."""
        kept = statistics_of(layer)
        unknown = layer not in self._moves and not self.observer.forwards.traced
        if kept is None or not (unknown and flag(training) and layer.trainable):
            return self._noted, None
        return self._noted, self.observer.backend.read(kept[0])

    @guarded
    def after(self, layer: Any, x: Any, training: Any, before: tuple[int, Any] | None) -> None:
        """It ran. What Keras' own `call` did inside is noted already."""
        if before is None:
            return
        noted, mean = before
        if noted != self._noted:
            return
        if mean is not None and (kept := statistics_of(layer)) is not None:
            self._moves[layer] = not np.array_equal(self.observer.backend.read(kept[0]), mean)
        self.note(layer, x, training, True)

    @guarded
    def note(self, layer: Any, x: Any, training: Any, own: bool = False) -> None:
        """A norm layer is about to run; one with a call of its `own` did, and by which weight it averages is not known."""
        self._noted += 1
        outermost = self.observer.forwards
        forward = outermost.current
        if forward is None or keras_backend.in_symbolic_scope():
            return
        if keras_backend.in_stateless_scope() and not outermost.traced:
            return
        found = self.observer.registry.known(layer)
        if found is None or found.record.site is None:
            if found is None and outermost.traced and not self.observer.backend.reads_while_tracing:
                return  # made while a step was traced: its values cannot be read
            found = self.observer.registry.find(
                forward.root, layer, self.observer.built_at.get(layer)
            )
        batch = found.record.kind == "batch"
        by_batch = batch and flag(training) and layer.trainable
        updates = by_batch and statistics_of(layer) is not None and self._moves.get(layer, True)
        scale = scale_of(layer)
        samples, values = _sizes(layer, x, found.record.kind)
        alpha = None if own else alpha_of(layer) if batch else 0.1
        if updates and not outermost.traced:
            found.alpha = alpha
            found.record.updates += 1
        forward.add(
            found,
            (
                found.record.id,
                by_batch or not batch,
                updates,
                samples,
                values,
                alpha,
                False,
                None if scale is None else bool(scale.trainable),
            ),
        )


def _sizes(layer: Any, x: Any, kind: str) -> tuple[int, int]:
    """The size of dimension 0, and how many values each mean is taken over.

    Of a batch whose size is not known yet: 0, and the number for one sample as a negative number where it grows with
    the batch. Another size that is not known counts as 1.
    """
    if getattr(x.shape, "rank", 0) is None:
        return 0, 0
    shape = [1 if n is None else int(n) for n in x.shape]
    if not shape:
        return 1, 1
    samples = 0 if x.shape[0] is None else shape[0]
    total = 1
    for n in shape:
        total *= n
    if kind == "group":
        return samples, total // max(1, shape[0] * int(layer.groups))
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    own = 1
    for axis in axes:
        own *= shape[axis]
    if kind == "batch":
        values = total // max(1, own)
        return samples, values if samples else -values
    return samples, own
