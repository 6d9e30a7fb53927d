from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normscope.finding import Measured, Steps
from normscope.record.recording import Channels, Recording
from normscope.record.story import story
from normscope.report import wording
from normscope.report.html.channels import deviation
from normscope.report.html.figures import bars, kept, rounded, table
from normscope.report.html.forwards import modes, sizes


@given(st.integers(1, 5000), st.integers(1, 3), st.integers(50, 600), st.integers(0, 9))
def test_thinning_keeps_ends_and_extremes(length: int, lines: int, most: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(lines, length))
    at = kept(tuple(values), most)
    assert len(at) <= max(most, 1)
    assert (at[0], at[-1]) == (0, length - 1)
    assert (np.diff(at) > 0).all()
    for line in values:
        assert (line[at].min(), line[at].max()) == (line.min(), line.max())


def test_thinning_is_not_led_astray_by_missing_values() -> None:
    line = np.full(4000, np.nan)
    line[1234], line[2345] = 7.0, -7.0
    line[2346] = np.inf
    assert {1234, 2345} <= set(kept((line,), 100).tolist())


def test_rounded_values_are_finite_or_null() -> None:
    assert rounded(np.array([1.23456, np.nan, np.inf, -0.0001234567])) == [
        1.235,
        None,
        None,
        -0.0001235,
    ]


def test_bars_share_one_scale_with_their_whiskers() -> None:
    a, b, c = bars(
        [
            ("a", 1.0, 1.0, "", "one"),
            ("b", -2.0, 2.0, "", "one"),
            ("c", float("nan"), 0.0, "", "one"),
        ]
    )
    assert (a.length, a.whisker) == (0.25, (0.0, 0.5))
    assert (b.length, b.whisker) == (0.5, (0.0, 1.0))
    assert (c.length, c.whisker) == (0.0, None)


def test_tables_count_what_they_leave_out() -> None:
    assert table(["a"], [["1"]] * 100).more == 70


def test_deviation_of_statistics() -> None:
    mean, var = np.zeros(4), np.full(4, 4.0)
    assert deviation(Channels(mean + 1.0, var * np.e**2, mean, var)) == (
        pytest.approx(0.5),
        pytest.approx(1.0),
    )
    assert deviation(Channels(mean, var)) == (0.0, 0.0)


RUN = "layer a; train a batch=4 x90; infer a mode=train batch=64 x5; train a batch=4 x10; infer a mode=eval batch=64 x5"


def test_batch_sizes_are_counted_by_kind_of_forward() -> None:
    found = sizes(story(RUN)).table
    assert found is not None
    assert found.rows == [["training", "4", "100", "4"], ["inference", "64", "10", "64"]]


def test_modes_have_a_lane_each_that_stays_on_the_drawing() -> None:
    lanes = modes(story(RUN)).lanes
    assert [(x.label, x.tone) for x in lanes] == [
        ("Net, training, batch statistics", "one"),
        ("Net, inference, batch statistics", "two"),
        ("Net, inference, stored statistics", "three"),
    ]
    [(start, width, solid, words)] = lanes[1].intervals
    assert (round(start), solid, words) == (89, True, "steps 90 to 90: 5 forwards")
    assert all(a >= 0 and a + w <= 100.001 for lane in lanes for a, w, _, _ in lane.intervals)
    assert width > 0


def test_layers_without_stored_statistics_have_no_mode() -> None:
    assert "No forward" in modes(story("layer a kind=layer tracks=False; train a x3")).missing
    assert "No normalization layer" in sizes(Recording()).missing


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "—"),
        (float("nan"), "not a number"),
        (-np.inf, "−infinity"),
        (0.0, "0"),
        (-0.0314159, "−0.0314"),
        (0.00001, "1e-05"),
        (1234.5, "1,234"),
        (480.0, "480"),
        (2.5e7, "2.5e+07"),
        (-3e-7, "−3e-07"),
    ],
)
def test_numbers(value: float | None, said: str) -> None:
    assert wording.number(value) == said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (None, None, ""),
        (0.8, 1.25, "expected 0.8 to 1.25"),
        (4, None, "expected at least 4"),
        (None, 0, "expected at most 0"),
    ],
)
def test_bands(low: float | None, high: float | None, said: str) -> None:
    assert wording.band(Measured("x", 1.0, "1", low, high)) == said


def test_steps_and_names() -> None:
    assert wording.steps(None) == ""
    assert wording.steps(Steps(5, 5, 1)) == "5"
    assert wording.steps(Steps(1, 2000, 7)) == "1 to 2,000, 7 times"
    assert wording.some(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert wording.shortened("x" * 30 + "y" * 30, 20) == "x" * 9 + "…" + "y" * 10


@given(st.text())
def test_plain_text_has_no_control_characters(text: str) -> None:
    shown = wording.plain(text)
    assert not any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or c in "\u202e\x7f\x9b" for c in shown)
