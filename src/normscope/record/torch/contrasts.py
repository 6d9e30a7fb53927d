# pyright: basic
"""What tells the calls of one layer in one step apart: sums over sampled steps of paired differences between them.

For each call, `batch = old + (new − old)/α`. With m and v a channel's batch mean and variance in the first call of the step and
m', v' those in a later one, the differences are d = (m' − m)/√((v + v')/2 + ε) and l = ln((v' + ε)/(v + ε)). Where both
calls draw their batches from the same distribution, d and l are as likely positive as negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from normscope.graph.model import Site
from normscope.record.recording import Contrast
from normscope.record.series import TOLERANCE
from normscope.record.store import Store
from normscope.record.torch.layers import NormLayer

MOST_CALLS = 12  # of one layer in one step that are told apart
MOST_PLANS = 16  # sequences of calls, of which loops with odd steps have several
FARTHEST = 8.0  # standard deviations that one difference counts at most

Floats = NDArray[np.float64]


class Place(NamedTuple):
    """Where in a step a call stands: the line that called the model, and the numbers of forward and call."""

    site: Site | None
    forward: int
    position: int


class Taken:
    """One call: running statistics before and after it, on their device."""

    __slots__ = (
        "_after",
        "_before",
        "_stored",
        "alpha",
        "buffer",
        "forward",
        "layer",
        "place",
        "samples",
    )

    def __init__(
        self,
        layer: NormLayer,
        forward: Any,
        place: Place,
        samples: int,
        alpha: float,
        stored: Any,
    ) -> None:
        self.layer, self.forward, self.place = layer, forward, place
        self.samples, self.alpha = samples, alpha
        self._stored: Any = stored
        self.buffer = id(stored[0])  # a module may hold several, one for each domain
        self._before = _joined(stored)
        self._after: torch.Tensor | None = None

    def done(self) -> None:
        self._after = _joined(self._stored)
        self._stored = None

    @property
    def complete(self) -> bool:
        return self._after is not None

    @property
    def channels(self) -> int:
        return self._before.numel() // 2

    @property
    def readings(self) -> list[torch.Tensor]:
        return [] if self._after is None else [self._before, self._after]

    @property
    def ulp(self) -> float:
        """Relative, of the running statistics' dtype."""
        return torch.finfo(self._before.dtype).eps


def _joined(stored: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.detach().reshape(-1) for t in stored])


class Contrasts:
    """Sums for every layer and place in the step, and the records that they give."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.waiting = 0
        self._plans: dict[tuple[Any, ...], _Plan] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}

    def add(self, taken: Iterable[Taken]) -> bool:
        """The calls of one step; whether some layer had two."""
        by_layer: dict[tuple[int, int], list[Taken]] = {}
        for t in taken:
            by_layer.setdefault((t.layer.record.id, t.buffer), []).append(t)
        calls = [t for same in by_layer.values() if len(same) > 1 for t in same]
        if not calls:
            return False
        key = tuple((t.layer.record.id, t.channels, t.place) for t in calls)
        plan = self._plans.get(key)
        if plan is None and len(self._plans) < MOST_PLANS:
            plan = self._plans[key] = _Plan(calls)
        if plan is not None:
            plan.waiting.append(calls)
            self.waiting += 1
        return True

    def fold(self) -> None:
        """Bring what waits from the device into the sums: one transfer for each kind of step."""
        for plan in self._plans.values():
            plan.fold()
        self.waiting = 0

    def write(self) -> None:
        """One record for each layer and place."""
        if not self._plans:
            return
        self.fold()
        found: dict[tuple[Any, ...], list[tuple[_Plan, int]]] = {}
        for plan in self._plans.values():
            for k, pair in enumerate(plan.pairs):
                found.setdefault((pair.layer, pair.first, pair.second, pair.channels), []).append(
                    (plan, k)
                )
        for key, parts in found.items():
            number = self._numbers.setdefault(key, len(self._numbers))
            self.store.put("contrast", number, _record(parts))


@dataclass(frozen=True, slots=True)
class _Pair:
    """A later call of a layer against the first one of the step; `start` is its place in the flat sums."""

    layer: int
    first: Place
    second: Place
    channels: int
    start: int


class _Plan:
    """A sequence of calls that steps repeat. Everything is flat over calls and channels, so that a step folds at once."""

    def __init__(self, calls: list[Taken]) -> None:
        self.waiting: list[list[Taken]] = []
        self.pairs: list[_Pair] = []
        self.samples = min(t.samples for t in calls)
        self.same_input = np.zeros(len(calls), dtype=np.int64)
        self.steps = 0
        self.last_step = 0
        self._sizes = np.array([t.channels for t in calls])
        self._eps = np.repeat([t.layer.record.eps for t in calls], self._sizes)
        self._ulp = np.repeat([t.ulp for t in calls], self._sizes)
        starts = np.concatenate([[0], np.cumsum(self._sizes)])
        # Each call is read as mean and variance before it, then both after it.
        self._rows = np.concatenate(
            [4 * s + np.arange(c) for s, c in zip(starts[:-1], self._sizes, strict=True)]
        )
        self._stride = np.repeat(self._sizes, self._sizes)
        firsts: dict[tuple[int, int], int] = {}
        a: list[NDArray[np.intp]] = []
        b: list[NDArray[np.intp]] = []
        self._seconds: list[int] = []
        at = 0
        for k, t in enumerate(calls):
            first = firsts.setdefault((t.layer.record.id, t.buffer), k)
            if first == k:
                continue
            span = np.arange(t.channels)
            a.append(starts[first] + span)
            b.append(starts[k] + span)
            self.pairs.append(_Pair(t.layer.record.id, calls[first].place, t.place, t.channels, at))
            self._seconds.append(k)
            at += t.channels
        self._a, self._b = np.concatenate(a), np.concatenate(b)
        self.mean, self.log_var = np.zeros((3, at)), np.zeros((3, at))  # number, sum, squares

    def fold(self) -> None:
        steps, self.waiting = self.waiting, []
        if not steps:
            return
        flat = _to_host([r for calls in steps for t in calls for r in t.readings])
        for row, calls in zip(flat.reshape(len(steps), -1), steps, strict=True):
            self._add(row, np.array([t.alpha for t in calls]))
            self.same_input += [t.forward.same_input for t in calls]
            self.last_step = calls[0].forward.step + 1
        self.steps += len(steps)

    def same(self, pair: int) -> int:
        """Steps in which the later call's forward got the data of the forward before it."""
        return int(self.same_input[self._seconds[pair]])

    def _add(self, row: Floats, alphas: Floats) -> None:
        alpha = np.repeat(alphas, self._sizes)
        at, c = self._rows, self._stride
        old_mean, old_var, new_mean, new_var = (row[at + k * c] for k in range(4))
        with np.errstate(all="ignore"):
            mean = old_mean + (new_mean - old_mean) / alpha
            var = np.maximum(old_var + (new_var - old_var) / alpha, 0.0)
            mean_error = self._ulp * np.maximum(np.abs(old_mean), np.abs(new_mean)) / alpha
            var_error = self._ulp * np.maximum(np.abs(old_var), np.abs(new_var)) / alpha
            var = np.where(var_error <= TOLERANCE * (var + self._eps), var + self._eps, np.nan)
            spread = np.where(np.isnan(var), old_var + self._eps, var)
            mean = np.where(mean_error <= TOLERANCE * np.sqrt(spread), mean, np.nan)
            a, b = self._a, self._b
            apart = (mean[b] - mean[a]) / np.sqrt((spread[a] + spread[b]) / 2)
            _count(self.mean, np.clip(apart, -FARTHEST, FARTHEST))
            _count(self.log_var, np.clip(np.log(var[b] / var[a]), -FARTHEST, FARTHEST))


