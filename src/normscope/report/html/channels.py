"""Section: each layer's running statistics against those recomputed from its training data, channel by channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from normscope.record.recording import Channels, Recording
from normscope.report.html.figures import Chart, Group, Line, Panel, Section, kept, rounded, table
from normscope.report.wording import number, shortened

NUMBERS = 16_000  # of all layers together: about 110 kB
TITLE = "Running against recomputed statistics"


def section(recording: Recording) -> Section:
    """The layers that deviate most come first; what does not fit the page is counted."""
    if not recording.channels:
        return Section(
            "channels",
            TITLE,
            missing="No layer's running statistics were read at the end of the run.",
        )
    both = [
        (deviation(c), layer, c)
        for layer, c in recording.channels.items()
        if c.population_mean is not None and layer in recording.layers
    ]
    if not both:
        return Section(
            "channels",
            TITLE,
            missing="No statistics were recomputed: the gap probe had no kept training inputs.",
        )
    worst = sorted(both, key=lambda entry: -sum(entry[0]))
    groups: list[Group] = []
    spent = 0
    for _, layer, c in worst:
        group = _group(shortened(recording.layers[layer].path), c)
        spent += 5 * len(group.x)
        if groups and spent > NUMBERS:
            break
        groups.append(group)
    caption = "Running statistics (crosses) are what evaluation uses; recomputed ones are those of the training data."
    if len(groups) < len(worst):
        caption += f" The {len(groups)} of {len(worst)} layers that deviate most are plotted."
    return Section(
        "channels",
        TITLE,
        caption,
        chart=Chart("channel", groups),
        table=table(
            ["layer", "channels", "shift of means, sd (rms)", "log ratio of sds (rms)"],
            [
                [
                    shortened(recording.layers[k].path),
                    f"{len(c.running_mean):,}",
                    number(shift),
                    number(ratio),
                ]
                for (shift, ratio), k, c in worst
            ],
        ),
    )


def deviation(c: Channels) -> tuple[float, float]:
    """Root mean square over channels of |running − recomputed mean| / sd and of ln(running sd / recomputed sd)."""
    if c.population_mean is None or c.population_var is None:
        return 0.0, 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = (c.running_mean - c.population_mean) / np.sqrt(c.population_var)
        ratio = 0.5 * np.log(c.running_var / c.population_var)
    return _rms(shift), _rms(ratio)


def _rms(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else 0.0


def _group(label: str, c: Channels) -> Group:
    assert c.population_mean is not None
    assert c.population_var is not None
    with np.errstate(invalid="ignore"):
        lines = (
            c.population_mean,
            c.running_mean,
            np.sqrt(c.population_var),
            np.sqrt(c.running_var),
        )
    at = kept(lines)
    pm, rm, ps, rs = (rounded(line[at]) for line in lines)
    return Group(
        label,
        at.astype(float).tolist(),
        [
            Panel("mean", [Line("recomputed mean", pm, True), Line("running mean", rm, True)]),
            Panel(
                "standard deviation",
                [Line("recomputed sd", ps, True), Line("running sd", rs, True)],
            ),
        ],
    )
