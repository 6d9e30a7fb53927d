"""What flows through the norm layers, in plain words and by layer."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.probes.observations import Signal
from normscope.report.html.figures import Section, table
from normscope.report.wording import count, number, percent, shortened


def sentence(signal: Signal) -> str:
    """The worst of each kind."""
    told = [
        f"{count(len(signal.channels), 'batch norm')} looked at on {count(signal.samples, 'sample')}"
    ]
    if signal.channels:
        worst = max(signal.channels, key=lambda c: c.silent)
        told.append(
            f"at most {percent(worst.silent)} of a layer's channels are never positive (`{shortened(worst.path)}`)"
        )
    if signal.activations:
        stuck = max(signal.activations, key=lambda a: a.saturated)
        told.append(
            f"at most {percent(stuck.saturated)} of the values of a {stuck.function} are saturated (`{shortened(stuck.path)}`)"
        )
    if signal.values:
        few = min(signal.values, key=lambda v: v.n_eff)
        told.append(
            f"a batch mean is worth at least {number(few.n_eff)} independent values (`{shortened(few.path)}`)"
        )
    return f"Signal of {shortened(signal.name)}: {'; '.join(told)}."


def sections(signal: Signal, number_: int) -> Iterator[Section]:
    """One table of the norm layers."""
    effective = {v.layer: v.n_eff for v in signal.values}
    yield Section(
        f"signal-{number_}",
        f"What flows through: {shortened(signal.name)}",
        "Silent channels were never above zero, collapsed ones have an input variance below eps.",
        table=table(
            ["layer", "channels", "silent", "collapsed", "independent values of a batch mean"],
            [
                [
                    shortened(c.path),
                    str(c.channels),
                    percent(c.silent),
                    percent(c.collapsed),
                    number(effective.get(c.layer)),
                ]
                for c in signal.channels
            ],
        ),
    )
