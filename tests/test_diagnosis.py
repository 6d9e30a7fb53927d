"""Causes before symptoms, one verdict, and an acquittal only where nothing is blamed."""

import pytest

from normscope import diagnosis, engine
from normscope.evidence import HINTS, Evidence, of_recording
from normscope.finding import Finding, NotEvaluated
from normscope.graph.model import Coverage
from normscope.graph.sketch import sketch
from normscope.record.recording import Event, Recording
from normscope.record.story import story
from normscope.rule import rule


def found(code, severity="error", model="Net", confidence="high", layers=()):
    return Finding(
        f"{code} says 1.", severity, confidence, model, layers, code=code, name="made-up"
    )


def made_rule(code, explains=(), severity="error", findings=(), **more):
    @rule(code, severity=severity, since="0.1.0", explains=explains, **more)
    def made_up(recording):
        yield from findings

    return made_up


RULES = {
    r.code: r
    for r in (
        made_rule("NS901", ("NS902", "NS903")),
        made_rule("NS902", ("NS903",)),
        made_rule("NS903"),
        made_rule("NS904", ("NS903",), severity="warning"),
        made_rule("NS905", ("NS903",), alone=False),
        made_rule("NS906", ("NS902", "NS903"), at_its_layers=("NS903",)),
    )
}


def explained(*findings):
    return [
        (f.code, f.severity, f.explained_by)
        for f in diagnosis.rank(diagnosis.explain(findings, RULES))
    ]


def test_a_symptom_goes_under_its_cause():
    assert explained(found("NS903"), found("NS901")) == [
        ("NS901", "error", None),
        ("NS903", "error", "NS901"),
    ]


def accompanied(*findings):
    return [(f.code, f.severity) for f in diagnosis.accompanied(findings, RULES)]


def test_a_cause_that_is_not_to_stand_alone_is_dropped_without_its_symptom():
    assert accompanied(found("NS905", "warning")) == []
    assert accompanied(found("NS905", "warning"), found("NS902")) == [("NS902", "error")]
    assert accompanied(found("NS905", model="A"), found("NS903", model="B")) == [("NS903", "error")]


@pytest.mark.parametrize("severity", ["info", "warning", "error"])
def test_and_takes_its_symptoms_severity(severity):
    assert accompanied(found("NS905", "warning"), found("NS903", severity)) == [
        ("NS905", severity),
        ("NS903", severity),
    ]


def test_a_chain_ends_at_its_root():
    assert explained(found("NS903"), found("NS902"), found("NS901")) == [
        ("NS901", "error", None),
        ("NS902", "error", "NS901"),
        ("NS903", "error", "NS901"),
    ]


def test_a_cause_takes_over_the_severity_of_what_it_explains():
    assert explained(found("NS903", "error"), found("NS901", "warning"))[0] == (
        "NS901",
        "error",
        None,
    )


def test_an_info_explains_no_error():
    assert explained(found("NS903", "error"), found("NS901", "info")) == [
        ("NS903", "error", None),
        ("NS901", "info", None),
    ]


def test_a_rule_explains_nothing_worse_than_its_own_highest():
    assert explained(found("NS904", "warning"), found("NS903", "error"))[0] == (
        "NS903",
        "error",
        None,
    )


def test_a_cause_in_another_model_explains_nothing():
    assert {e for *_, e in explained(found("NS901", model="G"), found("NS903", model="D"))} == {
        None
    }


@pytest.mark.parametrize(
    ("symptom", "cause"),
    [
        (found("NS903", layers=("a", "c")), "NS906"),
        (found("NS903", layers=("c", "a")), None),
        (found("NS903"), None),
        (found("NS902", layers=("c",)), "NS906"),
    ],
)
def test_what_is_a_symptom_at_the_layers_of_its_cause_alone(symptom, cause):
    result = explained(found("NS906", layers=("a", "b")), symptom)
    assert {c: e for c, _, e in result}[symptom.code] == cause


def test_each_symptom_follows_the_cause_in_its_own_model():
    ranked = diagnosis.rank(
        diagnosis.explain(
            [found(c, model=m) for c in ("NS901", "NS903") for m in ("A", "B")], RULES
        )
    )
    assert [(f.code, f.model) for f in ranked] == [
        ("NS901", "A"),
        ("NS903", "A"),
        ("NS901", "B"),
        ("NS903", "B"),
    ]


