# pyright: basic
"""Calls of norm layers inside the models: by whose statistics they normalize, and over how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras.src import backend as keras_backend

from normscope.record.guard import guarded
from normscope.record.keras.norms import alpha_of, scale_of, statistics_of
from normscope.record.keras.outermost import flag

if TYPE_CHECKING:
    from normscope.record.keras.observer import Observer

# Layers that the probes ask with their batch's statistics, by id; and who wants to see what enters them.
forced: set[int] = set()
listeners: list[Callable[[Any, Any, Any], None]] = []


class NormCalls:
    """Entry points of the `call` methods of norm layers."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    @guarded
    def note(self, layer: Any, x: Any, training: Any, mask: Any) -> None:
        """A norm layer is about to run."""
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
        del mask
        batch = found.record.kind == "batch"
        by_batch = batch and flag(training) and layer.trainable
        updates = by_batch and statistics_of(layer) is not None
        scale = scale_of(layer)
        samples, values = _sizes(layer, x, found.record.kind)
        alpha = alpha_of(layer) if batch else 0.1
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