def _to_host(tensors: list[torch.Tensor]) -> Floats:
    """All of them in a row, in one transfer where they share device and dtype."""
    kinds = {(t.device, t.dtype) for t in tensors}
    if len(kinds) == 1:
        return torch.cat(tensors).cpu().double().numpy()
    return np.concatenate([t.cpu().double().numpy() for t in tensors])


def _count(sums: Floats, values: Floats) -> None:
    known = np.isfinite(values)
    values = np.where(known, values, 0.0)
    sums += [known, values, values**2]


def _record(parts: list[tuple[_Plan, int]]) -> Contrast:
    """The record of one pair from the sums of all the plans that hold it."""
    plan, k = parts[0]
    pair = plan.pairs[k]

    def total(name: str) -> Floats:
        sums = (
            getattr(p, name)[:, q.start : q.start + q.channels]
            for p, i in parts
            for q in [p.pairs[i]]
        )
        return np.sum(list(sums), axis=0)

    mean, mean_t = difference(*total("mean"))
    log_var, log_var_t = difference(*total("log_var"))
    steps = sum(p.steps for p, _ in parts)
    return Contrast(
        layer=pair.layer,
        site_first=pair.first.site,
        site=pair.second.site,
        forward=pair.second.forward,
        position=pair.second.position,
        samples=min(p.samples for p, _ in parts),
        steps=steps,
        last_step=max(p.last_step for p, _ in parts),
        same_input=sum(p.same(i) for p, i in parts),
        recovered=float(total("mean")[0].sum() / max(1, steps * pair.channels)),
        mean=mean,
        mean_t=mean_t,
        log_var=log_var,
        log_var_t=log_var_t,
    )


def difference(count: Floats, total: Floats, squares: Floats) -> tuple[float, float]:
    """Size of a systematic difference, as rms over channels, and its size in standard errors.

    With S = Σd and Q = Σd² over n steps, (S² − Q)/(n(n − 1)) estimates the squared expectation of d without the bias
    that noise gives to (S/n)²; its mean over channels is the size squared, 0 where it is negative. And
    t² = Σ n·(S/n)² / Σ s² with s² = (Q − S²/n)/(n − 1), both sums over channels: Student's t² for one channel; the more
    independent channels there are, the less it spreads, so that Student's bounds hold however they are correlated
    (Székely & Bakirov 2003). NaN with fewer than two steps.
    """
    known = count >= 2
    if not known.any():
        return math.nan, math.nan
    n, s, q = count[known], total[known], squares[known]
    size = float(np.mean((s**2 - q) / (n * (n - 1))))
    noise = float(np.sum(np.maximum(q - s**2 / n, 0.0) / (n - 1)))
    signal = float(np.sum(s**2 / n))
    t = math.sqrt(signal / noise) if noise > 0 else (math.inf if signal > 0 else 0.0)
    return math.sqrt(max(size, 0.0)), t
