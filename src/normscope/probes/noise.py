# pyright: basic
"""How noisy a batch's mean and variance are at each batch norm: predicted from single samples, and observed between batches.

Fixed weights, evaluation mode, dropout off: below a batch norm in training mode batch means are pinned and say nothing. From each
sample come the mean m of its positions and the mean q of their squared deviations from the population's mean. Batches of N independent samples
have Var(batch mean) = Var(m)/N and, but for the one degree of freedom, Var(batch variance) = Var(q)/N, whatever the correlation within a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.probes.answers import Estimate
from normscope.probes.answers.noise import LayerNoise
from normscope.probes.intervals import resampled
from normscope.record.torch.batches import Kept
from normscope.statistics import averaged_batches

GOAL = 0.1  # standard deviations: what the error of a running mean should stay below
CONSTANT = 1e-12  # of a variance: such a channel has no noise to speak of


@dataclass(slots=True)
class _Seen:
    """One norm: raw moments of its samples about a fixed centre, float64, each (samples, channels) a batch."""

    centre: torch.Tensor
    values: int  # of a channel in a batch
    powers: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    third: torch.Tensor | float = 0.0
    fourth: torch.Tensor | float = 0.0


class BatchNoise:
    """A listener of `visit` for batches of one size. A norm that is called several times is told by its first call."""

    def __init__(self) -> None:
        self.seen: dict[_BatchNorm, _Seen] = {}
        self._last: dict[_BatchNorm, int] = {}

    def __call__(self, batch: Kept, norm: _BatchNorm, x: torch.Tensor, _: torch.Tensor) -> None:
        if len(x) % batch.samples or self._last.get(norm) == id(batch):
            return
        self._last[norm] = id(batch)
        wide = (x.cpu() if x.device.type == "mps" else x).double()
        rows = wide.flatten(2).movedim(1, 2) if wide.ndim > 2 else wide[:, None]
        each = _by_sample(rows, batch.samples)
        if norm not in self.seen:
            self.seen[norm] = _Seen(each.mean((0, 1)), each.shape[0] * each.shape[1])
        known = self.seen[norm]
        if each.shape[2] != len(known.centre):
            return
        away = each - known.centre
        known.powers.append((away.mean(1).cpu(), away.square().mean(1).cpu()))
        known.third = known.third + away.pow(3).mean((0, 1)).cpu()
        known.fourth = known.fourth + away.pow(4).mean((0, 1)).cpu()

    def layers(
        self, ids: Mapping[nn.Module, int], paths: Mapping[nn.Module, str]
    ) -> list[LayerNoise]:
        """Those with at least two batches and a channel that varies, in the order in which they ran."""
        found = (_layer(n, s, ids[n], paths[n]) for n, s in self.seen.items() if n in ids)
        return [layer for layer in found if layer is not None]


def _by_sample(rows: torch.Tensor, samples: int) -> torch.Tensor:
    """(samples, positions, channels). Where positions were folded into dimension 0, it is grouped the way in which samples differ more."""
    if len(rows) == samples:
        return rows
    channels = rows.shape[2]
    ways = (
        rows.reshape(samples, -1, channels),
        rows.reshape(-1, samples, rows.shape[1], channels)
        .transpose(0, 1)
        .reshape(samples, -1, channels),
    )
    return max(ways, key=lambda w: float(w.mean(1).var(0).sum()))


def _layer(norm: _BatchNorm, seen: _Seen, layer: int, path: str) -> LayerNoise | None:
    batches, n = len(seen.powers), seen.values
    size = len(seen.powers[0][0])
    m = torch.cat([p[0] for p in seen.powers])
    s = torch.cat([p[1] for p in seen.powers])
    mean = m.mean(0)
    total = batches * n
    var = (s.mean(0) - mean.square()) * (total / (total - 1))
    varies = (var > CONSTANT) & var.isfinite()
    if batches < 2 or len(m) < 4 or n < 2 or not bool(varies.any()):
        return None
    kurtosis = _kurtosis(seen, mean, s.mean(0), batches) / var.square()
    q = s - 2 * mean * m + mean.square()
    of_mean = (m.var(0) / var)[varies]  # of one sample, in variances of a value
    of_var = (q.var(0) / var.square())[varies]
    # The mean that a batch takes away is its own: 2/(n − 1) more, as for independent values.
    extra = 2 / (n * (n - 1))
    worth = float((1 / of_mean).median())
    at = slice(None), varies
    means = torch.stack([x[0].mean(0) for x in seen.powers])[at] / var[varies].sqrt()
    variances = torch.stack([_unbiased(*p, n) for p in seen.powers])[at] / var[varies]
    predicted = math.sqrt(float(of_mean.mean()) / size)
    alpha = norm.momentum
    share = None if alpha is None or not 0 < alpha <= 1 else 1 / averaged_batches(alpha)
    predicted_var = math.sqrt(float(of_var.mean()) / size + extra)
    return LayerNoise(
        layer=layer,
        path=path,
        values=n,
        kurtosis=float(kurtosis[varies].median()),
        n_eff=size * worth,
        n_eff_var=size * float(((kurtosis[varies] - 1) / of_var).median()),
        independent=1 / math.sqrt(n),
        mean_predicted=predicted,
        mean_observed=_between(means),
        var_predicted=predicted_var,
        var_observed=_between(variances),
        momentum=alpha,
        running=None if share is None else predicted * math.sqrt(share),
        running_var=None if share is None else predicted_var * math.sqrt(share),
        enough=None if share is None else _enough(float(of_mean.mean()) * share),
        enough_alone=_enough(float(of_mean.mean())),
    )


def _kurtosis(seen: _Seen, mean: torch.Tensor, second: torch.Tensor, batches: int) -> torch.Tensor:
    """The fourth moment about the mean, from those about the centre."""
    third, fourth = (torch.as_tensor(t) / batches for t in (seen.third, seen.fourth))
    return fourth - 4 * mean * third + 6 * mean.square() * second - 3 * mean.pow(4)


def _unbiased(m: torch.Tensor, s: torch.Tensor, n: int) -> torch.Tensor:
    """A batch's own variance by channel, as running variances take it in."""
    return (s.mean(0) - m.mean(0).square()) * (n / (n - 1))


def _between(of_batches: torch.Tensor) -> Estimate:
    """The standard deviation of (batches, channels) between batches: root of the mean over channels, resampled over batches."""
    n = len(of_batches)
    apart = (of_batches - of_batches.mean(0)).square().mean(1) * (n / (n - 1))
    return resampled(apart[:, None], lambda means: means[:, 0].sqrt())


def _enough(of_one: float) -> int:
    """The least number of samples with √(variance of one / N) ≤ GOAL."""
    return max(1, math.ceil(of_one / GOAL**2 - 1e-9))
