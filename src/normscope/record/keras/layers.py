# pyright: basic
"""A norm layer as the observer holds it: the recorded facts, and the live layer by weak reference."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normscope.record.keras.norms import affine_of, alpha_of, describe, scale_of, statistics_of
from normscope.record.recording import Layer

Read = Callable[[Any], NDArray[Any]]  # the value of a variable, on the host


class NormLayer:
    """One norm layer of a model."""

    __slots__ = (
        "_layer",
        "_read",
        "_start",
        "_start_mean",
        "alpha",
        "last_forward",
        "record",
    )

    def __init__(self, record: Layer, layer: Any, read: Read) -> None:
        self.record = record
        self._layer = weakref.ref(layer)
        self._read = read
        # Weight of the new batch in the last call that moved the statistics.
        self.alpha: float | None = None
        self.last_forward: Any = None
        self._start: list[NDArray[Any]] | None = None  # scale and shift when first seen
        self._start_mean: NDArray[Any] | None = None
        describe(record, layer)
        if layer.built:
            self._begin(layer)

    @property
    def layer(self) -> Any:
        return self._layer()

    def _begin(self, layer: Any) -> None:
        """What the layer holds before anything that is observed changes it."""
        record = self.record
        describe(record, layer)
        if hasattr(layer, "momentum"):
            self.alpha = alpha_of(layer)
        self._start = [self._read(v) for v in affine_of(layer)]
        scale = scale_of(layer)
        if scale is not None:
            gamma = self._start[0].astype(float)
            record.zero_gamma_at_start = record.zero_gamma_at_end = float((gamma == 0).mean())
            record.gamma_mean_at_start = float(gamma.mean())
            record.gamma_sd_at_start = float(gamma.std())
        if len(self._start) == 2 or (scale is None and self._start):
            record.beta_rms_at_start = float(
                np.sqrt(np.square(self._start[-1].astype(float)).mean())
            )
        if (kept := self.read()) is not None:
            record.fresh_at_start = record.fresh_at_end = is_fresh(*kept)
            record.statistics_changed = False
            self._start_mean = kept[0]

    def begin_when_built(self) -> None:
        layer = self.layer
        if self._start is None and layer is not None and layer.built:
            self._begin(layer)

    def read(self) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Moving mean and variance as they are now."""
        layer = self.layer
        kept = None if layer is None else statistics_of(layer)
        return None if kept is None else (self._read(kept[0]), self._read(kept[1]))

    def refresh(self, optimized: Mapping[int, float]) -> None:
        """Bring the facts that change during a run up to date."""
        layer, record = self.layer, self.record
        self.begin_when_built()
        if layer is None or self._start is None:
            return
        affine = affine_of(layer)
        if affine:
            record.trainable = any(v.trainable for v in affine)
            decays = [optimized[id(v)] for v in affine if id(v) in optimized]
            record.optimized = bool(decays)
            record.weight_decay = max(decays, default=None)
            now = [self._read(v) for v in affine]
            if scale_of(layer) is not None:
                record.zero_gamma_at_end = float((now[0] == 0).mean())
            if not record.parameters_changed:
                record.parameters_changed = any(
                    not np.array_equal(a, b) for a, b in zip(now, self._start, strict=False)
                )
        if hasattr(layer, "momentum"):
            record.momentum = self.alpha if record.updates else alpha_of(layer)
        if (kept := self.read()) is not None:
            record.fresh_at_end = is_fresh(*kept)
            if self._start_mean is not None and not record.statistics_changed:
                record.statistics_changed = not np.array_equal(kept[0], self._start_mean)


def is_fresh(mean: NDArray[Any], var: NDArray[Any]) -> bool:
    """Whether the statistics are what Keras' default initializers gave: exactly 0 and 1."""
    return bool((mean == 0).all() and (var == 1).all())
