from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from normscope.diagnosis import Coverage, Diagnosis
from normscope.record.recording import Cost
from normscope.report.terminal import render
from report import diagnoses


def text(diagnosis: Diagnosis, width: int = 80, *, terminal: bool = False) -> str:
    out = io.StringIO()
    render(
        diagnosis,
        Console(
            file=out,
            width=width,
            force_terminal=terminal,
            color_system="standard" if terminal else None,
        ),
    )
    return out.getvalue()


@pytest.mark.parametrize(
    "build", [diagnoses.failing, diagnoses.healthy, diagnoses.empty], ids=lambda f: f.__name__
)
def test_report(build: Callable[[], Diagnosis], snapshot: SnapshotAssertion) -> None:
    assert text(build()) == snapshot


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize("build", [diagnoses.failing, diagnoses.hostile], ids=lambda f: f.__name__)
def test_a_pipe_gets_plain_lines_that_fit(build: Callable[[], Diagnosis], width: int) -> None:
    lines = text(build(), width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    assert not any(c in line for line in lines for c in "\x1b│─┏╭")


def test_a_terminal_gets_colour() -> None:
    assert "\x1b[1;31m" in text(diagnoses.failing(), terminal=True)


@pytest.mark.parametrize("terminal", [False, True])
def test_markup_and_control_characters_of_the_user_are_shown_not_obeyed(terminal: bool) -> None:
    told = text(diagnoses.hostile(), 500, terminal=terminal)
    assert "[bold]B[/bold]" in told
    assert "\\x1b[31m" in told
    assert "\\u202e" in told
    assert "\u202e" not in told
    assert "\x1b[31m\\u202e" not in told


def test_exact_remedies_come_first() -> None:
    told = text(diagnoses.failing())
    assert told.index("call model.eval()") < told.index("raise the batch size")


def test_symptoms_stand_indented_below_their_cause() -> None:
    lines = text(diagnoses.failing()).splitlines()
    cause = next(i for i, x in enumerate(lines) if x.startswith("  NS401 error"))
    symptom = next(i for i, x in enumerate(lines) if x.startswith("    NS408 warning"))
    assert cause < symptom


def test_acquittal_names_its_measurements() -> None:
    told = " ".join(text(diagnoses.healthy()).split())
    assert "healthy: normalization is not to blame" in told
    assert "running − recomputed = 0.002 ± 0.004, within two standard errors" in told
    assert "2 normalization layers over 480 training steps" in told


def test_an_acquittal_without_the_gap_says_so() -> None:
    bare = diagnoses.healthy()
    bare.recording.measurements.clear()
    assert "gap was not measured" in " ".join(text(bare).split())


def test_a_loop_of_milliseconds_has_no_share() -> None:
    """189 % would alarm, and 0 % would be wrong, where the first steps are all there is."""
    diagnosis = diagnoses.failing()
    diagnosis.recording.cost = Cost(observing=0.0123, loop=0.0188)
    said = " ".join(text(diagnosis).split())
    assert "observing took 0.0123 s of a training loop of 0.0188 s; the first steps cost" in said
    assert "budget" not in said


def test_an_ascii_terminal_gets_spelt_signs() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    healthy = replace(diagnoses.healthy(), coverage=Coverage(notes=("größer",)))
    render(healthy, Console(file=out, width=80))
    told = b" ".join(raw.getvalue().split()).decode("ascii")
    assert "running - recomputed = 0.002 +/- 0.004" in told
    assert "gr\\xf6\\xdfer" in told
