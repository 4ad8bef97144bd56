"""Bounds: scipy's distributions, exact fractions, slow loops, another library, and the promise by simulation.

Simulations know the true mean. Seeds are fixed; margins are 3 standard errors.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import optimize, stats

from racer import betting, bounds
from racer.bounds import BOUNDS, beta_binomial_cdf, binomial_interval, binomial_upper, dkw_width, p_value, upper
from racer.errors import ConfigError

FRACTIONAL = BOUNDS[1:]


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


# ---------------------------------------------------------------- losses in [0, 1]: each bound against its definition


def columns(n: int, width: int = 7, seed: int = 0, binary: bool = False) -> np.ndarray:
    """Losses (n, width) of many kinds, with whole columns of 0 and 1."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, width)) * np.linspace(0, 1, width)
    x[rng.random((n, width)) < 0.3] = 0
    x[:, -1] = 1
    return (x > rng.random((n, width))).astype(float) if binary else x


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_binomial_is_the_exact_tail_in_fractions(n):
    x = columns(n, binary=True)
    for j, p, bound in zip(x.sum(axis=0).astype(int), p_value(x, 0.15, "binomial"), upper(x, 0.1, "binomial"),
                           strict=True):
        assert p == pytest.approx(float(exact_cdf(j, n, Fraction(0.15))), rel=1e-10)
        assert bound == binomial_upper(j, n, 0.1)


@pytest.mark.parametrize("n", [1, 3, 50, 411])
def test_hoeffding_by_hand(n):
    x = columns(n)
    for column, p, bound in zip(x.T, p_value(x, 0.3, "hoeffding"), upper(x, 0.05, "hoeffding"), strict=True):
        mean = math.fsum(column) / n
        assert p == pytest.approx(math.exp(-2 * n * max(0.3 - mean, 0) ** 2))
        assert bound == pytest.approx(min(mean + math.sqrt(math.log(20) / (2 * n)), 1))


@pytest.mark.parametrize("alpha", [0.005, 0.1, 0.37])
@pytest.mark.parametrize("n", [1, 4, 10, 100, 700])
def test_hoeffding_bentkus_is_that_of_mapie(n, alpha):
    from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

    counts = np.arange(n + 1)
    x = (np.arange(n)[:, None] < counts).astype(float)  # (n, n + 1): every count there is
    ours, theirs = p_value(x, alpha, "hoeffding_bentkus"), compute_hoeffding_bentkus_p_value(counts / n, n, alpha)[:, 0]
    exact = n * (counts / n) <= counts  # elsewhere n * mean exceeds the count by rounding, and they round it up by one
    np.testing.assert_allclose(ours[exact], theirs[exact], rtol=1e-9)
    assert (ours <= theirs * (1 + 1e-9)).all()
    fractional = columns(n, seed=1)
    theirs = compute_hoeffding_bentkus_p_value(fractional.mean(axis=0), n, alpha)[:, 0]
    whole = (fractional == 0).all(axis=0) | (fractional == 1).all(axis=0)
    np.testing.assert_allclose(p_value(fractional, alpha, "hoeffding_bentkus")[~whole], theirs[~whole], rtol=1e-9)


@pytest.mark.parametrize("delta", [0.001, 0.1, 0.6])
@pytest.mark.parametrize("n", [1, 5, 60, 900])
def test_hoeffding_bentkus_bound_by_two_root_searches(n, delta):
    x = columns(n, seed=2)
    for column, bound in zip(x.T, upper(x, delta, "hoeffding_bentkus"), strict=True):
        total = math.fsum(column)
        mean = total / n

        def entropy_tail(r, mean=mean):
            return math.exp(-n * stats.entropy([mean, 1 - mean], [r, 1 - r])) - delta

        def bentkus_tail(r, total=total):
            return math.e * stats.binom.cdf(math.ceil(total), n, r) - delta

        below_one = 1 - 1e-15
        roots = [optimize.brentq(tail, max(mean, 1e-12), below_one, xtol=1e-14)
                 for tail in (entropy_tail, bentkus_tail) if mean < 1 and tail(below_one) < 0]
        assert bound == pytest.approx(min(roots, default=1), abs=1e-9)


@pytest.mark.parametrize("loss, n, total", [(0.1, 10, 1), (0.1, 30, 3), (0.7, 10, 7), (1 / 3, 3, 1), (0.2, 5000, 1000),
                                            (0.35, 10, 4), (0.35, 1, 1)])
