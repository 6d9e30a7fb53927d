"""Sections over training steps: noise of the batch statistics, loss, and the user's metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from normscope.comparison import Comparison
from normscope.record.recording import Polls, Recording
from normscope.report.html.figures import (
    POINTS,
    Chart,
    Group,
    Line,
    Panel,
    Section,
    kept,
    rounded,
    table,
)
from normscope.report.wording import finite, number, shortened

NUMBERS = 12_000  # of all layers together: about 85 kB
NOISE = "Noise of the batch statistics"
LOSS = "Loss"
METRICS = 6


def noise(recording: Recording) -> Section:
    """How far batch statistics lie from running ones, per layer; the median over layers first."""
    polls = recording.polls
    if polls is None or not len(polls.steps) or "mean_noise" not in polls.values:
        return Section("noise", NOISE, missing="No batch statistics were read during training.")
    mean, var = polls.values["mean_noise"], polls.values["var_noise"]
    if not np.isfinite(mean).any():
        return Section(
            "noise", NOISE, missing="No batch statistics could be recovered from the running ones."
        )
    columns = (_median(mean, 0), _largest(mean), _median(var, 0), _largest(var))
    order: list[int] = np.argsort(-columns[0]).tolist()
    fitting = min(len(order), 40)
    most = max(60, min(POINTS, NUMBERS // (3 * (fitting + 1))))
    groups = [_noise("median over layers", polls, _median(mean, 1), _median(var, 1), most)]
    names = [_name(recording, k) for k in polls.layers]
    groups += [_noise(names[k], polls, mean[:, k], var[:, k], most) for k in order[:fitting]]
    return Section(
        "noise",
        NOISE,
        "Root mean square over channels: of batch mean − running mean in units of the running sd, and of the logarithm "
        "of batch variance over running variance. It falls with larger batches.",
        chart=Chart("step", groups),
        table=table(
            ["layer", "means, median", "means, largest", "variances, median", "variances, largest"],
            [[names[k], *(number(finite(column[k])) for column in columns)] for k in order],
        ),
    )


def _noise(label: str, polls: Polls, mean: NDArray[Any], var: NDArray[Any], most: int) -> Group:
    at = kept((mean, var), most)
    return Group(
        label,
        polls.steps[at].astype(float).tolist(),
        [
            Panel("means, in sd", [Line("batch means", rounded(mean[at]))]),
            Panel("variances, ln ratio", [Line("batch variances", rounded(var[at]))]),
        ],
    )


def _median(values: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Median of the finite values along `axis`; NaN where there is none.

    One sort, because a series of a million values with gaps takes `nanmedian` seconds.
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=axis)  # NaN goes last
    known = np.isfinite(ordered).sum(axis=axis, keepdims=True)
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, ordered.shape[axis] - 1)
    middle = np.take_along_axis(ordered, low, axis), np.take_along_axis(ordered, high, axis)
    return ((middle[0] + middle[1]) / 2).squeeze(axis).astype(np.float64)


def _largest(values: NDArray[Any]) -> NDArray[np.float64]:
    """Largest finite value of each layer; NaN where there is none."""
    most = np.where(np.isfinite(values), values, -np.inf).max(axis=0)
    return np.where(np.isfinite(most), most, np.nan)


def _name(recording: Recording, layer: int) -> str:
    known = recording.layers.get(layer)
    return shortened(known.path) if known else f"layer {layer}"


def loss(recording: Recording) -> Section:
    """The sampled training loss, and what the user reported."""
    groups = list(_curves({"": recording}))
    if not groups:
        return Section(
            "loss", LOSS, missing="No loss was seen: nothing scalar had its `backward()` called."
        )
    return Section("loss", LOSS, "At sampled steps.", chart=Chart("step", groups, "Curve"))


def compared(c: Comparison) -> list[Section]:
    """Loss, metrics and noise of both runs in one plot each."""
    runs = {"before": c.before.recording, "after": c.after.recording}
    curves = list(_curves(runs))
    noises = [g for g in (_noises(runs, s, y) for s, y in _AXES) if g]
    return [
        Section("loss", "Loss and metrics", chart=Chart("step", curves, "Curve"))
        if curves
        else Section("loss", "Loss and metrics", missing="Neither run holds a loss or a metric."),
        Section("noise", NOISE, "Median over layers.", chart=Chart("step", noises, "Series"))
        if noises
        else Section("noise", NOISE, missing="Neither run holds statistics of batches."),
    ]


_AXES = (("mean_noise", "means, in sd"), ("var_noise", "variances, ln ratio"))


def _curves(runs: dict[str, Recording]) -> list[Group]:
    losses = {
        label or "loss": (r.scalars.steps, r.scalars.loss)
        for label, r in runs.items()
        if r.scalars is not None and np.isfinite(r.scalars.loss).any()
    }
    groups = [_overlaid("loss", losses)] if losses else []
    for name in list(dict.fromkeys(n for r in runs.values() for n in r.metrics))[:METRICS]:
        told = {
            label or shortened(name): tuple(np.array(x) for x in zip(*r.metrics[name], strict=True))
            for label, r in runs.items()
            if r.metrics.get(name)
        }
        groups.append(_overlaid(shortened(name), told))
    return groups


def _noises(runs: dict[str, Recording], series: str, label: str) -> Group | None:
    lines = {
        when: (r.polls.steps, _median(r.polls.values[series], 1))
        for when, r in runs.items()
        if r.polls is not None and len(r.polls.steps) and series in r.polls.values
    }
    return _overlaid(label, lines) if lines else None


def _overlaid(label: str, lines: dict[str, Any]) -> Group:
    """Several curves over the union of their steps."""
    thinned: dict[str, dict[float, float | None]] = {}
    for name, (steps, values) in lines.items():
        at = kept((values,))
        thinned[name] = dict(
            zip(steps[at].astype(float).tolist(), rounded(values[at]), strict=True)
        )
    x = sorted({s for curve in thinned.values() for s in curve})
    return Group(
        label,
        x,
        [Panel(label, [Line(n, [curve.get(s) for s in x]) for n, curve in thinned.items()])],
    )
