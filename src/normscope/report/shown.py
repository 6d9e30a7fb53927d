"""A diagnosis that shows itself: as the page in a notebook, as the text report where it is printed."""

from __future__ import annotations

import io
from dataclasses import fields

from normscope.diagnosis import Diagnosis, diagnose
from normscope.record.recording import Recording
from normscope.report.html import to_html
from normscope.report.terminal import render


class Shown(Diagnosis):
    """What `run.diagnose()` gives to a script, a prompt or a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        render(self, Console(file=text, width=100))
        return text.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        return to_html(self)


def shown(recording: Recording) -> Shown:
    """The diagnosis of a recording by the rules that are on by default."""
    found = diagnose(recording)
    return Shown(**{f.name: getattr(found, f.name) for f in fields(found)})
