"""What each regularizer costs on the training data, in words and as bars."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.probes.answers.batch_size import Interval
from normscope.probes.answers.regularization import Regularization
from normscope.report.html.figures import Section, bars, table
from normscope.report.wording import count, number, percent, shortened


def sentence(answer: Regularization) -> str:
    """The loss, and what each regularizer does to it over a few steps."""
    wrong = "" if answer.error is None else f", {percent(answer.error)} of the decisions wrong"
    told = [
        f"Training loss of {shortened(answer.name)} with dropout off and recomputed statistics: {number(answer.start)}{wrong}."
    ]
    if answer.effects:
        parts = "; ".join(
            f"without {e.regularizer} {_between(e.train)}"
            + ("" if e.held_out is None else f" (held-out {_between(e.held_out)})")
            for e in answer.effects
        )
        told.append(
            f"After {count(answer.steps, 'training step')} it is {number(answer.loss)}, and {parts} by comparison, over "
            f"{count(answer.seeds, 'order')} of the data."
        )
    if answer.diverged:
        told.append(f"Training on without {' or '.join(answer.diverged)} diverged.")
    return " ".join(told)


def sections(answer: Regularization, number_: int) -> Iterator[Section]:
    """Bars of the effects on training and held-out loss, and all numbers."""
    entries = [
        (
            f"without {e.regularizer}, {where}",
            x.value,
            (x.high - x.low) / 2,
            f"{_between(x)} {_unit(answer)}".strip(),
            tone,
        )
        for e in answer.effects
        for where, x, tone in (("training", e.train, "one"), ("held-out", e.held_out, "two"))
        if x is not None
    ]
    yield Section(
        f"regularization-{number_}",
        f"What regularizers cost: {shortened(answer.name)}",
        f"{sentence(answer)} Below zero: better without.",
        bars=bars(entries),
        table=table(
            ["", "with", "without", "change"],
            [
                [
                    f"{i.regularizer}, at once with fixed weights",
                    number(i.on),
                    number(i.off),
                    _between(i.change),
                ]
                for i in answer.immediate
            ]
            + [
                [
                    f"{e.regularizer}, after {count(answer.steps, 'step')}",
                    number(answer.loss),
                    number(answer.loss + e.train.value),
                    _between(e.train),
                ]
                for e in answer.effects
            ],
        ),
    )


def _between(x: Interval) -> str:
    return f"{'+' if x.value > 0 else ''}{number(x.value)} ({number(x.low)} to {number(x.high)})"


def _unit(answer: Regularization) -> str:
    return "" if answer.unit == "1" else answer.unit