def test_bentkus_rounds_sums_up_and_knows_that_ten_tenths_are_one(loss, n, total):
    x = np.full((n, 1), loss)
    expected = min(math.e * stats.binom.cdf(total, n, 0.9), math.exp(-n * stats.entropy([loss, 1 - loss], [0.9, 0.1])))
    assert p_value(x, 0.9, "hoeffding_bentkus") == pytest.approx(min(expected, 1), rel=1e-9)
    limit = stats.beta.ppf(1 - 0.001 / math.e, total + 1, max(n - total, 1e-9))
    assert upper(x, 0.001, "hoeffding_bentkus") <= limit + 1e-12


@pytest.mark.parametrize("n", [2, 3, 30, 200])
def test_empirical_bernstein_takes_the_variance_over_queries(n):
    x = columns(n, seed=3)
    for column, bound in zip(x.T, upper(x, 0.1, "empirical_bernstein"), strict=True):
        exact = [Fraction(value) for value in column.tolist()]
        mean = sum(exact) / n
        variance = sum((value - mean) ** 2 for value in exact) / (n - 1)
        log = math.log(2 / 0.1)
        expected = float(mean) + math.sqrt(2 * variance * log / n) + 7 * log / (3 * (n - 1))
        assert bound == pytest.approx(min(expected, 1), rel=1e-12)


def test_empirical_bernstein_of_columns_that_are_all_alike_is_that_of_one():
    """The mistake to avoid takes the variance over the columns: then these would have none."""
    x = np.tile((np.arange(200) % 2).astype(float)[:, None], 5)
    assert upper(x, 0.1, "empirical_bernstein") == pytest.approx(
        0.5 + math.sqrt(2 * 0.25 * 200 / 199 * math.log(20) / 200) + 7 * math.log(20) / (3 * 199))


def shuffled(column: np.ndarray) -> list[float]:
    """The order in which the gambler meets the queries."""
    return column[np.random.default_rng(0).permutation(len(column))].tolist()


def capital_by_hand(x: list[float], r: float, tuned: float = 0.05) -> float:
    """The most capital of the gambler: a loop over queries in plain floats, products instead of logarithms."""
    n, capital, most = len(x), 1.0, 0.0
    for i, loss in enumerate(x):
        means = [(0.5 + math.fsum(x[:j + 1])) / (j + 2) for j in range(i)]
        variance = (0.25 + math.fsum((x[j] - means[j]) ** 2 for j in range(i))) / (i + 1)
        stake = min(1, math.sqrt(2 * math.log(1 / tuned) / (n * variance)))
        capital *= 1 - stake * (loss - r)
        most = max(most, capital)
    return most


@pytest.mark.parametrize("n", [1, 2, 11, 80])
@pytest.mark.parametrize("r", [0.02, 0.3, 0.9])
def test_wsr_is_the_gambler_of_the_slow_loop(n, r):
    x = columns(n, seed=4)
    capital = [0.0 if column.mean() > r else capital_by_hand(shuffled(column), r) for column in x.T]
    np.testing.assert_allclose(p_value(x, r, "wsr"), [1 / max(1, most) for most in capital], rtol=1e-9)


