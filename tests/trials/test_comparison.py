"""The statistics: how often nothing is called something, and when nothing may be concluded."""

from __future__ import annotations

import numpy as np
import pytest

from normscope.trials.comparison import compared, hopeless, seeds_without_effect


def values(rng, arms, seeds, effect=0.0, common=1.0, own=1.0):
    """`arms` arms over `seeds` seeds: noise that a seed shares, and noise of each run's own; the last arm has the effect."""
    shared = common * rng.standard_normal(seeds)
    table = {f"arm{k}": shared + own * rng.standard_normal(seeds) for k in range(arms)}
    table[f"arm{arms - 1}"] = table[f"arm{arms - 1}"] + effect
    return {a: dict(enumerate(map(float, v))) for a, v in table.items()}


@pytest.mark.parametrize(("arms", "seeds"), [(2, 3), (2, 5), (2, 10), (8, 5)])
def test_equal_arms_are_seldom_told_apart(arms, seeds):
    rng = np.random.default_rng(0)
    trials = 2000
    false = sum(
        any(c.outcome in ("better", "worse") for c in compared(values(rng, arms, seeds), "arm0"))
        for _ in range(trials)
    )
    assert false / trials <= 0.06
    if arms == 2:
        assert false / trials >= 0.035, "the level is used, not undercut"


def test_200_trials_of_five_seeds():
    rng = np.random.default_rng(7)
    found = [compared(values(rng, 2, 5), "arm0")[0].outcome for _ in range(200)]
    assert sum(o != "no significant difference" for o in found) <= 12


def test_pairs_see_what_the_spread_of_seeds_hides():
    rng = np.random.default_rng(1)
    told = values(rng, 2, 5, effect=0.5, common=5.0, own=0.05)
    [c] = compared(told, "arm0")
    assert c.outcome == "better"
    assert c.low < 0.5 < c.high
    assert compared(told, "arm0", higher_is_better=False)[0].outcome == "worse"


def test_the_family_widens_the_interval():
    rng = np.random.default_rng(2)
    told = values(rng, 6, 5)
    alone = compared({a: told[a] for a in ("arm0", "arm1")}, "arm0")[0]
    among = compared(told, "arm0")[0]
    assert among.difference == alone.difference
    assert among.high - among.low > 1.5 * (alone.high - alone.low)
    assert among.p == pytest.approx(min(1.0, 5 * alone.p))


def test_an_interval_excludes_0_exactly_when_significant():
    rng = np.random.default_rng(3)
    for _ in range(300):
        [c] = compared(values(rng, 2, 4, effect=1.0), "arm0")
        assert (c.outcome == "no significant difference") == (c.low <= 0 <= c.high) == (c.p > 0.05)


def test_refused_when_the_unchanged_runs_coincide():
    told = {"as-is": {0: 0.5, 1: 0.5, 2: 0.5}, "group": {0: 0.7, 1: 0.8, 2: 0.9}}
    [c] = compared(told, "as-is")
    assert (c.outcome, c.low) == ("not compared", None)
    assert "the 3 unchanged runs all gave 0.5" in c.reason
    assert c.difference == pytest.approx(0.3)
    assert seeds_without_effect([0.5]) == ""
    assert seeds_without_effect([0.5, 0.6]) == ""


def test_one_pair_and_missing_numbers():
    [c] = compared({"as-is": {0: 0.5, 1: 0.6}, "group": {0: 0.7}}, "as-is")
    assert c.outcome == "not compared"
    assert "at least 2 are needed" in c.reason
    [c] = compared({"as-is": {0: 0.5, 1: 0.6}, "group": {0: 0.7, 1: float("nan")}}, "as-is")
    assert "1 of 2 pairs hold a metric that is no number" in c.reason


def test_differences_without_spread():
    same = {"as-is": {0: 0.5, 1: 0.6}, "group": {0: 0.5, 1: 0.6}}
    assert compared(same, "as-is")[0].outcome == "no significant difference"
    step = {"as-is": {0: 1.0, 1: 2.0}, "group": {0: 2.0, 1: 3.0}}
    [c] = compared(step, "as-is")
    assert c.outcome == "not compared"
    assert "too coarse" in c.reason


def test_hopeless_arms():
    assert hopeless(
        {"a": [-0.7, -0.6], "b": [0.1, -0.1], "c": [0.05, 0.0], "d": [-0.02, 0.05]}
    ) == ["a"]
    assert hopeless({"a": [-0.7]}) == []
    assert hopeless({"a": [0.7, 0.6], "b": [0.1, -0.1]}) == []
    rng = np.random.default_rng(4)
    dropped = sum(
        len(hopeless({f"{k}": list(rng.standard_normal(2)) for k in range(6)})) for _ in range(500)
    )
    assert dropped / 3000 < 0.01
