"""Binomial tails: scipy's distributions, exact fractions, and the definitions themselves."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from racer.bounds import beta_binomial_cdf, binomial_interval, binomial_upper


def exact_cdf(k: int, n: int, p: Fraction) -> Fraction:
    """P(Bin(n, p) <= k), without a rounding."""
    return sum((math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))


@pytest.mark.parametrize("delta", [1e-4, 0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [1, 2, 7, 100, 4680])
def test_upper_bound_is_the_beta_quantile(n, delta):
    errors = np.unique(np.linspace(0, n - 1, 40).astype(int))
    np.testing.assert_allclose(binomial_upper(errors, n, delta), stats.beta.ppf(1 - delta, errors + 1, n - errors),
                               rtol=1e-9)


@pytest.mark.parametrize("delta", ["0.02", "0.1", "0.5"])
@pytest.mark.parametrize("n", [1, 3, 10, 33])
def test_upper_bound_by_definition_in_exact_fractions(n, delta):
    """Just above the bound so few errors are rarer than delta, just below they are not."""
    for errors in range(n):
        bound = Fraction(float(binomial_upper(errors, n, float(delta))))
        step = Fraction(1, 10**9)
        assert exact_cdf(errors, n, min(bound + step, Fraction(1))) < Fraction(delta)
        assert exact_cdf(errors, n, bound - step) > Fraction(delta)


@pytest.mark.parametrize("n", [1, 5, 299])
def test_upper_bound_at_both_ends(n):
    assert binomial_upper(n, n, 0.1) == 1
    assert binomial_upper(0, n, 0.1) == pytest.approx(1 - 0.1 ** (1 / n), rel=1e-12)  # (1 - p)^n = delta


def test_upper_bound_without_a_single_trial_promises_nothing():
    assert binomial_upper(0, 0, 0.1) == 1


def test_upper_bound_rises_with_errors_and_falls_with_delta_and_n():
    assert (np.diff(binomial_upper(np.arange(51), 50, 0.1)) > 0).all()
    assert binomial_upper(3, 50, 0.2) < binomial_upper(3, 50, 0.1) < binomial_upper(3, 40, 0.1)


def test_upper_bound_takes_arrays_in_both_places():
    bounds = binomial_upper(np.array([0, 2, 9]), np.array([4, 8, 9]), 0.1)
    assert bounds.tolist() == [binomial_upper(0, 4, 0.1), binomial_upper(2, 8, 0.1), 1.0]


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("n", [1, 20, 150])
def test_upper_bound_fails_with_probability_at_most_delta(n, rate):
    """The coverage, summed over every possible count: no simulation needed."""
    count = np.arange(n + 1)
    for delta in (0.01, 0.1, 0.4):
        fails = stats.binom.pmf(count, n, rate)[binomial_upper(count, n, delta) < rate].sum()
        assert fails <= delta + 1e-12


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("n", [1, 2, 9, 60, 2000])
def test_interval_is_that_of_scipy(n, level):
    for errors in {0, 1, n // 3, n // 2, n - 1, n}:
        expected = stats.binomtest(errors, n).proportion_ci(level, method="exact")
        low, high = binomial_interval(errors, n, level)
        assert low == pytest.approx(expected.low, rel=1e-9, abs=1e-12)
        assert high == pytest.approx(expected.high, rel=1e-9, abs=1e-12)
        assert 0 <= low <= errors / n <= high <= 1


def test_interval_at_both_ends():
    assert binomial_interval(0, 10)[0] == 0
    assert binomial_interval(10, 10)[1] == 1
    assert binomial_interval(0, 10)[1] == pytest.approx(1 - 0.025**0.1)


def test_interval_mirrors_when_errors_and_successes_change_places():
    low, high = binomial_interval(3, 17)
    assert (1 - high, 1 - low) == pytest.approx(binomial_interval(14, 17))


@pytest.mark.parametrize("m, a, b", [(1, 1, 1), (10, 1, 20), (57, 4.5, 2), (1000, 100, 901), (4679, 1, 4680)])
def test_beta_binomial_cdf_is_that_of_scipy(m, a, b):
    cdf = beta_binomial_cdf(m, a, b)
    assert cdf.shape == (m + 1,)
    np.testing.assert_allclose(cdf, stats.betabinom.cdf(np.arange(m + 1), m, a, b), atol=1e-9)
    assert cdf[-1] == pytest.approx(1, abs=1e-9)


def test_beta_binomial_cdf_in_exact_fractions():
    """Whole a and b: the pmf is a ratio of binomial coefficients, counted as in Polya's urn."""
    m, a, b = 12, 3, 8
    pmf = [Fraction(math.comb(k + a - 1, k) * math.comb(m - k + b - 1, m - k), math.comb(m + a + b - 1, m))
           for k in range(m + 1)]
    assert sum(pmf) == 1
    np.testing.assert_allclose(beta_binomial_cdf(m, a, b), np.cumsum([float(p) for p in pmf]), rtol=1e-12)


def test_beta_binomial_of_a_flat_prior_is_flat():
    np.testing.assert_allclose(beta_binomial_cdf(9, 1, 1), np.arange(1, 11) / 10, rtol=1e-12)
