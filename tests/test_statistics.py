"""Every formula against a seeded simulation, or against the definition it shortens."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normscope import statistics as s

DRAWS = {
    "uniform": (1.8, lambda rng, size: rng.uniform(-math.sqrt(3), math.sqrt(3), size)),
    "gaussian": (3.0, lambda rng, size: rng.standard_normal(size)),
    "exponential": (9.0, lambda rng, size: rng.exponential(1.0, size) - 1),
}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("n", [2, 8, 32])
@pytest.mark.parametrize("name", DRAWS)
def test_noise_of_one_batch(rng, name, n):
    kurtosis, draw = DRAWS[name]
    batches = draw(rng, (60_000, n))
    assert batches.mean(axis=1).std() == pytest.approx(s.sd_of_batch_mean(n), rel=0.02)
    spread = batches.var(axis=1, ddof=1).std()
    assert spread == pytest.approx(s.sd_of_batch_variance(n, kurtosis), rel=0.06)


@pytest.mark.parametrize("n", [5, 8, 16])
def test_scale_bias(rng, n):
    batches = rng.standard_normal((100_000, n))
    assert (1 / batches.std(axis=1, ddof=1)).mean() == pytest.approx(s.scale_bias(n), rel=0.01)


def test_scale_bias_of_two_values_is_infinite():
    assert s.scale_bias(2) == math.inf


def test_bessel_ratio_is_biased_over_unbiased_deviation(rng):
    x = rng.standard_normal(8)
    assert x.std() / x.std(ddof=1) == pytest.approx(s.bessel_ratio(8))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_design_effect(rng, correlation):
    samples, positions, trials = 8, 16, 20_000
    common = rng.standard_normal((trials, samples, 1)) * math.sqrt(correlation)
    own = rng.standard_normal((trials, samples, positions)) * math.sqrt(1 - correlation)
    measured = (common + own).mean(axis=(1, 2)).var()
    worth = s.effective_values(samples, positions, correlation)
    assert measured == pytest.approx(1 / worth, rel=0.05)


def test_effective_values_need_no_correlations(rng):
    samples, positions, correlation = 4000, 25, 0.4
    common = rng.standard_normal((samples, 1, 2)) * math.sqrt(correlation)
    x = common + rng.standard_normal((samples, positions, 2)) * math.sqrt(1 - correlation)
    estimated = s.effective_values_of(x.mean(axis=1), x.var(axis=(0, 1)))
    assert estimated == pytest.approx(s.effective_values(samples, positions, correlation), rel=0.1)


def test_agreeing_means_are_worth_infinitely_many_values():
    assert s.effective_values_of(np.zeros((3, 1)), np.ones(1))[0] == math.inf


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_pooled_equals_the_statistics_of_the_union(counts, seed):
    batches = [
        np.random.default_rng([seed, i]).normal(i, 1 + i, (n, 3)) for i, n in enumerate(counts)
    ]
    mean, var = s.pooled(
        [b.mean(axis=0) for b in batches], [b.var(axis=0) for b in batches], counts
    )
    union = np.concatenate(batches)
    np.testing.assert_allclose(mean, union.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(var, union.var(axis=0), rtol=1e-9, atol=1e-9)


@given(st.floats(0, 1), st.integers(0, 200))
def test_initial_weight_is_what_the_recurrence_leaves(alpha, updates):
    running = 1.0
    for _ in range(updates):
        running = (1 - alpha) * running + alpha * 0.0
    assert s.initial_weight(alpha, updates) == pytest.approx(running, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("alpha", "updates"), [(0.1, 44), (0.01, 459), (0.003, 1533), (0.001, 4603), (1, 1)]
)
def test_updates_to_forget(alpha, updates):
    assert s.updates_to_forget(alpha) == updates
    assert s.initial_weight(alpha, updates) <= 0.01
    assert s.initial_weight(alpha, updates - 1) > 0.01


@pytest.mark.parametrize(
    ("updates", "alpha"), [(1, 0.99), (2, 0.9), (10, 0.37), (44, 0.1), (43, 0.11)]
)
def test_momentum_to_forget(updates, alpha):
    assert s.momentum_to_forget(updates) == pytest.approx(alpha)
    assert s.initial_weight(alpha, updates) <= 0.01 + 1e-12
    with pytest.raises(ValueError, match="At least one update"):
        s.momentum_to_forget(0)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.9, 1.0])
def test_noise_of_the_running_mean(rng, alpha):
    n = 4
    running = np.zeros(20_000)
    for _ in range(200):
        running = (1 - alpha) * running + alpha * rng.standard_normal((20_000, n)).mean(axis=1)
    assert running.std() == pytest.approx(s.sd_of_running_mean(alpha, n), rel=0.02)


def test_lag_behind_a_drifting_mean():
    alpha, drift, running = 0.1, 0.5, 0.0
    for t in range(1, 400):
        running = (1 - alpha) * running + alpha * drift * t
    assert drift * 399 - running == pytest.approx(s.lag(alpha, drift), rel=1e-6)


@given(st.floats(1e-4, 0.99), st.integers(1, 64))
def test_momentum_for_micro_batches_forgets_as_fast_per_step(alpha, parts):
    per_part = s.momentum_for_batch(alpha, 1 / parts)
    assert s.initial_weight(per_part, parts) == pytest.approx(1 - alpha, rel=1e-9)


def test_momentum_for_a_larger_batch():
    assert s.momentum_for_batch(0.1, 8) == pytest.approx(0.5695, abs=1e-4)


def test_distances_are_zero_for_equal_statistics():
    mean, var = np.array([0.3, -2.0]), np.array([0.5, 4.0])
    assert s.mean_shift(mean, mean, var).tolist() == [0, 0]
    assert s.log_sd_ratio(var, var).tolist() == [0, 0]
    assert s.divergence(mean, var, mean, var).tolist() == [0, 0]


def test_distances_are_in_population_deviations():
    assert s.mean_shift([3.0], [1.0], [4.0])[0] == 1
    assert s.log_sd_ratio([math.e**2], [1.0])[0] == pytest.approx(1)


def test_divergence_against_sampled_log_densities(rng):
    x = rng.normal(1.0, 2.0, 400_000)

    def log_density(mean, sd):
        return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd)

    sampled = (log_density(1.0, 2.0) - log_density(0.0, 3.0)).mean()
    assert s.divergence([1.0], [4.0], [0.0], [9.0])[0] == pytest.approx(sampled, rel=0.03)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: s.averaged_batches(0), "Momentum must be above 0 and at most 1; got 0"),
        (lambda: s.initial_weight(-0.1, 3), "between 0 and 1; got -0.1"),
        (lambda: s.sd_of_batch_mean(0), "at least 1; got 0"),
        (lambda: s.sd_of_batch_variance(1), "at least 2; got 1"),
        (lambda: s.momentum_for_batch(0.1, 0), "above 0; got 0"),
        (lambda: s.effective_values_of(np.ones(3), np.ones(1)), r"got \(3,\)"),
    ],
)
def test_impossible_arguments_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
