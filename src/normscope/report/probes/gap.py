"""The gap in plain words. Its figures stand on every page, whether it was asked for or measured at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from normscope.probes.results import Gap, Reading
from normscope.report.answer import gap_sentence
from normscope.report.html.figures import Section
from normscope.report.wording import number, percent, with_noise


def sentence(gap: Gap) -> str:
    """The readings, and what the difference between batch statistics and held-out data is made of."""
    if gap.generalization is None or gap.measure == "output":
        return gap_sentence(gap)
    whole = gap.generalization.value + gap.stale.value + gap.inconsistent.value
    parts = ", ".join(
        f"{_part(reading, whole)} {name}"
        for name, reading in (
            ("stale statistics", gap.stale),
            ("batch inconsistency", gap.inconsistent),
            ("generalization", gap.generalization),
        )
    )
    errors = ""
    if gap.error_held_out is not None and gap.error_running is not None:
        errors = (
            f" Wrong decisions: {percent(gap.error_running)} on training data, "
            f"{percent(gap.error_held_out)} on held-out data."
        )
    return (
        f"{gap_sentence(gap)} From batch statistics on training data to running statistics on held-out data the "
        f"{gap.measure} rises by {number(whole)}: {parts}.{errors}"
    )


def sections(gap: Gap, number: int) -> Iterator[Section]:
    del gap, number
    return iter(())


def _part(reading: Reading, whole: float) -> str:
    """A part with its noise, as a share of the whole where that is a rise of which every part is one."""
    share = f" ({percent(reading.value / whole)})" if 0 <= reading.value <= whole else ""
    return f"{with_noise(reading.value, reading.noise)}{share}"
