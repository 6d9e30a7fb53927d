"""Sections of the observed forwards: the batch sizes that normalization saw, and the modes over the run."""

from __future__ import annotations

from collections import defaultdict

from normscope.record.recording import Pattern, Recording, Span
from normscope.report.html.figures import Lane, Section, bars, table
from normscope.report.wording import count, shortened

SIZES = "Batch sizes seen"
MODES = "Modes over the run"
COLUMNS = 1000  # of the timeline: intervals nearer than this are drawn as one
TONES = {
    ("training", "batch statistics"): "one",
    ("inference", "stored statistics"): "three",
}


def sizes(recording: Recording) -> Section:
    """Samples per call of a norm layer, by kind of forward; how many forwards made such calls."""
    seen: dict[tuple[str, int], int] = defaultdict(int)
    fewest: dict[tuple[str, int], int] = {}
    for span in recording.spans:
        calls = recording.patterns[span.pattern].calls
        for samples in {c.samples for c in calls}:
            key = span.kind, samples
            seen[key] += span.forwards
            values = min(c.values for c in calls if c.samples == samples)
            fewest[key] = min(values, fewest.get(key, values))
    if not seen:
        return Section(
            "sizes",
            SIZES,
            missing="No normalization layer was called in a forward that was observed.",
        )
    often = sorted(seen.items(), key=lambda item: (item[0][0] != "training", -item[1]))
    return Section(
        "sizes",
        SIZES,
        "Samples in dimension 0 of a normalization layer's input. Each mean is taken over samples and positions together.",
        bars=bars(
            [
                (
                    f"{kind}, {count(samples, 'sample')}",
                    float(forwards),
                    0.0,
                    count(forwards, "forward"),
                    "one" if kind == "training" else "three",
                )
                for (kind, samples), forwards in often[:12]
            ]
        ),
        table=table(
            ["kind of forward", "samples per call", "forwards", "fewest values per mean"],
            [[k, f"{n:,}", f"{f:,}", f"{fewest[k, n]:,}"] for (k, n), f in often],
        ),
    )


def modes(recording: Recording) -> Section:
    """For each model and kind of forward, when it normalized with batch and when with stored statistics."""
    end = max([recording.steps, 1, *(s.last_step + 1 for s in recording.spans)])
    lanes: dict[tuple[int, str, str], list[Span]] = defaultdict(list)
    for span in recording.spans:
        pattern = recording.patterns[span.pattern]
        if mode := _mode(recording, pattern):
            lanes[pattern.model, span.kind, mode].append(span)
    if not lanes:
        return Section(
            "modes",
            MODES,
            missing="No forward through a layer with running statistics was observed.",
        )
    names = {k: shortened(m.name, 24) for k, m in recording.models.items()}
    ordered = sorted(
        lanes.items(), key=lambda item: (item[0][0], item[0][1] != "training", item[0][2])
    )
    return Section(
        "modes",
        MODES,
        "Which statistics the layers with running statistics used. A pale bar: now and then between these steps.",
        lanes=[
            Lane(
                f"{names.get(model, f'model {model}')}, {kind}, {mode}",
                TONES.get((kind, mode), "two"),
                _intervals(spans, end),
            )
            for (model, kind, mode), spans in ordered
        ],
        ends=("step 0", f"step {recording.steps:,}"),
        table=table(
            ["model", "kind of forward", "used", "forwards", "first step", "last step"],
            [
                [
                    names.get(model, f"model {model}"),
                    kind,
                    mode,
                    f"{sum(s.forwards for s in spans):,}",
                    f"{min(s.first_step for s in spans):,}",
                    f"{max(s.last_step for s in spans):,}",
                ]
                for (model, kind, mode), spans in ordered
            ],
        ),
    )


def _mode(recording: Recording, pattern: Pattern) -> str:
    """Which statistics were used, by the layers that have a choice; empty when there are none."""
    layers = recording.layers
    flags = {c.batch_stats for c in pattern.calls if c.layer in layers and layers[c.layer].tracks}
    if len(flags) == 2:
        return "both"
    return {True: "batch statistics", False: "stored statistics"}[flags.pop()] if flags else ""


def _intervals(spans: list[Span], end: int) -> list[tuple[float, float, bool, str]]:
    """The spans as (start, width, solid, words), those that touch on the drawing joined."""
    found: list[tuple[int, int, bool, int, int, int]] = []
    for s in sorted(spans, key=lambda s: (s.first_step, s.last_step)):
        first, last = s.first_step * COLUMNS // end, (s.last_step + 1) * COLUMNS // end
        solid = 2 * s.steps > s.last_step - s.first_step
        if found and found[-1][1] >= first and found[-1][2] == solid:
            a, b, _, f, from_, to = found.pop()
            found.append((a, max(b, last), solid, f + s.forwards, from_, max(to, s.last_step)))
        else:
            found.append((first, last, solid, s.forwards, s.first_step, s.last_step))
    scale = 100 / COLUMNS
    return [
        (a * scale, max(b - a, 3) * scale, solid, f"steps {x:,} to {y:,}: {count(f, 'forward')}")
        for a, b, solid, f, x, y in found
    ]
