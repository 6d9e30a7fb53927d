"""Other data sets in plain words: how far their statistics are, and what re-estimating gains."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.probes.answers import Change
from normscope.probes.answers.domain import Domain, DomainShift
from normscope.report.html.figures import Section, bars, table
from normscope.report.wording import count, number, percent, shortened


def sentence(domain: Domain) -> str:
    """One clause for each data set."""
    told = [_told(shift) for shift in domain.shifts]
    told += [f"not asked about {reason}" for reason in domain.missed]
    return f"Domains of {shortened(domain.name)}: {'; '.join(told)}."


def sections(domain: Domain, number_: int) -> Iterator[Section]:
    """Two sections for each data set: the divergence by layer, and the gain."""
    for i, shift in enumerate(domain.shifts):
        where = f"{number_}-{i}"
        yield _layers(shift, where)
        yield _gain(shift, where)


def _told(shift: DomainShift) -> str:
    worst = max(shift.layers, key=lambda x: x.apart, default=None)
    far = (
        f"{number(worst.apart)} nats per channel from training data at `{shortened(worst.path)}` (sampling: {number(worst.apart_floor)})"
        if worst
        else "no layer compared"
    )
    change, beside = (
        (shift.error, shift.error_beside) if shift.error else (shift.loss, shift.loss_beside)
    )
    if change is None:
        return f"`{shortened(shift.name)}` is {far}"
    what = "wrong decisions" if shift.error else "loss"
    extra = (
        ""
        if beside is None
        else f", {_say(shift, beside.before)} with recomputed training statistics"
    )
    return (
        f"`{shortened(shift.name)}` is {far}; {what} {_say(shift, change.before)} with running statistics{extra}, "
        f"{_say(shift, change.after)} with statistics re-estimated on its other half"
    )


def _say(shift: DomainShift, value: float) -> str:
    return percent(value) if shift.error else number(value)


def _layers(shift: DomainShift, where: str) -> Section:
    title = f"Statistics of other data: {shortened(shift.name)}"
    if not shift.layers:
        return Section(
            f"domain-{where}", title, missing="No batch norm was reached by both data sets."
        )
    order = "shuffled into batches anew" if shift.mixed else "in the loader's own batches"
    worst = sorted(shift.layers, key=lambda x: -x.apart)
    return Section(
        f"domain-{where}",
        title,
        f"Kullback-Leibler divergence of {count(shift.samples, 'sample')}, {order}, in nats per channel: from as many training samples, with what "
        "sampling alone explains; and from the running statistics, with that of the training samples.",
        bars=bars(
            [
                (
                    shortened(x.path, 36),
                    x.apart,
                    x.apart_floor,
                    f"{number(x.apart)} (sampling {number(x.apart_floor)})",
                    "two" if x.apart > 3 * x.apart_floor else "one",
                )
                for x in worst[:12]
            ]
        ),
        table=table(
            [
                "layer",
                "from training data",
                "sampling",
                "worst channel",
                "from running statistics",
                "training data from those",
            ],
            [
                [
                    shortened(x.path),
                    number(x.apart),
                    number(x.apart_floor),
                    f"{x.channel}: {number(x.largest)}",
                    number(x.divergence),
                    number(x.floor),
                ]
                for x in shift.layers
            ],
        ),
    )


def _gain(shift: DomainShift, where: str) -> Section:
    title = f"What re-estimating statistics gains: {shortened(shift.name)}"
    rows: list[list[str]] = []
    for name, change, share in (
        ("wrong decisions: running", shift.error, True),
        ("wrong decisions: recomputed on training data", shift.error_beside, True),
        ("loss: running", shift.loss, False),
        ("loss: recomputed on training data", shift.loss_beside, False),
        ("your metric: running", shift.metric, False),
    ):
        if change is not None:
            rows.append([name, *_row(change, share=share)])
    if not rows:
        return Section(
            f"gain-{where}", title, missing="The setup gives no loss and no metric for these data."
        )
    return Section(
        f"gain-{where}",
        title,
        "Statistics were re-estimated on one half of these data and judged on the other, both ways round. The difference has its 95 % interval.",
        table=table(["statistics", "before", "re-estimated", "difference", "noise"], rows),
    )


def _row(change: Change, *, share: bool) -> list[str]:
    say = percent if share else number
    rise = change.rise
    interval = (
        "" if rise.low is None or rise.high is None else f" ({say(rise.low)} to {say(rise.high)})"
    )
    return [say(change.before), say(change.after), f"{say(rise.value)}{interval}", say(rise.noise)]
