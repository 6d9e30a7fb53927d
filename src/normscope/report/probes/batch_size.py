"""How small a batch may be, in words and by size and depth."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.probes.answers.batch_size import BatchSize, Interval, SizeBias
from normscope.report.html.figures import Chart, Group, Line, Panel, Section, table
from normscope.report.wording import finite, number, percent, shortened

NAMES = {"group": "GroupNorm", "layer": "LayerNorm"}


def sentence(answer: BatchSize) -> str:
    """The smallest safe size, the bias on both sides of it, and how it goes with depth."""
    told = [_safe(answer)]
    shown = [s for s in answer.sizes if s.size in (2, 8, 32)] or list(answer.sizes)
    told.append(
        "Relative bias of the averaged gradient: "
        + ", ".join(f"{_between(s.bias)} at {s.size}" for s in shown)
        + f", against batches of {answer.largest} on the same {answer.samples:,} samples."
    )
    if (deep := _depth(answer)) is not None:
        told.append(deep)
    told += [
        f"With {NAMES[other.norm]} it is at most {number(max(other.bias))}."
        for other in answer.replaced
        if other.bias
    ]
    if answer.skipped:
        told.append(f"No time for {', '.join(map(str, answer.skipped))}.")
    return " ".join(told)


def sections(answer: BatchSize, number_: int) -> Iterator[Section]:
    """Bias and cosine by size, all parameters and each layer; the numbers in two tables."""
    x = [float(s.size) for s in answer.sizes]
    every = [s.bias for s in answer.sizes], [s.cosine for s in answer.sizes]
    groups = [_group("all parameters", x, *every)]
    groups += [
        _group(shortened(layer.path), x, list(layer.bias), list(layer.cosine))
        for layer in answer.layers
    ]
    yield Section(
        f"batch-size-{number_}",
        f"How small a batch may be: {shortened(answer.name)}",
        sentence(answer),
        chart=Chart("batch size", groups),
        table=table(
            [
                "batch",
                "relative bias",
                "cosine",
                "noise added",
                "rank correlation with depth",
                "GroupNorm",
                "LayerNorm",
            ],
            [_row(answer, i, s) for i, s in enumerate(answer.sizes)],
        ),
    )
    yield Section(
        f"batch-size-layers-{number_}",
        f"By layer: {shortened(answer.name)}",
        "Relative bias of each layer's averaged gradient, in the order of the layers' calls.",
        table=table(
            ["layer", *(f"batch {s.size}" for s in answer.sizes)],
            [[shortened(x.path), *(_between(b) for b in x.bias)] for x in answer.layers],
        ),
    )


def _safe(answer: BatchSize) -> str:
    name = shortened(answer.name)
    if answer.safe is None:
        return (
            f"No batch below {answer.largest} is safe for {name} now: the averaged gradient is off by "
            f"{percent(answer.threshold)} of its length or more."
        )
    return (
        f"The smallest safe batch for {name} now is {answer.safe}: from there on the averaged gradient is off by less than "
        f"{percent(answer.threshold)} of its length."
    )


def _depth(answer: BatchSize) -> str | None:
    """At the size next to 8, where a bias is large enough to be told from chance."""
    known = [s for s in answer.sizes if s.rank is not None]
    if not known:
        return None
    chosen = min(known, key=lambda s: abs(s.size - 8))
    rank = chosen.rank
    assert rank is not None
    way = (
        "deep layers suffer more"
        if rank.low > 0
        else "early layers suffer more"
        if rank.high < 0
        else "it does not go with depth"
    )
    return f"At {chosen.size} {way} (rank correlation {_between(rank)})."


def _between(x: Interval) -> str:
    return f"{number(finite(x.value))} ({number(finite(x.low))} to {number(finite(x.high))})"


def _row(answer: BatchSize, i: int, size: SizeBias) -> list[str]:
    others = {o.norm: o.bias[i] for o in answer.replaced if o.bias}
    return [
        str(size.size),
        _between(size.bias),
        _between(size.cosine),
        f"{number(finite(size.noise))} ×",
        "" if size.rank is None else _between(size.rank),
        number(others.get("group")),
        number(others.get("layer")),
    ]


def _group(label: str, x: list[float], bias: list[Interval], cosine: list[Interval]) -> Group:
    return Group(
        label,
        x,
        [
            Panel("relative bias", _lines(bias)),
            Panel("cosine", _lines(cosine)),
        ],
    )


def _lines(values: list[Interval]) -> list[Line]:
    return [
        Line("measured", [finite(v.value) for v in values]),
        Line("low", [finite(v.low) for v in values], dots=True),
        Line("high", [finite(v.high) for v in values], dots=True),
    ]
