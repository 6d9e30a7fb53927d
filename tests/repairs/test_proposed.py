"""Findings name the commands of `normscope repair` that mend them."""

from __future__ import annotations

import pytest

from normscope import catalogue
from normscope.cli import main
from normscope.diagnosis import Coverage, Diagnosis, Verdict
from normscope.finding import Finding, Remedy
from normscope.record.recording import Recording
from normscope.repairs.proposed import with_repairs
from normscope.repairs.table import REPAIRS, repairs_for


def commands(*findings: Finding, framework: str = "torch") -> list[list[str]]:
    recording = Recording(framework=framework)
    verdict = Verdict("failing", findings[0].code, True, "")
    told = with_repairs(Diagnosis(recording, verdict, findings, (), Coverage((), ())))
    return [[r.command for r in f.repairs] for f in told.findings]


def finding(code: str, command: str = "", *, severity: str = "error", exact: bool = False) -> Finding:  # fmt: skip
    remedy = Remedy("it", "exact" if exact else "changes-function", command)
    return Finding("", severity, repairs=(remedy,) if command else (), code=code)  # type: ignore[arg-type]


def test_every_code_is_a_rules_and_every_repair_of_a_fault_is_proposed() -> None:
    known = {r.code for r in catalogue.rules()}
    assert {code for r in REPAIRS.values() for code in r.rules} <= known
    # Folding is for deployment, ghosts are for large batches, synchronizing is for several ranks: no finding asks for them.
    silent = {name for name, r in REPAIRS.items() if not r.rules}
    assert silent == {"fold-batchnorm", "convert-ghost", "convert-sync"}


def test_the_command_stands_behind_what_the_rule_says() -> None:
    assert commands(finding("NS204", "ones_(weight)"), finding("NS301", "larger")) == [
        ["ones_(weight)", "normscope repair reset-gamma file.py:setup -o repaired.safetensors"],
        [
            "larger",
            "normscope repair convert-group file.py:setup -o repaired.safetensors",
            "normscope repair convert-renorm file.py:setup -o repaired.safetensors",
        ],
    ]


def test_the_momentum_is_that_of_the_finding() -> None:
    [told] = commands(finding("NS201", "momentum=0.03"))
    assert told[1] == (
        "normscope repair set-momentum file.py:setup --momentum 0.03 -o repaired.safetensors"
    )
    assert commands(finding("NS201", "exchange the weights")) == [["exchange the weights"]]


def test_a_remark_gets_none_unless_the_repair_is_exact() -> None:
    assert commands(finding("NS204", "it", severity="info")) == [["it"]]
    [told] = commands(finding("NS101", "bias=False", severity="info", exact=True))
    assert told[1].startswith("normscope repair fold-redundant-bias ")


def test_what_the_rule_says_itself_is_not_said_twice() -> None:
    said = "`normscope.recalibrate(model)`, or `normscope repair recalibrate file.py:setup -o w.pt`"
    assert commands(finding("NS408", said)) == [[said]]


def test_what_is_said_to_be_there_for_keras_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    from normscope.repairs.keras.setups import KNOWN

    assert {name for name, r in REPAIRS.items() if r.keras} == set(KNOWN)


def test_keras_models_have_some_of_them() -> None:
    assert commands(finding("NS204"), finding("NS301"), framework="keras") == [
        [],
        [
            "normscope repair convert-group file.py:setup -o repaired.weights.h5",
            "normscope repair convert-renorm file.py:setup -o repaired.weights.h5",
        ],
    ]


def test_the_list_and_a_rules_page_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "--list"]) == 0
    assert "Mends NS203, NS204." in capsys.readouterr().out
    assert main(["explain", "NS204"]) == 0
    assert "Mended by `normscope repair`: reset-gamma." in capsys.readouterr().out
    assert repairs_for("NS999") == ()