@pytest.mark.parametrize("delta", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("n", [5, 64])
def test_wsr_bound_by_root_search_over_the_slow_loop(n, delta):
    x = columns(n, seed=5)
    for column, bound in zip(x.T, upper(x, delta, "wsr"), strict=True):
        if capital_by_hand(shuffled(column), 1.0) < 1 / delta:
            assert bound == 1
        else:
            root = optimize.brentq(lambda r, x=column: capital_by_hand(shuffled(x), r) - 1 / delta, 1e-9, 1)
            assert bound == pytest.approx(max(root, column.mean()), abs=1e-9)


def test_wsr_never_lies_below_the_mean_of_what_was_seen_however_lucky_the_first_queries():
    n = 400
    x = np.zeros(n)
    x[np.random.default_rng(0).permutation(n)[n // 2:]] = 0.8  # the gambler meets the good half first
    assert capital_by_hand(shuffled(x), 0.2) > 1e6  # enough for a bound of less than .2, though the mean is .4
    assert upper(x, 0.1, "wsr") == x.mean() and p_value(x, np.nextafter(x.mean(), 0), "wsr") == 1
    assert p_value(x, x.mean(), "wsr") < 1e-6


def test_wsr_keeps_what_was_won_before_a_losing_streak():
    """The maximum of the process, not its end: Ville's inequality allows to stop at the best moment."""
    x = np.r_[np.zeros(100), np.ones(100)]
    most = betting.most_log_capital(np.column_stack([x, x[::-1]]))(0.5)
    won = capital_by_hand([0.0] * 100 + [1.0] * 100, 0.5)
    assert np.exp(most[0]) == pytest.approx(won) and won > 1e4
    assert most[1] < 0


def test_stakes_look_only_back():
    x = columns(300, seed=6)
    changed = x.copy()
    changed[20:] = 1 - changed[20:]
    before, after = betting.stakes(x), betting.stakes(changed)
    assert (before[:21] == after[:21]).all() and (before[21] != after[21]).any()
    assert (before >= 0).all() and (before <= 1).all()


# ---------------------------------------------------------------- bound and p-value say the same


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("n", [1, 2, 8, 90, 1500])
def test_upper_is_at_most_alpha_exactly_when_p_is_at_most_delta(bound, n):
    x = columns(n, seed=7, binary=bound == "binomial")
    for delta in (1e-4, 0.05, 0.1, 0.45, 0.9):
        for column, limit in zip(x.T, upper(x, delta, bound), strict=True):
            if limit < 1 - 1e-9:
                assert p_value(column, limit + 1e-9, bound) <= delta
            if limit > 2e-9:
                assert p_value(column, min(limit - 1e-9, 1 - 1e-9), bound) > delta


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounds_fall_with_delta_and_p_falls_with_alpha(bound):
    x = columns(60, seed=8, binary=bound == "binomial")
    grid = np.linspace(0.01, 0.99, 25)
    assert (np.diff([upper(x, level, bound) for level in grid], axis=0) <= 1e-12).all()
    assert (np.diff([p_value(x, level, bound) for level in grid], axis=0) <= 1e-12).all()


EIGHTHS = st.integers(0, 8).map(lambda k: k / 8)
LOSSES = npst.arrays(float, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=EIGHTHS)


@settings(max_examples=60, deadline=None)
@given(x=LOSSES, level=st.floats(0.01, 0.99), data=st.data())
def test_higher_losses_never_look_safer_to_the_bounds_that_see_the_mean(x, level, data):
    """Not so for `empirical_bernstein` and `wsr`: a higher loss may lower the variance."""
    higher = np.maximum(x, data.draw(npst.arrays(float, x.shape, elements=EIGHTHS)))
    for bound in ("hoeffding", "hoeffding_bentkus"):
        assert (upper(higher, level, bound) >= upper(x, level, bound) - 1e-12).all()
        assert (p_value(higher, level, bound) >= p_value(x, level, bound) - 1e-12).all()
    binary, higher_binary = np.round(x), np.maximum(np.round(x), np.round(higher))
    assert (upper(higher_binary, level, "binomial") >= upper(binary, level, "binomial")).all()
    assert (p_value(higher_binary, level, "binomial") >= p_value(binary, level, "binomial")).all()


@settings(max_examples=60, deadline=None)
@given(x=LOSSES, level=st.floats(0.01, 0.99), data=st.data(), bound=st.sampled_from(BOUNDS))
def test_columns_do_not_know_of_each_other_nor_rows_of_their_order(x, level, data, bound):
    x = np.round(x) if bound == "binomial" else x
    shuffled = data.draw(st.permutations(range(x.shape[1])))
    rows = np.arange(len(x)) if bound == "wsr" else data.draw(st.permutations(range(len(x))))
    for function in (upper, p_value):
        whole = function(x, level, bound)
        assert whole.shape == (x.shape[1],) and (whole >= 0).all() and (whole <= 1).all()
        np.testing.assert_allclose(function(x[:, shuffled][rows], level, bound), whole[shuffled], rtol=1e-9, atol=1e-12)
        for j in range(x.shape[1]):
            single = function(x[:, j], level, bound)
            assert isinstance(single, float) and single == pytest.approx(whole[j], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("cells", [1, 100, 250])
def test_blocks_of_columns_change_nothing(monkeypatch, bound, cells):
    x = columns(50, width=9, seed=9, binary=bound == "binomial")
    whole = upper(x, 0.1, bound), p_value(x, 0.4, bound)
    monkeypatch.setattr(bounds, "CELLS", cells)
    assert (upper(x, 0.1, bound) == whole[0]).all() and (p_value(x, 0.4, bound) == whole[1]).all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_tables_of_booleans_and_single_precision_are_taken(bound):
    x = columns(50, seed=10, binary=True)
    for dtype in (bool, np.int64, np.float32):
        before = x.astype(dtype)
        assert (upper(before, 0.1, bound) == upper(x, 0.1, bound)).all()
        assert (p_value(before, 0.4, bound) == p_value(x, 0.4, bound)).all()
        assert before.dtype == dtype and (before == x).all()


# ---------------------------------------------------------------- both ends, and what is refused


@pytest.mark.parametrize("bound", BOUNDS)
def test_without_queries_nothing_is_said(bound):
    for function in (upper, p_value):
        assert function(np.empty((0, 3)), 0.1, bound).tolist() == [1, 1, 1]
        assert function(np.empty(0), 0.1, bound) == 1
        assert function(np.empty((5, 0)), 0.1, bound).shape == (0,)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("n", [1, 2, 40])
def test_losses_that_are_all_one(bound, n):
    assert upper(np.ones(n), 0.1, bound) == 1
    assert p_value(np.ones(n), 0.99, bound) > 0.5


def test_losses_that_are_all_zero():
    n, delta = 300, 0.05
    x = np.zeros(n)
    assert upper(x, delta, "binomial") == pytest.approx(1 - delta ** (1 / n))
    assert upper(x, delta, "hoeffding_bentkus") == pytest.approx(1 - delta ** (1 / n))  # the entropy's tail is exact
    assert upper(x, delta, "empirical_bernstein") == pytest.approx(7 * math.log(2 / delta) / (3 * (n - 1)))
    assert upper(x, delta, "hoeffding") == pytest.approx(math.sqrt(math.log(1 / delta) / (2 * n)))
    assert math.log(1 / delta) / n < upper(x, delta, "wsr") < 1.5 * math.log(1 / delta) / n


@pytest.mark.parametrize("bound", FRACTIONAL)
@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf, 7])
def test_losses_outside_their_range_are_refused(bound, bad):
    x = columns(20)
    x[13, 2] = bad
    for function in (upper, p_value):
        with pytest.raises(ConfigError, match=r"a loss is .*, expected a number in \[0, 1\]: scale the losses"):
            function(x, 0.1, bound)


@pytest.mark.parametrize("bad", [0.5, 1e-12, 2, -1, np.nan])
def test_binomial_refuses_what_is_not_0_or_1_and_names_the_others(bad):
    x = columns(20, binary=True)
    x[3, 1] = bad
    for function in (upper, p_value):
        with pytest.raises(ConfigError, match=r"expected 0 or 1 for risk\.bound=binomial: choose one of hoef"):
            function(x, 0.1, "binomial")


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, float("nan")])
def test_levels_outside_their_range_are_refused(level):
    with pytest.raises(ConfigError, match=r"risk\.delta is .*between 0 and 1, both excluded"):
        upper(np.zeros(9), level, "wsr")
    with pytest.raises(ConfigError, match=r"risk\.alpha is .*between 0 and 1, both excluded"):
        p_value(np.zeros(9), level, "wsr")


