"""One file tests every rule: its cases, its docstring, its metadata, its example."""

import ast
import re
import subprocess
import sys

import pytest

from normscope import catalogue, engine
from normscope.evidence import HINTS, Evidence, of_recording
from normscope.finding import SEVERITIES
from normscope.graph.sketch import sketch
from normscope.record.recording import CHECKED
from normscope.record.story import story
from normscope.rule import SECTIONS, Faulty, Healthy

MODULES = {r.code: (m, r) for r, m in catalogue.modules().items()}
CASES = [
    pytest.param(r, c, id=f"{code}-{c.name}") for code, (m, r) in MODULES.items() for c in m.CASES
]
every_rule = pytest.mark.parametrize(("module", "rule"), MODULES.values(), ids=MODULES)


def evidence(case: Faulty | Healthy) -> Evidence:
    """What the case tells, in the form that a finished run has it."""
    values: dict[str, list[object]] = {k: [v] for k, v in (case.measured or {}).items()}
    measurements = dict(values)
    if case.sketch:
        values["graph"] = [sketch(case.sketch, training=not case.evaluating)]
    if case.static:
        looked_at = story(case.static)
        looked_at.status = CHECKED
        looked_at.graphs = list(values.get("graph", []))
        return of_recording(looked_at)
    if case.story:
        recording = story(case.story)
        recording.graphs = list(values.get("graph", []))
        recording.measurements = measurements
        values["recording"] = [recording]
        if recording.gradients is not None:
            values["gradients"] = [recording.gradients]
    return Evidence(values, HINTS)


def worst(findings):
    return max((f.severity for f in findings), key=SEVERITIES.index)


@pytest.mark.parametrize(("rule", "case"), CASES)
def test_case(rule, case):
    found, skipped = engine.run([rule], evidence(case))
    assert not skipped, f"the case gives no `{skipped[0].needs}`"
    match case:
        case Faulty():
            assert found
            assert {layer for f in found for layer in f.layers} == set(case.at)
            if case.severity:
                assert worst(found) == case.severity
        case Healthy(at_most=None):
            assert found == []
        case Healthy():
            allowed = SEVERITIES.index(case.at_most)
            assert [f for f in found if SEVERITIES.index(f.severity) > allowed] == []


@pytest.mark.parametrize(("rule", "case"), [p for p in CASES if isinstance(p.values[1], Faulty)])
def test_finding_says_what_is_wrong_and_proves_it(rule, case):
    found, _ = engine.run([rule], evidence(case))
    for f in found:
        assert re.search(r"[.!?…)]$", f.message), "a message is a sentence"
        assert "  " not in f.message
        assert "None" not in f.message
        assert re.search(r"\d", f.message), "a message holds the number that proves it"
        assert all(r.command.strip() for r in f.repairs)
        assert all(m.name and m.unit for m in f.measured)


@every_rule
def test_documented(module, rule):
    assert tuple(rule.sections)[1:] == SECTIONS
    assert all(rule.sections.values()), "a section is empty"
    assert "https://" in rule.sections["References"]
    assert len(rule.sections[""].splitlines()) == 1, "the first paragraph is one line"


@every_rule
def test_named_after_its_file(module, rule):
    assert module.__name__.rpartition(".")[2] == rule.check.__name__
    assert re.fullmatch(r"NS\d{3}", rule.code)
    assert rule.severity in SEVERITIES
    assert re.fullmatch(r"\d+\.\d+\.\d+", rule.since)


@every_rule
def test_more_healthy_cases_than_faulty(module, rule):
    faulty = [c for c in module.CASES if isinstance(c, Faulty)]
    healthy = [c for c in module.CASES if isinstance(c, Healthy)]
    assert 0 < len(faulty) < len(healthy)
    names = [c.name for c in module.CASES]
    assert len(names) == len(set(names))


@every_rule
def test_asks_only_for_known_evidence(module, rule):
    assert rule.needs
    assert set(rule.needs) <= set(HINTS)


@every_rule
def test_explains_other_codes(module, rule):
    assert all(re.fullmatch(r"NS\d{3}", code) for code in rule.explains)
    assert rule.code not in rule.explains
    assert set(rule.at_its_layers) <= set(rule.explains)


@every_rule
def test_example_is_python_that_shows_something(module, rule):
    blocks = re.findall(r"```python\n(.*?)```", rule.sections["Example"], flags=re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)
    assert any("#" in block for block in blocks), "a comment says which line is wrong"


@pytest.mark.parametrize(("code", "shape"), [("NS101", (2, 3, 8, 8)), ("NS112", (2, 64))])
def test_example_of_a_structure_rule_on_pytorch(code, shape):
    """The first module of the example is flagged, the second is not."""
    torch = pytest.importorskip("torch")
    from normscope.graph.torch import capture

    _, rule = MODULES[code]
    [block] = re.findall(r"```python\n(.*?)```", rule.sections["Example"], flags=re.DOTALL)
    wrong, right = (
        eval(ast.unparse(statement), {"nn": torch.nn}) for statement in ast.parse(block).body
    )
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for module, expected in ((wrong, [code]), (right, [])):
        graph = capture(torch.nn.Sequential(module), (x,))
        found, _ = engine.run([rule], Evidence({"graph": [graph]}, HINTS))
        assert [f.code for f in found] == expected


def test_codes_are_unique():
    codes = [r.code for r in catalogue.modules()]
    assert len(codes) == len(set(codes))


def test_no_rule_explains_its_own_cause():
    explains = {r.code: set(r.explains) for r in catalogue.modules()}
    for code, symptoms in explains.items():
        for symptom in symptoms:
            assert code not in explains.get(symptom, set()), (
                f"{code} and {symptom} explain each other"
            )


def test_rules_import_no_framework():
    code = (
        "import sys; from normscope import catalogue; catalogue.rules(); "
        "assert not {'torch', 'keras', 'tensorflow', 'jax', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_cause_is_its_own_symptom():
    """Through any number of steps: else two findings could hide each other."""
    explains = {r.code: set(r.explains) for r in catalogue.rules()}
    for code in explains:
        reached, open_ = set(), list(explains[code])
        while open_:
            symptom = open_.pop()
            assert symptom in explains, f"{code} explains {symptom}, which no rule has"
            if symptom not in reached:
                reached.add(symptom)
                open_ += explains[symptom]
        assert code not in reached, f"{code} explains itself"
