"""Rules of verdicts, on numbers on either side of each."""

from __future__ import annotations

import math

import pytest

from normscope.lab.verdicts import (
    Effect,
    above,
    below,
    difference,
    figure,
    mean,
    ratio,
    shown,
    together,
    within,
)


@pytest.mark.parametrize(
    ("value", "low", "high", "answer"),
    [
        (3.0, 1.0, 5.0, "holds"),
        (3.0, -0.1, 6.0, "undecided"),
        (0.5, 0.1, 0.9, "does not hold"),  # sure, but too small to matter
        (0.9, 0.1, 1.7, "undecided"),  # it may matter and may not
        (-3.0, -5.0, -1.0, "does not hold"),
        (3.0, None, None, "undecided"),
        (math.nan, math.nan, math.nan, "undecided"),
    ],
)
def test_above_and_its_mirror(value, low, high, answer):
    assert above(Effect(value, low, high), 1.0) == answer
    ends = (None, None) if low is None else (-high, -low)
    assert below(Effect(-value, *ends), -1.0) == answer


@pytest.mark.parametrize("low", [-2.0, -0.001, 0.0])
def test_an_interval_that_includes_no_effect_never_holds(low):
    assert above(Effect(5.0, low, 12.0), 0.0001) != "holds"
    assert above(Effect(6.0, 1 + low, 13.0, "×", 1.0), 1.0001) != "holds"


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (-0.5, 0.5, "holds"),
        (-0.5, 1.5, "undecided"),
        (1.2, 1.5, "does not hold"),
        (-3, -2, "does not hold"),
    ],
)
def test_within(low, high, answer):
    assert within(Effect((low + high) / 2, low, high), 1.0) == answer


def test_together():
    yes, no, open_ = "holds", "does not hold", "undecided"
    assert together({"2": yes, "4": yes}) == "holds"
    assert together({"2": no, "4": no}) == "does not hold"
    assert together({"2": no, "4": open_}) == "undecided"
    assert together({"2": yes, "4": no}, when="the batch is ") == "holds when the batch is 2"
    assert together({"2": yes, "4": yes, "8": no}, ordered=True) == "holds when 4 or less"
    assert together({"2": no, "4": yes, "8": yes}, ordered=True) == "holds when 4 or more"
    assert together({"2": yes, "4": no, "8": yes}, ordered=True) == "holds when 2 or 8"


def test_differences_are_paired_by_seed():
    """Seeds differ by much, arms by little: only pairing sees it."""
    others = [10.0, 50.0, 90.0, 30.0]
    ours = [11.0, 51.2, 90.9, 31.1]
    effect = difference(ours, others)
    assert effect.value == pytest.approx(1.05)
    # Student's t at three degrees of freedom: 1.05 ± 3.182 · 0.1291 / 2.
    assert (effect.low, effect.high) == (
        pytest.approx(0.8446, abs=1e-3),
        pytest.approx(1.2554, abs=1e-3),
    )
    wider = difference(ours, others, family=4)
    assert wider.low is not None
    assert wider.low < 0.8446


def test_a_reference_that_does_not_vary_is_no_obstacle():
    effect = difference([20.0, 21.0, 22.0], [0.0, 0.0, 0.0])
    assert effect.low is not None
    assert above(effect, 1.0) == "holds"


def test_pairs_that_all_differ_by_the_same_decide_nothing():
    assert above(difference([1.5, 2.5, 3.5], [0.5, 1.5, 2.5]), 0.5) == "undecided"
    assert difference([1.0, 2.0], [1.0, 2.0]).high == 0.0


def test_ratios_are_geometric():
    effect = ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert effect.value == pytest.approx(4.0)
    assert effect.none == 1.0
    assert (
        ratio([1.0, 8.0, 4.0], [1.0, 16.0, 4.1]).low
        < 1
        < ratio([1.0, 8.0, 4.0], [1.0, 7.9, 4.1]).high
    )


def test_the_mean_of_exact_numbers_has_no_width():
    effect = mean([1e-7, 1e-7, 1e-7])
    assert (effect.low, effect.high) == (1e-7, 1e-7)
    assert within(effect, 1e-5) == "holds"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12.345, "12.3"),
        (1.234, "1.23"),
        (-0.05, "-0.0500"),
        (123.4, "123"),
        (1e-7, "1.0e-07"),
    ],
)
def test_figures(value, text):
    assert figure(value) == text


def test_beside_a_verdict_stands_an_effect_for_which_it_holds():
    assert shown({"2": "does not hold", "4": "holds"}, "2") == "4"
    assert shown({"2": "holds", "4": "holds"}, "4") == "4"
    assert shown({"2": "undecided", "4": "does not hold"}, "2") == "2"


def test_points_are_told_with_two_decimals():
    assert str(Effect(-3e-6, -1.507, 12.34)) == "0.00 points [-1.51, 12.3]"
    assert str(Effect(7.2e-7, None, None, "of the output")) == "7.2e-07 of the output"
