"""Sections of the gap probe: the three readings, and which layer's statistics carry the difference."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.comparison import Comparison
from normscope.probes.results import Gap, LayerGap
from normscope.record.recording import Recording
from normscope.report.answer import gap_sentence, gaps
from normscope.report.html.figures import Section, bars, table
from normscope.report.wording import number, percent, shortened, with_noise, with_unit

READINGS = (
    ("batch", "A, batch statistics"),
    ("population", "B, recomputed statistics"),
    ("running", "C, running statistics"),
)
LABELS = dict(READINGS) | {"held_out": "D, held-out data"}
MISSING = "The gap was not measured: that needs the script to end by itself, with its model alive and training inputs kept."


def sections(recording: Recording) -> Iterator[Section]:
    """One pair of sections per probed model."""
    probed = gaps(recording)
    if not probed:
        yield Section("gap", "Training against evaluation", missing=MISSING)
        return
    for i, gap in enumerate(probed):
        yield _readings(gap, i)
        yield _layers(gap, i)


def _readings(gap: Gap, i: int) -> Section:
    entries = [
        (label, r.value, r.noise, f"{with_noise(r.value, r.noise)} {_unit(gap)}", tone)
        for (name, label), tone in zip(READINGS, ("one", "one", "two"), strict=True)
        for r in [getattr(gap, name)]
    ]
    if gap.held_out is not None:
        d = gap.held_out
        words = f"{with_noise(d.value, d.noise)} {_unit(gap)}"
        entries.append(("D, running statistics, held-out data", d.value, d.noise, words, "one"))
    rows = [[label, number(value), number(noise)] for label, value, noise, _, _ in entries]
    rows += [
        ["C − B, staleness", number(gap.stale.value), number(gap.stale.noise)],
        [
            "B − A, batch inconsistency",
            number(gap.inconsistent.value),
            number(gap.inconsistent.noise),
        ],
    ]
    if gap.generalization is not None:
        g = gap.generalization
        rows.append(["D − C, generalization", number(g.value), number(g.noise)])
    rows += [
        [f"wrong decisions, {label}", percent(share), ""]
        for label, share in (
            ("A", gap.error_batch),
            ("B", gap.error_population),
            ("C", gap.error_running),
            ("D", gap.error_held_out),
        )
        if share is not None
    ]
    if gap.metric is not None:
        for label in ("batch", "population", "running", "held_out"):
            if (r := getattr(gap.metric, label)) is not None:
                rows.append([f"your metric, {LABELS[label]}", number(r.value), number(r.noise)])
    if gap.disagreement is not None:
        floor = percent(gap.disagreement_floor)
        rows.append(["decisions that differ between C and B", percent(gap.disagreement), floor])
    if gap.coupling is not None:
        rows.append(
            ["change of an output with its batch, in eval mode", with_unit(gap.coupling, "sd"), ""]
        )
    return Section(
        f"gap-{i}",
        f"Training against evaluation: {shortened(gap.name)}",
        f"{gap_sentence(gap)} {gap.note}".strip(),
        bars=bars(entries),
        table=table([gap.measure, f"value {_unit(gap)}".strip(), "noise"], rows),
    )


def _unit(gap: Gap) -> str:
    return "" if gap.unit == "1" else shortened(gap.unit, 24)


def _layers(gap: Gap, i: int) -> Section:
    title = f"Which layer carries it: {shortened(gap.name)}"
    if not gap.layers:
        return Section(f"shares-{i}", title, missing="The gap was not attributed to single layers.")
    worst = sorted(gap.layers, key=lambda x: -abs(x.share))
    known = [x for x in worst if x.share == x.share]
    return Section(
        f"shares-{i}",
        title,
        "The part of C − B that a layer alone accounts for, by giving it recomputed statistics. A shift above the floor "
        "is more than two halves of the data differ by."
        + (
            ""
            if known
            else " No share was measured: the gap lies within its noise, or time ran out."
        ),
        bars=bars(
            [
                (
                    shortened(x.path, 36),
                    x.share,
                    0.0 if x.low is None or x.high is None else (x.high - x.low) / 2,
                    _interval(x),
                    "two" if x.share > 0 else "one",
                )
                for x in known[:12]
            ]
        )
        if known
        else [],
        table=table(
            [
                "layer",
                "share of C − B",
                "shift of means, sd",
                "log ratio of sds",
                "floor",
            ],
            [
                [
                    shortened(x.path),
                    _interval(x),
                    number(x.mean_shift),
                    number(x.log_sd),
                    number(x.floor),
                ]
                for x in worst
            ],
        ),
    )


def _interval(layer: LayerGap) -> str:
    if layer.low is None or layer.high is None:
        return number(layer.share)
    return f"{number(layer.share)} ({number(layer.low)} to {number(layer.high)})"


def compared(c: Comparison) -> Iterator[Section]:
    """A, B and C of both runs on one scale, for the models whose gap both runs measured alike."""
    shown = False
    for i, sides in enumerate(c.gaps):
        before, after = sides.before, sides.after
        if before is None or after is None or not sides.comparable:
            continue
        shown = True
        entries = [
            (
                f"{label}, {when}",
                r.value,
                r.noise,
                f"{with_noise(r.value, r.noise)} {_unit(gap)}",
                tone,
            )
            for name, label in READINGS
            for when, gap, tone in (("before", before, "one"), ("after", after, "two"))
            for r in [getattr(gap, name)]
        ]
        yield Section(
            f"gap-{i}",
            f"Training against evaluation: {shortened(sides.name)}",
            f"The {before.measure} under batch, recomputed and running statistics, before and after.",
            bars=bars(entries),
        )
    if not shown:
        reason = "No model's gap was measured alike in both runs."
        yield Section("gap", "Training against evaluation", missing=reason)
