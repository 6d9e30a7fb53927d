"""The statistics: how often nothing is called something, and when nothing may be concluded."""

from __future__ import annotations

import numpy as np
import pytest

from normscope.trials.comparison import compared, holm, hopeless, seeds_without_effect


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


def test_p_is_stepped_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None]) == [0.02, None], "an arm that failed counts on"
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    rng = np.random.default_rng(2)
    told = values(rng, 6, 5, effect=2.0)
    alone = [compared({"arm0": told["arm0"], a: told[a]}, "arm0")[0].p for a in told if a != "arm0"]
    assert [c.p for c in compared(told, "arm0")] == pytest.approx(holm(alone))


def test_of_arms_with_and_without_effect_few_are_called_wrong():
    """Family-wise: in how many trials an arm without effect is called better or worse, or one with an effect the wrong way."""
    rng = np.random.default_rng(5)
    for effects in ([3.0, 3.0, 3.0, 0.0, 0.0], [9.0, 9.0, 9.0, 0.1, -0.1], [0.1] * 5):
        wrong = 0
        for _ in range(400):
            told = values(rng, 6, 5)
            for k, effect in enumerate(effects, 1):
                told[f"arm{k}"] = {s: v + effect for s, v in told[f"arm{k}"].items()}
            said = {"better": 1.0, "worse": -1.0}
            wrong += any(
                c.outcome in said and said[c.outcome] != np.sign(e)
                for c, e in zip(compared(told, "arm0"), effects, strict=True)
            )
        assert wrong / 400 <= 0.06, effects


def test_more_is_found_than_by_intervals_for_all_arms():
    rng = np.random.default_rng(6)
    found = by_interval = 0
    for _ in range(100):
        told = values(rng, 6, 5)
        for k in range(1, 6):
            told[f"arm{k}"] = {s: v + 3.0 for s, v in told[f"arm{k}"].items()}
        for c in compared(told, "arm0"):
            found += c.outcome == "better"
            by_interval += c.low > 0
            assert c.outcome == "better" or c.low <= 0, "an interval off 0 is significant"
    assert found > 1.15 * by_interval


def test_with_one_arm_an_interval_excludes_0_exactly_when_significant():
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
