# pyright: basic
"""What recomputed statistics change: the model's outputs in both modes, and each layer's buffers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.graph.torch import tensors_of
from normscope.probes.feeding import Fed
from normscope.probes.population import Moments, install
from normscope.repairs.certificate import Difference, LayerChange
from normscope.repairs.recalibration.batches import Feed, part_of
from normscope.repairs.recalibration.estimating import Estimate, outputs_of

ROWS = 8  # samples whose outputs are compared, where a batch can be cut
ENOUGH_SAMPLES = 1000  # Wu & Johnson 2021: from 10³ on recomputed statistics are near-optimal
FEW_VALUES = 16  # per channel and call: the bias of one pass, of the order of one in so many


@dataclass(slots=True)
class Outputs:
    """What the model returned for a few samples before the repair, in both modes."""

    fed: Fed
    running: list[torch.Tensor]
    batch: list[torch.Tensor] | None

    @classmethod
    def of(cls, feed: Feed, norms: Mapping[str, _BatchNorm], fed: Fed) -> Outputs:
        """To be called inside `untouched`."""
        part = part_of(fed, ROWS)
        if part is not None:
            try:
                return cls(part, *_both(feed, norms, part))
            except Exception:  # noqa: BLE001, a model that takes no fewer samples takes the whole batch, or raises below
                part = None
        return cls(fed, *_both(feed, norms, fed))

    def again(
        self, feed: Feed, norms: Mapping[str, _BatchNorm], found: Estimate
    ) -> tuple[Difference, ...]:
        """The same samples with the new statistics, which stay installed. To be called inside `untouched`."""
        install({norms[path]: m for path, m in found.moments.items()})
        running, batch = _both(feed, norms, self.fed)
        samples = self.fed.samples
        moved = [Difference(mode="eval", distance=distance(self.running, running), samples=samples)]
        if batch is not None and self.batch is not None:
            apart = distance(self.batch, batch)
            moved.append(Difference(mode="train", distance=apart, samples=samples))
        return tuple(moved)


def _both(
    feed: Feed, norms: Mapping[str, _BatchNorm], fed: Fed
) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    running = _copied(outputs_of(feed, fed, ()))
    try:
        return running, _copied(outputs_of(feed, fed, norms.values()))
    except ValueError:  # one value per channel: there are no batch statistics
        return running, None


def _copied(out: object) -> list[torch.Tensor]:
    floating = (t for t in tensors_of(out) if t.is_floating_point())
    return [t.detach().to("cpu", copy=True).double() for t in floating]


def distance(before: Iterable[torch.Tensor], after: Iterable[torch.Tensor]) -> float | None:
    """Rms difference of all values, in standard deviations of those after; None where that is no number."""
    one, two = ([t.flatten() for t in side] for side in (before, after))
    if not one or [t.shape for t in one] != [t.shape for t in two]:
        return None
    x, y = torch.cat(one), torch.cat(two)
    if torch.equal(x, y):
        return 0.0
    apart = float((x - y).square().mean().sqrt() / y.std(correction=0))
    return apart if apart < float("inf") else None


def changes(norms: Mapping[str, _BatchNorm], found: Estimate) -> tuple[LayerChange, ...]:
    """Each recomputed layer's buffers as they are now, against what was found."""
    with np.errstate(all="ignore"):  # what stood there may be no numbers
        return tuple(
            _change(path, norms[path], moments, found.calls[path])
            for path, moments in found.moments.items()
        )


def _change(path: str, norm: _BatchNorm, moments: Moments, calls: int) -> LayerChange:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # numpy: for so few numbers the calls cost more than the arithmetic, and torch's cost several times as much.
    mean, var = (t.detach().cpu().double().numpy() for t in (norm.running_mean, norm.running_var))
    spread = moments.var.numpy() + norm.eps
    return LayerChange(
        path=path,
        channels=len(moments.mean),
        values=moments.count,
        calls=calls,
        mean_shift=_rms((mean - moments.mean.numpy()) / np.sqrt(spread)),
        log_sd=_rms(0.5 * np.log((var + norm.eps) / spread)),
    )


def _rms(x: NDArray[np.float64]) -> float | None:
    value = math.sqrt(x @ x / len(x))
    return value if value < math.inf else None


def notes(found: Estimate, *, exact: bool) -> tuple[str, ...]:
    """What the reader should know about the data behind the statistics."""
    told: list[str] = []
    if found.samples < ENOUGH_SAMPLES:
        told.append(
            f"only {found.samples} samples: from {ENOUGH_SAMPLES} on statistics are near-optimal (Wu & Johnson 2021)"
        )
    if found.skipped:
        why = f"one value per channel at `{found.few_at}`" if found.few_at else "of one sample"
        told.append(f"{found.skipped} batch{'es' * (found.skipped != 1)} left out: {why}")
    values = {path: m.count / found.calls[path] for path, m in found.moments.items()}
    fewest = min(values, key=values.__getitem__)
    if values[fewest] < FEW_VALUES and len(values) > 1 and not exact:
        told.append(
            f"{values[fewest]:.3g} values per channel and batch at `{fewest}`: layers below other batch norms saw inputs "
            "of noisy normalization; give larger batches, or exact=True"
        )
    again = [path for path, calls in found.calls.items() if calls > found.batches]
    if again:
        told.append(
            f"`{again[0]}`{f' and {len(again) - 1} more' * (len(again) > 1)} is called several times per batch: "
            "all calls are pooled"
        )
    return tuple(told)
