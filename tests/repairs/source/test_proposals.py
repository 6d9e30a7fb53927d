"""Which edits a finding leads to, from what a recording holds, and when there is none."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from normscope.diagnosis import Coverage, Diagnosis, Verdict
from normscope.finding import Finding, Remedy
from normscope.graph.model import Site
from normscope.record.recording import Call, Layer, Model, Pattern, Recording, Span
from normscope.record.written import Member, Place, Source, Written, WrittenKind
from normscope.repairs.source.advice import wanted
from normscope.repairs.source.edits import (
    EvaluationMode,
    Proposal,
    Refusal,
    SetKeyword,
    TrainingMode,
)
from normscope.repairs.source.proposals import has_edit, proposals, with_advice
from normscope.repairs.source.remedies import keywords
from repairs.source.marked import CONV, LOADER, NORM


def written(kind: WrittenKind, line: int, *paths: str, **more: object) -> Written:
    parameters = {"norm": NORM, "affine": CONV, "loader": LOADER}.get(kind, ())
    members = tuple(Member(0, path) for path in paths)
    place = Place("train.py", line, line, 0, 9)
    return Written(id=line, kind=kind, place=place, parameters=parameters, members=members, **more)  # type: ignore[arg-type]


def recording(*calls: Written, momenta: dict[str, float] | None = None) -> Recording:
    layers = {
        i: Layer(id=i, model=0, path=path, type="BatchNorm2d", momentum=momentum)
        for i, (path, momentum) in enumerate((momenta or {}).items())
    }
    models = {0: Model(id=0, name="Net", norm_layers=len(layers))}
    return Recording(models=models, layers=layers, written=list(calls), file="train.nscope")


def finding(code: str, command: str, *layers: str, line: int = 1) -> Finding:
    remedy = Remedy("it", "changes-function", command)
    site = Site("train.py", line)
    return Finding("", "error", model="Net", layers=layers, site=site, repairs=(remedy,), code=code)


def only(found: Iterable[Proposal]) -> Proposal:
    [one] = found
    return one


def test_keywords_of_remedies() -> None:
    assert keywords(finding("NS201", "momentum=0.1")) == {"momentum": "0.1"}
    assert keywords(finding("NS302", "`DataLoader(..., drop_last=True)`")) == {"drop_last": "True"}
    assert keywords(finding("NS401", "`model.eval()` before the forward")) == {}


def test_every_layer_that_a_call_builds_is_meant() -> None:
    r = recording(written("affine", 3, "0", "2"), written("affine", 4, "5"))
    assert only(proposals(finding("NS101", "bias=False", "0", "2"), r)) == SetKeyword(
        Place("train.py", 3, 3, 0, 9), "bias", "False", CONV
    )
    refused = only(proposals(finding("NS101", "bias=False", "0"), r))
    assert str(refused) == "train.py:3: the same call builds `2`, where `bias` is right"


def test_layers_that_agree_in_the_setting_may_be_others() -> None:
    same = recording(written("norm", 3, "0", "1"), momenta={"0": 0.99, "1": 0.99})
    assert isinstance(only(proposals(finding("NS201", "momentum=0.01", "0"), same)), SetKeyword)
    other = recording(written("norm", 3, "0", "1"), momenta={"0": 0.99, "1": 0.1})
    assert isinstance(only(proposals(finding("NS201", "momentum=0.01", "0"), other)), Refusal)


def test_of_models_with_one_name_the_one_at_the_line_is_meant() -> None:
    r = recording(written("norm", 3, "0"), momenta={"0": 0.99, "1": 0.1})
    r.models[1] = Model(id=1, name="Net", norm_layers=1)
    r.layers[0].site = Site("train.py", 1)
    r.layers[2] = Layer(id=2, model=1, path="0", type="BatchNorm2d", site=Site("train.py", 2))
    r.written.append(written("norm", 4, "0"))
    r.written[1].members = (Member(1, "0"),)
    edit = only(proposals(finding("NS201", "momentum=0.01", "0", line=1), r))
    assert isinstance(edit, SetKeyword)
    assert edit.place.line == 3


def test_what_nobody_was_seen_to_build_is_said() -> None:
    r = recording(written("norm", 3, "0"), momenta={"0": 0.99, "1": 0.99})
    edit, refusal = proposals(finding("NS201", "momentum=0.01", "0", "1"), r)
    assert isinstance(edit, SetKeyword)
    assert str(refusal) == "`1`: no call of your own code was seen to build it"


def test_a_call_that_enters_a_library() -> None:
    call = written("norm", 3, "0", enters="resnet18")
    call.parameters = ("weights", "progress")
    refused = only(
        proposals(finding("NS201", "momentum=0.01", "0"), recording(call, momenta={"0": 0.99}))
    )
    assert str(refused) == "train.py:3: the call enters `resnet18`, which takes no `momentum`"


GOOD: dict[str, object] = {"steps": 40, "passes": 4, "idle": 0, "batch_size": 32, "drop_last": False, "shuffles": False}  # fmt: skip
DROP = "`DataLoader(..., drop_last=True)`"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"steps": 0}, "no call of your own code was seen to train the model"),
        ({"idle": 2}, "builds a loader that nothing was trained on"),
        ({"batch_size": None}, "a batch sampler of your own"),
        ({"batch_size": 1}, "it has batches of 1"),
        ({"drop_last": True}, "the short batch comes from elsewhere"),
    ],
)
def test_loaders_that_are_not_to_blame(facts: dict[str, object], reason: str) -> None:
    refused = only(
        proposals(finding("NS302", DROP), recording(written("loader", 3, **(GOOD | facts))))
    )
    assert isinstance(refused, Refusal)
    assert reason in str(refused)


def test_the_one_loader_that_fed_the_training() -> None:
    used, idle = written("loader", 3, **GOOD), written("loader", 4, **(GOOD | {"steps": 0}))
    edit = only(proposals(finding("NS302", DROP), recording(used, idle)))
    assert isinstance(edit, SetKeyword)
    assert (edit.place.line, edit.keyword) == (3, "drop_last")
    second = written("loader", 5, **GOOD)
    refused = only(proposals(finding("NS302", DROP), recording(used, second)))
    assert "several loaders fed the training (train.py:3, train.py:5)" in str(refused)


def test_samples_that_are_drawn_are_not_shuffled_again() -> None:
    shuffle = finding("NS304", "`DataLoader(..., shuffle=True)`")
    assert isinstance(only(proposals(shuffle, recording(written("loader", 3, **GOOD)))), SetKeyword)
    for shuffles in (True, None):
        drawn = written("loader", 3, **(GOOD | {"shuffles": shuffles}))
        assert isinstance(only(proposals(shuffle, recording(drawn))), Refusal)


def modes(*runs: tuple[str, int, bool, bool], then: str = "training") -> Recording:
    """Spans as (kind, line, root in training mode, norm with batch statistics)."""
    r = recording(momenta={"0": 0.1})
    for i, (kind, line, root, batch) in enumerate(runs):
        call = Call(0, batch, batch, 8, 8)
        r.patterns[i] = Pattern(i, 0, root, (call,), Site("train.py", line))
        followed = {} if kind == "training" else {then: 1}
        r.spans.append(
            Span(
                pattern=i, kind=kind, first_step=i, last_step=i + 1, scored=1, followed_by=followed
            )  # type: ignore[arg-type]
        )
        if all(w.place.line != line for w in r.written):
            r.written.append(written("forward", line, ""))
    return r


def test_evaluation_mode_and_back_where_training_goes_on() -> None:
    r = modes(("training", 5, True, True), ("inference", 9, True, True))
    assert only(proposals(finding("NS401", "", line=9), r)) == EvaluationMode(
        Place("train.py", 9, 9, 0, 9), True, frozenset({5})
    )
    last = modes(("training", 5, True, True), ("inference", 9, True, True), then="end")
    edit = only(proposals(finding("NS401", "", line=9), last))
    assert isinstance(edit, EvaluationMode)
    assert not edit.restore


def test_a_line_that_trains_too() -> None:
    r = modes(("training", 9, True, True), ("inference", 9, True, True))
    refused = only(proposals(finding("NS401", "", line=9), r))
    assert "this line trains the model, too" in str(refused)


def test_frozen_norms_are_not_set_going() -> None:
    r = modes(
        ("training", 5, True, True), ("training", 6, True, False), ("inference", 9, True, True)
    )
    for code in ("NS401", "NS402"):
        refused = only(proposals(finding(code, "", line=9), r))
        assert "`train()` would set them going" in str(refused)


def test_training_mode_knows_what_evaluates() -> None:
    r = modes(("training", 5, True, True), ("inference", 9, False, False))
    assert only(proposals(finding("NS402", "", line=5), r)) == TrainingMode(
        Place("train.py", 5, 5, 0, 9), frozenset({9})
    )


def test_one_change_at_a_time() -> None:
    bias = Finding("", "info", repairs=(Remedy("", "exact", "bias=False"),), code="NS101")
    error, small = finding("NS201", "momentum=0.1"), Finding("", "warning", code="NS301")
    symptom = Finding("", "error", code="NS202", explained_by="NS201")
    remark = Finding("", "info", code="NS401")
    assert wanted([error, symptom, bias, remark]) == [error]
    assert wanted([small, bias]) == []
    assert wanted([bias, remark]) == [bias]
    assert wanted([error, symptom, bias], ["NS101", "NS202"]) == [symptom, bias]


def test_findings_name_the_command_where_there_is_an_edit() -> None:
    r = recording(written("norm", 3, "0"), momenta={"0": 0.99, "1": 0.99})
    r.sources["train.py"] = Source("train.py", "/train.py", "")
    able, unable = finding("NS201", "momentum=0.01", "0"), finding("NS201", "momentum=0.01", "1")
    assert has_edit(able, r)
    assert not has_edit(unable, r)
    verdict = Verdict("failing", "NS201", True, "")
    told = with_advice(Diagnosis(r, verdict, (able, unable), (), Coverage((), ())))
    commands = [[x.command for x in f.repairs] for f in told.findings]
    assert commands == [
        ["momentum=0.01", "normscope repair advice train.nscope"],
        ["momentum=0.01"],
    ]
