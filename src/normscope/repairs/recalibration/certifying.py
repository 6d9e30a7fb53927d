# pyright: basic
"""What recomputed statistics change: the model's outputs in both modes, and each layer's buffers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.graph.torch import tensors_of
from normscope.probes.feeding import Fed
from normscope.probes.population import install
from normscope.probes.replay import set_mode
from normscope.repairs.certificate import Difference, LayerChange
from normscope.repairs.recalibration.batches import Feed, part_of
from normscope.repairs.recalibration.estimating import Estimate

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
        set_mode(feed.model, batch_stats=[*norms.values()])
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
        """The same samples with the new statistics, which stay installed. To be called after `of`, inside `untouched`."""
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
    """Outputs with running and with batch statistics, everything else in eval mode, as `set_mode` put it."""
    _switch(norms, training=False)
    running = _copied(feed.run_copied(fed))
    _switch(norms, training=True)
    try:
        return running, _copied(feed.run_copied(fed))
    except ValueError:  # one value per channel: there are no batch statistics
        return running, None


def _switch(norms: Mapping[str, _BatchNorm], *, training: bool) -> None:
    for norm in norms.values():
        norm.training = training


def _copied(out: object) -> list[torch.Tensor]:
    floating = (t for t in tensors_of(out) if t.is_floating_point())
    return [t.detach().to("cpu", torch.float64, copy=True) for t in floating]


def distance(before: Iterable[torch.Tensor], after: Iterable[torch.Tensor]) -> float | None:
    """Rms difference of all values, in standard deviations of those after; None where that is no number."""
    one, two = ([t.numpy() for t in side] for side in (before, after))
    if not one or [t.shape for t in one] != [t.shape for t in two]:
        return None
    # numpy: for so few numbers the calls cost more than the arithmetic, and torch's cost several times as much.
    x, y = (np.concatenate([t.ravel() for t in side]) for side in (one, two))
    if (x == y).all():
        return 0.0
    with np.errstate(all="ignore"):
        off, about = x - y, y - y.sum() / len(y)
        apart = np.sqrt((off @ off) / (about @ about))
    return float(apart) if apart < math.inf else None


def changes(norms: Mapping[str, _BatchNorm], found: Estimate) -> tuple[LayerChange, ...]:
    """Each recomputed layer's buffers as they are now, against what was found."""
    paths, moments = [*found.moments], [*found.moments.values()]
    layers = [norms[path] for path in paths]
    sizes = [len(m.mean) for m in moments]
    buffers = ([n.running_mean for n in layers], [n.running_var for n in layers])
    stored = (*buffers, [m.mean for m in moments], [m.squares for m in moments])
    mean, var, new_mean, squares = _end_to_end([t for each in stored for t in each]).reshape(4, -1)
    eps = np.repeat([n.eps for n in layers], sizes)
    spread = squares / np.repeat([m.degrees for m in moments], sizes) + eps
    with np.errstate(all="ignore"):  # what stood there may be no numbers
        off = (mean - new_mean) / np.sqrt(spread), 0.5 * np.log((var + eps) / spread)
        shifts, log_sds = _rms_of_each(sizes, np.stack(off))
    return tuple(
        LayerChange(
            path=path,
            channels=size,
            values=m.count,
            calls=found.calls[path],
            mean_shift=shift if shift < math.inf else None,
            log_sd=log_sd if log_sd < math.inf else None,
        )
        for path, m, size, shift, log_sd in zip(paths, moments, sizes, shifts, log_sds, strict=True)
    )


def _end_to_end(tensors: Sequence[torch.Tensor | None]) -> NDArray[np.float64]:
    """In one vector on the host: of so few numbers, to fetch each layer's costs more than what is then done with them."""
    every = [t for t in tensors if t is not None]
    if len({t.device for t in every}) > 1:
        every = [t.cpu() for t in every]
    return torch.cat(every).detach().cpu().double().numpy()


def _rms_of_each(sizes: Sequence[int], rows: NDArray[np.float64]) -> list[list[float]]:
    """Of each layer's part of each row."""
    starts = np.cumsum([0, *sizes[:-1]])
    return np.sqrt(np.add.reduceat(rows * rows, starts, axis=1) / sizes).tolist()


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
