"""Trials of functions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import normscope
import normscope.trials
from normscope.errors import NormscopeError
from trials.running import fit, net, plain


def by_name(found):
    return {a.name: a for a in found.arms}


def broken(rate: float = 3.0) -> float:
    """Training with a rate that is far too high."""
    torch.manual_seed(0)
    model = net()
    return fit(model, torch.optim.SGD(model.parameters(), rate), epochs=2)


def test_arms_are_compared_in_pairs():
    calls = []
    found = normscope.trials.compare(
        lambda: calls.append(0) or broken(), "group,lr:x0.03,wd:x0", seeds=4, higher_is_better=False
    )
    arms = by_name(found)
    assert arms["lr:x0.03"].compared.pairs == 4
    assert arms["wd:x0"].reason.startswith("not applicable")
    assert len(calls) == 3 * 4 + 1, "an arm that cannot be tried is tried once"
    assert len({r.metric for r in arms["as-is"].runs}) == 4
    again = normscope.trials.compare(broken, ["group"], seeds=4, higher_is_better=False)
    assert [r.metric for r in by_name(again)["group"].runs] == [
        r.metric for r in arms["group"].runs
    ]


def test_schedules_know_the_unchanged_steps():
    found = normscope.trials.compare(plain, "frozen-tail:0.5,renorm", seeds=2)
    assert [r.exchanged for r in by_name(found)["frozen-tail:0.5"].runs] == [1, 1]


def test_where_the_metric_comes_from():
    def reports() -> dict[str, float]:
        value = torch.rand(()).item()
        normscope.report_metric("told", value, step=3)
        return {"returned": value + 1}

    told = normscope.trials.compare(reports, "lr:x2", 2, "told").as_is
    returned = normscope.trials.compare(reports, "lr:x2", 2, "returned").as_is
    computed = normscope.trials.compare(reports, "lr:x2", 2, lambda d: d["returned"] - 1).as_is
    assert told.mean == pytest.approx(returned.mean - 1) == pytest.approx(computed.mean)
    assert told.runs[0].curve[0].step == 3
    with pytest.raises(NormscopeError, match="returned no mapping with `other`"):
        normscope.trials.compare(reports, "lr:x2", 2, "other")


def test_a_crash_and_divergence_are_results():
    def fragile() -> float:
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        torch.optim.SGD(model.parameters(), 0.1)
        if not isinstance(model[1], nn.BatchNorm1d):
            raise LookupError("no statistics")
        if model[1].momentum == 1:
            return float("nan")
        return torch.rand(()).item()

    arms = by_name(normscope.trials.compare(fragile, "none,momentum:1", seeds=2))
    assert [r.status for r in arms["none"].runs] == ["crashed"] * 2
    assert "2 of 2 runs: crashed: LookupError: no statistics" in arms["none"].reason
    assert arms["momentum:1"].runs[0].reason == "diverged at step 1"


def test_an_exit_of_the_function_ends_its_run_alone():
    def leaves() -> float:
        raise SystemExit(3)

    with pytest.raises(NormscopeError, match="gave no metric: crashed: SystemExit: 3"):
        normscope.trials.compare(leaves, "group")


def test_the_first_call_must_give_a_number():
    def fails() -> float:
        raise RuntimeError("no data")

    with pytest.raises(NormscopeError, match="gave no metric: crashed: RuntimeError: no data"):
        normscope.trials.compare(fails, "group")
    with pytest.raises(NormscopeError, match="at least one seed"):
        normscope.trials.compare(plain, "group", seeds=0)
