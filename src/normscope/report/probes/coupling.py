"""The coupling of batch mates in plain words and by number of mates; and whether an answer leaks through it."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.probes.answers import Change, Estimate
from normscope.probes.answers.coupling import Coupling, Leak, Mates
from normscope.report.html.figures import Bar, Chart, Group, Line, Panel, Section, bars, table
from normscope.report.wording import MISSING, count, number, percent, shortened

NONE = 1e-4  # output deviations: rounding


def sentence(coupling: Coupling) -> str:
    """Both modes with half of the batch replaced, and the leak."""
    told = [_changes(mode, rows[-1]) for mode, rows in _modes(coupling) if rows]
    half = (coupling.evaluation or coupling.training)[-1:]
    parts = [
        f"With {half[0].replaced} of {coupling.batch} samples of a batch replaced, an output of `{shortened(coupling.name)}` for another one "
        f"{' and '.join(told)}"
        if half
        else "No output has one row for each sample"
    ]
    if coupling.leak is not None:
        parts.append(_leaked(coupling.leak))
    elif coupling.note:
        parts.append(coupling.note.rstrip("."))
    return f"{'. '.join(parts)}."


def sections(coupling: Coupling, number_: int) -> Iterator[Section]:
    """Change over the number of replaced mates, and the leak test."""
    modes = [(mode, rows) for mode, rows in _modes(coupling) if rows]
    title = f"Batch mates: {shortened(coupling.name)}"
    if not modes:
        yield Section(
            f"coupling-{number_}", title, missing="No output has one row for each sample."
        )
    else:
        yield Section(
            f"coupling-{number_}",
            title,
            "How much the output for a sample changes when others of its batch are replaced: rms, in standard deviations of the output "
            f"over samples, with 95 % intervals over {count(coupling.pairs, 'pair')} of batches. Evaluation mode is what the model's "
            "own eval() leaves.",
            chart=Chart(
                "mates replaced", [_group(mode, rows) for mode, rows in modes], chooser="Mode"
            ),
            table=table(
                ["mode", "mates replaced", "change of an output, sd", "decisions that flip"],
                [
                    [mode, str(r.replaced), _interval(r.change), _interval(r.flipped, share=True)]
                    for mode, rows in modes
                    for r in rows
                ],
            ),
        )
    yield _leak(coupling, number_)


def _modes(coupling: Coupling) -> tuple[tuple[str, tuple[Mates, ...]], ...]:
    return ("evaluation mode", coupling.evaluation), ("training mode", coupling.training)


def _changes(mode: str, row: Mates) -> str:
    if row.change.value < NONE:
        return f"stays as it is in {mode}"
    flips = "" if row.flipped is None else f" ({percent(row.flipped.value)} of the decisions flip)"
    return f"changes by {number(row.change.value)} standard deviations in {mode}{flips}"


def _leaked(leak: Leak) -> str:
    found = leak.error or leak.loss
    if found is None:
        return "Whether an answer leaks is not known"
    what = "wrong decisions" if leak.error is not None else "the loss"
    return (
        f"With batch statistics {what}: {_say(leak, found.before)} in the loader's own batches, {_say(leak, found.after)} in shuffled ones "
        f"(difference {_say(leak, found.rise.value)} ± {_say(leak, found.rise.noise)})"
    )


def _say(leak: Leak, value: float) -> str:
    return percent(value) if leak.error is not None else number(value)


def _group(mode: str, rows: tuple[Mates, ...]) -> Group:
    panels = [Panel("change, output sd", _lines([r.change for r in rows]))]
    flips = [r.flipped for r in rows if r.flipped is not None]
    if len(flips) == len(rows):
        panels.append(Panel("decisions that flip", _lines(flips)))
    return Group(mode, [float(r.replaced) for r in rows], panels)


def _lines(values: list[Estimate]) -> list[Line]:
    lines = [Line("measured", [v.value for v in values])]
    if all(v.low is not None for v in values):
        lines += [
            Line("95 %, low", [v.low for v in values]),
            Line("95 %, high", [v.high for v in values]),
        ]
    return lines


def _interval(estimate: Estimate | None, *, share: bool = False) -> str:
    if estimate is None:
        return MISSING
    say = percent if share else number
    if estimate.low is None or estimate.high is None:
        return say(estimate.value)
    return f"{say(estimate.value)} ({say(estimate.low)} to {say(estimate.high)})"


def _leak(coupling: Coupling, number_: int) -> Section:
    title = f"Does an answer leak between batch mates: {shortened(coupling.name)}"
    leak = coupling.leak
    if leak is None:
        return Section(f"leak-{number_}", title, missing=coupling.note or "It was not tested.")
    rows = [
        (kind, change, running)
        for kind, change, running in (
            ("wrong decisions", leak.error, leak.running_error),
            ("loss", leak.loss, leak.running_loss),
        )
        if change is not None
    ]
    kind, first, _ = rows[0] if rows else ("", None, None)
    return Section(
        f"leak-{number_}",
        title,
        f"The same {count(leak.samples, 'sample')} with batch statistics, dropout off: in the batches that the loader composes, and shuffled over "
        f"batches of the same sizes ({leak.shuffles} times).",
        bars=_bars(kind, first),
        table=table(
            ["measure", "loader's batches", "shuffled", "difference", "running statistics"],
            [
                [
                    f"{kind}, {leak.unit}" if kind == "loss" else kind,
                    _number(kind, change.before),
                    _number(kind, change.after),
                    _interval(change.rise, share=kind != "loss"),
                    MISSING if running is None else _number(kind, running),
                ]
                for kind, change, running in rows
            ],
        ),
    )


def _bars(kind: str, change: Change | None) -> list[Bar]:
    if change is None:
        return []
    return bars(
        [
            ("loader's batches", change.before, 0.0, _number(kind, change.before), "one"),
            (
                "shuffled batches",
                change.after,
                change.rise.noise,
                _number(kind, change.after),
                "two",
            ),
        ]
    )


def _number(kind: str, value: float) -> str:
    return number(value) if kind == "loss" else percent(value)