def test_surer_findings_come_first():
    assert [
        f.code
        for f in diagnosis.rank([found("NS901", confidence="low"), found("NS902"), found("NS903")])
    ] == ["NS902", "NS903", "NS901"]


def test_of_equals_the_one_that_explains_more_comes_first():
    assert [c for c, *_ in explained(found("NS901", "info"), found("NS902"))] == ["NS902", "NS901"]
    equal = found("NS904", "warning"), found("NS902", "warning", model="B")
    assert [c for c, *_ in explained(*equal)] == ["NS902", "NS904"]
    symptom = found("NS903", "warning", model="Net")
    assert [c for c, *_ in explained(*equal, symptom)] == ["NS904", "NS903", "NS902"]


@pytest.mark.parametrize(
    ("findings", "status", "primary", "blame"),
    [
        ([found("NS901")], "failing", "NS901", True),
        ([found("NS901", "warning")], "suspect", "NS901", True),
        ([found("NS901", "warning", confidence="low")], "suspect", "NS901", None),
        ([found("NS901", "info")], "healthy", None, False),
        ([], "healthy", None, False),
    ],
)
def test_verdict_of_the_worst_unexplained_finding(findings, status, primary, blame):
    run = story("layer a; train a x9")
    verdict = diagnosis.verdict(run, findings)
    assert (verdict.status, verdict.primary, verdict.normalization_to_blame) == (
        status,
        primary,
        blame,
    )


@pytest.mark.parametrize(
    ("run", "status", "words"),
    [
        (Recording(), "not_evaluated", "No forward pass"),
        (Recording(events=[Event(kind="keras")]), "not_evaluated", "Keras"),
        (story("model name='Net'"), "healthy", "no normalization layer"),
        (story("layer a; infer a mode=eval"), "not_evaluated", "No training step"),
    ],
)
def test_what_was_not_seen_is_not_called_healthy(run, status, words):
    verdict = diagnosis.verdict(run, [])
    assert verdict.status == status
    assert words in verdict.summary


def test_an_acquittal_is_the_summary_of_a_healthy_run():
    verdict = diagnosis.verdict(story("layer a; train a x9"), [found("NS604", "info")])
    assert (verdict.status, verdict.normalization_to_blame) == ("healthy", False)
    assert verdict.summary == "NS604 says 1."


def test_no_acquittal_beside_a_blame():
    kept = diagnosis.uncontradicted([found("NS901"), found("NS604", "info")])
    assert [f.code for f in kept] == ["NS901"]
    other = diagnosis.uncontradicted([found("NS901", model="A"), found("NS604", "info", "B")])
    assert len(other) == 2


def test_missing_evidence_is_not_evaluated():
    @rule("NS905", severity="info", since="0.1.0")
    def wants_gap(gap):
        yield from ()

    result = diagnosis.diagnose(story("layer a; train a x9"), [wants_gap])
    assert result.not_evaluated == (NotEvaluated("NS905", "gap", HINTS["gap"]),)


def test_a_rule_may_not_exceed_its_highest_severity():
    too_much = made_rule("NS906", severity="info", findings=[found("", "error")])
    with pytest.raises(ValueError, match="NS906 may give at most `info`"):
        engine.run([too_much], of_recording(story("layer a; train a x9")))


def test_the_engine_names_the_finding():
    plain = made_rule("NS907", severity="warning", findings=[Finding("One 1.", model="Net")] * 2)
    findings, _ = engine.run([plain], Evidence({"recording": [story("layer a; train a")]}, HINTS))
    assert [(f.code, f.name, f.severity) for f in findings] == [("NS907", "made-up", "warning")]


def test_coverage_tells_what_was_not_seen():
    run = story("layer a; layer b; train a x9; event compiled detail='Net'")
    graph = sketch("y = batch_norm(x)")
    graph.coverage = Coverage(opaque=("einsum",), note="captured at exit")
    run.graphs = [graph]
    seen = diagnosis.coverage(run)
    assert seen.opaque_operations == ("einsum",)
    assert seen.unobserved_layers == ("Net.b",)
    assert seen.notes == ("captured at exit", "compiled: Net")
