"""Answers of probes in words and figures, also where parts of them are missing."""

import math

import msgspec

from normscope.probes.answers import Change, Estimate
from normscope.probes.answers.coupling import Coupling, Leak, Mates
from normscope.probes.answers.domain import Domain, DomainShift, LayerShift
from normscope.probes.answers.flow import Flow, Place, WeightGradient
from normscope.report.probes import coupling, domain, flow

CHANGE = Change(0.02, 0.3, Estimate(0.28, 0.01, 0.26, 0.3))
MATES = (
    Mates(1, Estimate(0.05, 0.01, 0.04, 0.06), Estimate(0.0)),
    Mates(2, Estimate(0.1, math.nan)),
)


def pages(module, answer):
    """The sections as the page gets them: what JSON can say."""
    found = list(module.sections(answer, 0))
    assert msgspec.json.decode(msgspec.json.encode(found))
    assert len({s.id for s in found}) == len(found)
    return found


def test_coupling_with_a_leak():
    still = (Mates(2, Estimate(0.0, 0.0, 0.0, 0.0)),)
    leak = Leak(samples=640, batches=20, shuffles=4, unit="nats", error=CHANGE, running_error=0.31)
    facts = {"model": 0, "name": "Net", "batch": 4, "pairs": 9, "floor": 0.0}
    told = Coupling(**facts, evaluation=still, training=MATES, leak=leak)
    said = coupling.sentence(told)
    assert "stays as it is in evaluation mode" in said
    assert "2 % in the loader's own batches, 30 % in shuffled ones" in said
    chart, bars = pages(coupling, told)
    assert [g.label for g in chart.chart.groups] == ["evaluation mode", "training mode"]
    assert bars.table.rows[0][3] == "28 % (26 % to 30 %)"


def test_coupling_that_could_not_be_measured():
    told = Coupling(model=0, name="Net", batch=4, pairs=1, floor=0.0, note="Not tested: few.")
    assert coupling.sentence(told) == "No output has one row for each sample. Not tested: few."
    assert all(s.missing for s in pages(coupling, told))


def test_domain():
    layer = LayerShift(
        layer=0,
        path="a",
        divergence=2.0,
        floor=0.1,
        apart=1.9,
        apart_floor=0.01,
        largest=4.0,
        channel=3,
    )
    facts = {"samples": 512, "batches": 16, "unit": "nats", "mixed": True}
    known = DomainShift(name="fog", layers=(layer,), error=CHANGE, error_beside=CHANGE, **facts)
    bare = DomainShift(name="rain", **facts)
    told = Domain(model=0, name="Net", shifts=(known, bare), missed=("`snow`: it is small",))
    said = domain.sentence(told)
    assert "1.9 nats per channel from training data at `a` (sampling: 0.01)" in said
    assert "wrong decisions 2 % with running statistics" in said
    assert "not asked about `snow`: it is small" in said
    found = pages(domain, told)
    assert [bool(s.missing) for s in found] == [False, False, True, True]
    assert found[0].table.rows[0][3] == "3: 4"


def test_flow():
    facts = {"path": "act", "function": "relu", "mean": 0.4, "sd": 0.6, "positive": 0.5}
    places = (
        Place(index=0, kurtosis=4.0, gradient=0.1, **facts),
        Place(index=1, kurtosis=math.nan, **facts),
    )
    weights = (WeightGradient("a.weight", 1.0, 5.0), WeightGradient("b.weight", 0.0, 0.0))
    told = Flow(model=0, name="Net", samples=64, batches=2, places=places, weights=weights)
    assert "relu in `act` (call 2)" in str([s.table for s in pages(flow, told)])
    assert "gradient norms of 2 weights from 0 (`b.weight`) to 1 (`a.weight`)" in flow.sentence(
        told
    )
    log = pages(flow, told)[1].chart.groups[0].panels[0].lines[0].values
    assert log == [0.0, None]


def test_flow_without_a_norm_or_activation():
    told = Flow(model=0, name="Net", samples=64, batches=2)
    assert "no norm or activation" in flow.sentence(told)
    assert pages(flow, told)[0].missing
