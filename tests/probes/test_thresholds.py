"""How much of a measured gap counts."""

import math

import pytest

from normscope.probes import thresholds
from normscope.probes.results import Gap, Reading


def gap(a, b, c, noise=0.001, *, errors=None, error_noise=0.002, **more):
    """A loss in nats under A, B and C; `errors` are the three error rates."""
    facts = {"measure": "loss", "unit": "nats", "samples": 2000, "batches": 40}
    if errors:
        facts |= {
            "error_batch": errors[0],
            "error_population": errors[1],
            "error_running": errors[2],
            "stale_error": Reading(errors[2] - errors[1], error_noise),
            "inconsistent_error": Reading(errors[1] - errors[0], error_noise),
        }
    return Gap(
        model=0,
        name="Net",
        batch=Reading(a, noise),
        population=Reading(b, noise),
        running=Reading(c, noise),
        stale=Reading(c - b, noise),
        inconsistent=Reading(b - a, noise),
        **(facts | more),
    )


@pytest.mark.parametrize(
    ("errors", "severity"),
    [
        ((0.10, 0.10, 0.104), None),  # below half a point: decisions stand, the loss rose a little
        ((0.10, 0.10, 0.115), "info"),
        ((0.10, 0.10, 0.135), "warning"),
        ((0.10, 0.10, 0.20), "error"),
    ],
)
def test_staleness_by_decisions(errors, severity):
    assert thresholds.staleness(gap(0.3, 0.3, 0.31, errors=errors)) == severity


@pytest.mark.parametrize(("noise", "severity"), [(0.004, "warning"), (0.006, "info")])
def test_blame_begins_where_three_points_are_exceeded_by_more_than_the_noise(noise, severity):
    lost = gap(0.3, 0.3, 0.36, errors=(0.10, 0.10, 0.135), error_noise=noise)
    assert thresholds.staleness(lost) == severity
    assert thresholds.staleness(lost, foreign=True) == "warning"


def test_decisions_speak_where_a_heavy_tailed_loss_is_noise():
    wild = gap(0.4, 19.6, 1.5, noise=18.0, errors=(0.15, 0.50, 0.67), error_noise=0.02)
    assert thresholds.inconsistency(wild) == "error"
    assert thresholds.staleness(wild) == "error"


def test_decisions_do_not_speak_against_a_loss_that_fell():
    assert thresholds.staleness(gap(0.3, 0.3, 0.2, errors=(0.10, 0.10, 0.12))) is None


def test_an_overconfident_loss_alone_is_a_remark():
    assert thresholds.staleness(gap(0.1, 0.1, 0.3, errors=(0.02, 0.02, 0.02))) == "info"


@pytest.mark.parametrize(("rise", "severity"), [(0.04, None), (0.1, "warning"), (0.5, "error")])
def test_a_loss_without_decisions(rise, severity):
    assert thresholds.staleness(gap(0.3, 0.3, 0.3 + rise)) == severity
    assert thresholds.inconsistency(gap(0.3, 0.3 + rise, 0.3 + rise)) == severity


def test_without_decisions_and_targets_a_distance_is_a_warning_at_most():
    far = gap(0.1, 0.1, 5.0, measure="output")
    assert thresholds.staleness(far) == "warning"
    assert thresholds.inconsistency(far) is None


@pytest.mark.parametrize("relied_on", [True, None])
def test_a_model_that_nobody_evaluates_gets_a_remark(relied_on):
    lost = {"errors": (0.1, 0.3, 0.5)}
    assert thresholds.staleness(gap(0.3, 1, 2, relied_on=False, **lost)) == "info"
    assert thresholds.inconsistency(gap(0.3, 1, 2, relied_on=False, **lost)) == "info"
    assert thresholds.staleness(gap(0.3, 1, 2, relied_on=relied_on, **lost)) == "error"


def test_which_part_is_larger():
    assert thresholds.staleness_outweighs(gap(0.1, 0.2, 0.5))
    assert not thresholds.staleness_outweighs(gap(0.1, 0.4, 0.5))
    by_decisions = gap(0.1, 0.4, 0.5, errors=(0.0, 0.01, 0.5))
    assert thresholds.staleness_outweighs(by_decisions)


def test_calm():
    assert thresholds.calm(gap(0.3, 0.3, 0.3))
    assert not thresholds.calm(gap(0.3, 0.3, 0.9))
    assert not thresholds.calm(gap(0.3, 0.3, math.nan))
    assert not thresholds.calm(gap(0.3, 0.3, 0.3, coupled_layers=("bn",)))


def test_noise_is_no_acquittal():
    """A large difference that is not significant is neither a finding nor a proof of innocence."""
    unsure = gap(0.3, 0.3, 0.9, noise=0.5)
    assert thresholds.staleness(unsure) is None
    assert not thresholds.calm(unsure)


@pytest.mark.parametrize(("noise", "acquitted"), [(0.075, False), (0.12, True)])
def test_what_just_misses_significance_is_no_acquittal_either(noise, acquitted):
    """A loss of 0.298 and 0.5 nats on 128 samples, as a real run gave them: 2.7 times the noise."""
    errors = (0.09, 0.13, 0.15)
    unsure = gap(0.29, 0.298, 0.5, noise=noise, errors=errors, error_noise=0.056)
    assert thresholds.staleness(unsure) is None
    assert thresholds.calm(unsure)
    assert thresholds.acquits(unsure) is acquitted


def test_confidence_below_a_thousand_samples():
    assert thresholds.confidence(gap(0, 0, 0, confidence="high")) == "high"
    assert thresholds.confidence(gap(0, 0, 0, confidence="high", samples=999)) == "medium"


def test_gaps_recorded_without_paired_decisions_are_judged_as_if_unpaired():
    old = gap(0.3, 0.3, 0.9, error_batch=0.1, error_population=0.1, error_running=0.3)
    assert thresholds.staleness(old) == "error"
    few = gap(0.3, 0.3, 0.9, error_population=0.1, error_running=0.3, samples=20)
    assert thresholds.staleness(few) == "info"  # the decisions of twenty samples prove nothing


def test_a_significant_loss_counts_where_only_noise_hides_the_decisions():
    errors = {"error_batch": 0.17, "error_population": 0.52}
    lost = gap(0.47, 1.37, 1.37, inconsistent_error=Reading(0.35, 0.17), samples=4096, **errors)
    assert thresholds.inconsistency(lost) == "error"
    stand = gap(0.47, 1.37, 1.37, inconsistent_error=Reading(0.02, 0.17), samples=4096, **errors)
    assert thresholds.inconsistency(stand) == "info"


def test_where_running_statistics_serve_better_than_the_populations_they_are_judged():
    errors = (0.10, 0.36, 0.10)
    assert thresholds.inconsistency(gap(0.3, 1.2, 0.3, errors=errors)) is None
    assert thresholds.calm(gap(0.3, 1.2, 0.3, errors=errors))
    assert thresholds.inconsistency(gap(0.3, 1.2, 0.9, errors=(0.10, 0.36, 0.30))) == "error"
    # A loss that is lower at more wrong decisions is not better.
    split = gap(0.3, 1.2, 0.3, errors=(0.10, 0.36, 0.40))
    assert not thresholds.runs_better(split)
    assert thresholds.inconsistency(split) == "error"
    assert not thresholds.runs_better(gap(0.3, 1.2, math.nan))
