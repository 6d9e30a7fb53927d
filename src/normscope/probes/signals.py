# pyright: basic
"""What reaches and leaves each batch norm: listeners of `visit` and their answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.independence import Sampled
from normscope.probes.observations import Channels, InputScale, Values
from normscope.probes.population import Moments
from normscope.record.torch.batches import Kept

FADED = 0.05  # scale of a channel that training has switched off


@dataclass(slots=True)
class _Seen:
    """One norm: its input's moments, per-sample means of each batch, and which outputs were ever above 0."""

    rows: int
    moments: Moments | None = None
    alive: torch.Tensor | None = None
    means: dict[int, torch.Tensor] = field(default_factory=dict[int, torch.Tensor])
    late: list[torch.Tensor] = field(default_factory=list[torch.Tensor])


class Norms:
    """A listener that keeps per-sample channel means, moments, and channels that were ever positive.

    A norm that is called several times in a forward is told by its first call for the means, by all for the rest.
    """

    def __init__(self, since: float = 0.0) -> None:
        self.since = since  # step from which on moments and positive channels are kept
        self.seen: dict[_BatchNorm, _Seen] = {}

    def __call__(self, batch: Kept, norm: _BatchNorm, x: torch.Tensor, out: torch.Tensor) -> None:
        known = self.seen.setdefault(norm, _Seen(max(1, len(x) // batch.samples)))
        if len(x) % batch.samples == 0:
            known.means.setdefault(id(batch), _sample_means(x, batch.samples))
        if batch.step >= self.since:
            here = Moments.of(x)
            known.moments = here if known.moments is None else known.moments + here
            # What is not a number is not silent: another rule's matter.
            alive = (~(out <= 0)).transpose(0, 1).flatten(1).any(1).cpu()
            known.alive = alive if known.alive is None else known.alive | alive
            if id(batch) in known.means:
                known.late.append(known.means[id(batch)])

    def values(
        self, ids: Mapping[_BatchNorm, int], paths: Mapping[_BatchNorm, str], size: int
    ) -> Iterable[Values]:
        """n_eff of a batch of `size` samples for each norm."""
        for norm, seen in self.seen.items():
            if norm not in ids or seen.moments is None or sum(map(len, seen.late)) < 4:
                continue
            spread = torch.cat(seen.late).var(0)
            whole = seen.moments.var.cpu()
            known = (spread > 1e-12) & (whole > 1e-12)
            if bool(known.any()):
                worth = float((whole[known] / spread[known]).median())
                yield Values(ids[norm], paths[norm], size, seen.rows, size * max(worth, 1.0))

    def channels(
        self, ids: Mapping[_BatchNorm, int], paths: Mapping[_BatchNorm, str]
    ) -> Iterable[Channels]:
        for norm, seen in self.seen.items():
            if norm not in ids or seen.moments is None or seen.alive is None:
                continue
            silent = ~seen.alive
            faded = (
                torch.zeros_like(silent)
                if norm.weight is None
                else silent & (norm.weight.detach().abs().cpu() < FADED)
            )
            yield Channels(
                ids[norm],
                paths[norm],
                len(silent),
                silent=float(silent.double().mean()),
                faded=float(faded.double().mean()),
                collapsed=float((seen.moments.var < norm.eps).double().mean()),
            )

    def samples(self, batches: Sequence[Kept], paths: Mapping[_BatchNorm, str]) -> list[Sampled]:
        """Per-sample means of the raw input and of each norm whose dimension 0 holds samples."""
        found: list[Sampled] = []
        for batch in batches:
            means: dict[str, torch.Tensor] = {}
            if (raw := raw_input(batch)) is not None:
                means[""] = _sample_means(raw, batch.samples)
            for norm, seen in self.seen.items():
                if seen.rows == 1 and norm in paths and id(batch) in seen.means:
                    means[paths[norm]] = seen.means[id(batch)]
            target = batch.target
            classes = target is not None and target.ndim == 1 and not target.is_floating_point()
            numbers = None if target is None else target.reshape(len(target), -1)
            found.append(Sampled(means, target if classes else None, numbers))
        return found


def _sample_means(x: torch.Tensor, samples: int) -> torch.Tensor:
    """(samples, channels), float64 on the host. Where positions were folded into dimension 0, it is grouped the way in
    which samples differ more: sample after sample, or position after position."""
    rows = x.cpu().double().flatten(2).mean(2) if x.ndim > 2 else x.cpu().double()
    if len(rows) == samples:
        return rows
    grouped = (
        rows.view(samples, -1, rows.shape[1]).mean(1),
        rows.view(-1, samples, rows.shape[1]).mean(0),
    )
    return max(grouped, key=lambda m: float(m.var(0).sum()))


def raw_input(batch: Kept) -> torch.Tensor | None:
    """The first floating-point input with one row for each sample and a dimension of channels."""
    values = (*batch.args, *batch.kwargs.values())
    return next(
        (
            v
            for v in values
            if isinstance(v, torch.Tensor)
            and v.ndim >= 2
            and v.is_floating_point()
            and len(v) == batch.samples
        ),
        None,
    )


def input_scale(batches: Sequence[Kept]) -> InputScale | None:
    """Scale of the raw input over the batches whose channels agree in number."""
    whole: Moments | None = None
    for batch in batches:
        x = raw_input(batch)
        if x is None or (whole is not None and x.shape[1] != len(whole.mean)):
            continue
        whole = Moments.of(x) if whole is None else whole + Moments.of(x)
    if whole is None or not bool(whole.mean.isfinite().all()):
        return None
    largest = (whole.mean.square() + whole.var).amax().sqrt()
    return InputScale(len(whole.mean), float(whole.var.median()), float(largest))