def test_an_unknown_bound_and_a_wrong_shape_are_refused():
    for function in (upper, p_value):
        with pytest.raises(ConfigError, match=r"risk\.bound is 'bernstein', expected one of binomial, hoeffding"):
            function(np.zeros(9), 0.1, "bernstein")
        with pytest.raises(ConfigError, match=r"shape \(2, 2, 2\), expected \(n,\) or \(n, L\)"):
            function(np.zeros((2, 2, 2)), 0.1, "wsr")


# ---------------------------------------------------------------- the promise, by simulation

KINDS = ("bernoulli", "two-point", "beta", "rare failures")


def draws(kind: str, mean: float, n: int, trials: int, rng: np.random.Generator) -> np.ndarray:
    """`trials` samples of `n` losses of this very mean, one a column: (n, trials)."""
    size = (n, trials)
    if kind == "bernoulli":
        return (rng.random(size) < mean).astype(float)
    if kind == "two-point":
        return 0.7 * (rng.random(size) < mean / 0.7)
    if kind == "beta":
        return rng.beta(0.5, 0.5 * (1 - mean) / mean, size)
    rare = mean / 10  # a floor that nearly all share, and a few queries that lose everything
    return np.where(rng.random(size) < rare, 1.0, (mean - rare) / (1 - rare))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mean", [0.005, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("n", [5, 20, 100, 2000])
def test_p_is_super_uniform_at_the_edge_of_the_hypothesis(n, mean, kind):
    """So the bound of level u lies below the true mean with probability at most u, for every u."""
    trials = 4000 if n < 2000 else 600
    x = draws(kind, mean, n, trials, np.random.default_rng(n + round(1000 * mean)))
    for bound in BOUNDS if kind == "bernoulli" else FRACTIONAL:
        p = p_value(x, mean, bound)
        for u in (0.01, 0.05, 0.1, 0.25, 0.5):
            assert (p <= u).mean() <= u + 3 * math.sqrt(u * (1 - u) / trials), (bound, u)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("n, mean", [(30, 0.02), (300, 0.1)])
