"""From runs to a ranking, and how it reads."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from normscope.report import trial as report
from normscope.report.html import trial_to_html
from normscope.trials import order
from normscope.trials.answer import TrialAnswer, answer
from normscope.trials.arms import arms_of
from normscope.trials.results import Plan, Point, Run


def told(arms: str, values: dict[str, list[float | str]], *, higher: bool = True) -> TrialAnswer:
    """`values[arm]` by seed: a metric, or why there is none."""
    chosen = arms_of(arms)
    seeds = tuple(range(max(map(len, values.values()))))
    plan = Plan(
        target="train.py",
        arguments=(),
        arms=tuple(a.name for a in chosen),
        seeds=seeds,
        metric="accuracy ([0-9.]+)",
        title="accuracy",
        higher_is_better=higher,
        digest="",
    )
    runs = {(a, s): run(a, s, v) for a, vs in values.items() for s, v in enumerate(vs)}
    dropped = order.dropped(plan.arms, runs, halving=False, higher_is_better=higher)
    return answer(plan, chosen, runs, dropped)


def run(arm: str, seed: int, value: float | str) -> Run:
    if isinstance(value, str):
        status = "not-applicable" if value == "no loader" else "diverged"
        return Run(arm=arm, seed=seed, status=status, reason=value)
    curve = (Point(1, value / 2), Point(2, value))
    seconds = 2.0 if arm == "as-is" else 3.0
    return Run(
        arm=arm,
        seed=seed,
        status="finished",
        metric=value,
        curve=curve,
        seconds=seconds,
        memory=100,
    )


BASE = [0.80, 0.82, 0.81, 0.79, 0.83]
BETTER = [0.90, 0.93, 0.91, 0.90, 0.92]


def text(trial: TrialAnswer) -> str:
    out = StringIO()
    report.render(trial, [], Console(file=out, width=80))
    return out.getvalue()


def test_the_best_arm_is_first_and_the_unchanged_script_in_its_place():
    t = told("layer,group", {"as-is": BASE, "layer": [v - 0.2 for v in BETTER], "group": BETTER})
    assert [a.name for a in t.arms] == ["group", "as-is", "layer"]
    assert [a.compared.outcome for a in t.arms if a.compared] == ["better", "worse"]
    assert t.arms[0].time == pytest.approx(1.5)
    assert t.arms[0].memory == pytest.approx(1.0)
    assert report.headline(t).startswith("`group` does best: accuracy 0.912, +0.102 (")
    assert "Worse: layer." in report.headline(t)


def test_an_arm_that_is_sure_may_stand_behind_one_that_is_not():
    values = {
        "as-is": BASE,
        "group": [v + d for v, d in zip(BASE, (0.05, 0.06, 0.055, 0.05, 0.06), strict=True)],
        "layer": [0.7, 1.0, 0.9, 1.0, 0.95],
    }
    t = told("group,layer", values)
    assert [a.name for a in t.arms] == ["layer", "group", "as-is"]
    assert report.headline(t).startswith("`group` does better: accuracy 0.865, +0.055 (")
    assert "Ahead of it, but not significant: `layer`." in report.headline(t)
    assert "reaches beyond 0 can be significant" not in text(t)


def test_an_interval_beyond_0_of_a_significant_arm_is_explained():
    values = {
        "as-is": BASE,
        "group": [v + d for v, d in zip(BASE, (0.5, 0.51, 0.5, 0.52, 0.5), strict=True)],
        "none": [v - d for v, d in zip(BASE, (0.5, 0.51, 0.5, 0.52, 0.5), strict=True)],
        "layer": [v + d for v, d in zip(BASE, (0.05, 0.01, 0.06, 0.02, 0.05), strict=True)],
    }
    t = told("group,layer,none", values)
    layer = next(a.compared for a in t.arms if a.name == "layer")
    assert layer.low < 0 < layer.high
    assert layer.outcome == "better"
    assert "reaches beyond 0 can be significant" in " ".join(text(t).split())


def test_lower_is_better():
    t = told("group", {"as-is": BASE, "group": BETTER}, higher=False)
    assert [a.name for a in t.arms] == ["as-is", "group"]
    assert t.arms[1].compared.outcome == "worse"


def test_no_significant_difference_is_said():
    t = told("group", {"as-is": BASE, "group": [0.81, 0.80, 0.82, 0.80, 0.81]})
    assert report.headline(t).startswith("No significant difference in favour of any arm")
    assert "not signif." in text(t)


def test_nothing_can_be_concluded_when_the_unchanged_runs_coincide():
    t = told("group", {"as-is": [0.8] * 3, "group": [0.9, 0.91, 0.92]})
    assert "Nothing can be concluded: the 3 unchanged runs all gave 0.8" in report.headline(t)


def test_arms_without_a_metric_are_listed_with_the_reason():
    t = told(
        "group,batch:64,none",
        {
            "as-is": BASE,
            "group": BETTER,
            "batch:64": ["no loader"],
            "none": [*BETTER[:4], "diverged at step 3"],
        },
    )
    by_name = {a.name: a for a in t.arms}
    assert by_name["batch:64"].reason == "not applicable: no loader"
    assert by_name["batch:64"].compared is None
    assert "1 of 5 runs: diverged at step 3" in by_name["none"].reason
    assert by_name["none"].compared.outcome == "not compared"
    shown = " ".join(text(t).split())
    assert "batch:64: not applicable: no loader." in shown
    assert "1 of 5 runs: diverged at step 3" in shown
    # Arms that could not be tried at all are no comparisons: the interval is not widened for them.
    alone = told("group", {"as-is": BASE, "group": BETTER})
    with_it = told("group,batch:64", {"as-is": BASE, "group": BETTER, "batch:64": ["no loader"]})
    assert with_it.arms[0].compared.low == alone.arms[0].compared.low


def test_the_random_arm_is_runs_of_the_others():
    t = told("group,layer,random", {"as-is": BASE, "group": BETTER, "layer": BASE[::-1]})
    [chance] = [a for a in t.arms if a.name == "random"]
    assert set(chance.stood_for) == {"group", "layer"}
    assert all(r in {x.name: x for x in t.arms}[r.arm].runs for r in chance.runs)
    assert ("random", 0) not in order.to_run(t.plan.arms, t.plan.seeds)


def test_json_holds_no_number_that_json_has_not_and_html_no_network():
    values = {"as-is": BASE, "group": [float("inf"), *BETTER[1:]]}
    t = told("group", values)
    found = json.loads(report.dumps(t, []), parse_constant=lambda word: pytest.fail(word))
    assert [a["name"] for a in found["arms"]]
    page = trial_to_html(told("group", {"as-is": BASE, "group": BETTER}), [])
    assert "Learning curves" in page
    assert '"as-is"' in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_order_seed_by_seed_and_the_first_run_alone():
    wanted = order.to_run(("as-is", "group", "random"), (0, 1))
    assert wanted == [("as-is", 0), ("group", 0), ("as-is", 1), ("group", 1)]
    assert order.ready(wanted, {}, [], {}) == ("as-is", 0)
    assert order.ready(wanted, {}, [("as-is", 0)], {}) is None
    done = {("as-is", 0): run("as-is", 0, 0.5)}
    assert order.ready(wanted, done, [], {}) == ("group", 0)
    assert order.ready(wanted, done, [("group", 0)], {}) == ("as-is", 1)
    assert order.ready(wanted, done, [("group", 0), ("as-is", 1)], {}) is None
    assert order.ready(wanted, done, [], {"group": "no"}) == ("as-is", 1)


def test_halving_drops_what_is_hopeless_and_keeps_the_rest():
    arms = ("as-is", "group", "layer", "none", "renorm")
    values = {
        "as-is": [0.80, 0.82],
        "group": [0.20, 0.25],
        "layer": [0.79, 0.83],
        "none": ["diverged at step 1"] * 2,
        "renorm": [0.81, 0.81],
    }
    done = {(a, s): run(a, s, v) for a, vs in values.items() for s, v in enumerate(vs)}
    found = order.dropped(arms, done, halving=True, higher_is_better=True)
    assert set(found) == {"group", "none"}
    assert order.dropped(arms, done, halving=False, higher_is_better=True) == {}
    del done["renorm", 1]
    assert order.dropped(arms, done, halving=True, higher_is_better=True) == {}