def test_the_bound_lies_below_the_true_mean_in_at_most_delta_of_the_draws(bound, n, mean):
    trials = 2000
    for kind in KINDS[:1] if bound == "binomial" else KINDS:
        bounds_ = upper(draws(kind, mean, n, trials, np.random.default_rng(n)), 0.1, bound)
        assert (bounds_ < mean).mean() <= 0.1 + 3 * math.sqrt(0.09 / trials), kind


@pytest.mark.parametrize("n", [5, 60, 2000])
def test_binomial_is_tight_at_every_mean_that_is_a_bound(n):
    """Just above the bound of j errors, j errors or fewer come with probability delta: the bound cannot be lower."""
    for delta in (0.01, 0.1, 0.5):
        for j in range(0, n, max(n // 7, 1)):
            mean = binomial_upper(j, n, delta) * (1 + 1e-12)
            broken = binomial_upper(np.arange(n + 1), n, delta) < mean
            assert stats.binom.pmf(np.arange(n + 1), n, mean)[broken].sum() == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize("kind, mean", [("bernoulli", 0.1), ("bernoulli", 0.5), ("beta", 0.1), ("beta", 0.3)])
def test_with_many_queries_the_bounds_that_see_the_variance_reach_their_rate(kind, mean):
    """The distance from the mean tends to sd * sqrt(2 ln(1 / delta) / n), as if the variance were known."""
    n, delta = 20_000, 0.05
    x = draws(kind, mean, n, 40, np.random.default_rng(11))
    rate = x.std() * math.sqrt(2 * math.log(1 / delta) / n)
    width = (upper(x, delta, "wsr") - x.mean(axis=0)) / rate
    assert (width < 1.03).all() and 0.7 < width.mean() < 0.95  # 1 by the capital at the end, less by its maximum
    width = (upper(x, delta, "empirical_bernstein") - x.mean(axis=0)) / rate
    limit = math.sqrt(math.log(2 / delta) / math.log(1 / delta))
    assert (width > 0.95 * limit).all() and (width < 1.35 * limit).all()


@pytest.mark.parametrize("bound", FRACTIONAL)
def test_rows_sorted_by_task_break_no_promise(bound):
    """The easy task first, as tables come. Over several n, as wsr promises it on average over its shuffles."""
    trials, delta, rng, broken = 500, 0.1, np.random.default_rng(13), []
    for n in range(200, 400, 10):
        easy, hard = rng.random((n // 2, trials)) < 0.05, rng.random((n // 2, trials)) < 0.35
        broken.append((p_value(np.concatenate([easy, hard]), 0.2, bound) <= delta).mean())
    assert np.mean(broken) <= delta  # without the shuffle all of the draws are broken


# ---------------------------------------------------------------- the band over all cuts


@pytest.mark.parametrize("delta", [0.001, 0.05, 0.1, 0.5])
def test_dkw_holds_by_the_exact_law_and_is_nearly_tight(delta):
    """P(sup of F_n - F > w) has a closed form for continuous F (Smirnov; scipy's ksone)."""
    for n in (1, 2, 10, 100, 5000):
        assert stats.ksone.sf(dkw_width(n, delta), n) <= delta
    assert stats.ksone.sf(dkw_width(5000, delta), 5000) > 0.97 * delta


@pytest.mark.parametrize("levels", [1, 3, 20, None])
def test_dkw_bounds_the_risk_of_all_cuts_at_once(levels):
    """S on 1..levels, or uniform: the true risk of a cut is known; even the worst cut must lie within the band."""
    n, trials, delta, rng = 150, 2000, 0.1, np.random.default_rng(12)
    if levels is None:
        served = np.sort(rng.random((trials, n)), axis=1)
        worst = (np.arange(1, n + 1) / n - served).max(axis=1)  # risk - observed = F_n - F, largest at a jump
    else:
        counts = rng.multinomial(n, np.full(levels, 1 / levels), size=trials)
        worst = (np.cumsum(counts, axis=1) / n - np.arange(1, levels + 1) / levels).max(axis=1)
    broken = (worst > dkw_width(n, delta)).mean()
    assert broken <= delta + 3 * math.sqrt(delta * (1 - delta) / trials)
    if levels is None:
        assert broken > 0.7 * delta


def test_dkw_without_queries_and_beyond_its_theorem():
    assert dkw_width(0, 0.1) == 1 and dkw_width(1, 1e-9) == 1
    assert dkw_width(200, 0.1) == pytest.approx(math.sqrt(math.log(10) / 400))
    for delta in (0, 0.51, 1, -1, float("nan")):
        with pytest.raises(ConfigError, match=r"risk\.delta is .*at most 0\.5 for a DKW band"):
            dkw_width(100, delta)
