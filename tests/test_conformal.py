"""Calibration: the rank in exact fractions, the cut by brute force, the promise by simulation.

The simulations know the true risk of every cut. They fail by chance with probability far below
1 %: seeds are fixed, and the margins are 3 to 4 standard errors.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from racer.conformal import (
    METHODS,
    Calibration,
    allowed_unserved,
    calibrate,
    check_feasible,
    least_alpha,
    least_n,
    observed_band,
)
from racer.errors import ConfigError, Infeasible
from racer.losses import least_cut, loss
from racer.sets import distance, null_probability, select

DELTA = {"crc": None, "pac": 0.1}


def keeps(unserved: int, n: int, alpha: str, method: str, delta: float | str | None) -> bool:
    """The rule of METHOD.md section 4 without a rounding; `alpha` as one writes it, in decimals."""
    a = Fraction(alpha)
    if method == "crc":
        return Fraction(unserved + 1, n + 1) <= a
    tail = sum((math.comb(n, i) * a**i * (1 - a) ** (n - i) for i in range(unserved + 1)), Fraction(0))
    return tail <= Fraction(str(delta))


# ---------------------------------------------------------------- how many may stay unserved


@pytest.mark.parametrize("alpha", ["0.001", "0.005", "0.01", "0.02", "0.05", "0.07", "0.1", "0.13", "0.15", "0.2",
                                   "0.25", "0.29", "0.3", "0.35", "0.4", "0.5", "0.57", "0.6", "0.7", "0.9", "0.99"])
def test_crc_counts_as_exact_fractions_do(alpha):
    """For every n to 2000, so for each alpha = k / (n + 1) among them, where a float product is off by one."""
    a = Fraction(alpha)
    for n in range(1, 2001):
        assert allowed_unserved(n, float(alpha), "crc") == (a * (n + 1)).__floor__() - 1, n


@pytest.mark.parametrize("n", [1, 2, 9, 29, 69, 99, 141, 360, 999])
def test_crc_counts_exactly_at_every_reachable_alpha(n):
    """alpha = k / (n + 1) allows k - 1; the next float below allows one less."""
    for k in range(1, n + 1):
        alpha = k / (n + 1)
        assert allowed_unserved(n, alpha, "crc") == k - 1
        assert allowed_unserved(n, np.nextafter(alpha, 0), "crc") == k - 2


@pytest.mark.parametrize("n, alpha, allowed", [(9, 0.1, 0), (99, 0.1, 9), (999, 0.1, 99), (1000, 0.1, 99),
                                               (9, 0.3, 2), (99, 0.3, 29), (99, 0.07, 6), (199, 0.07, 13),
                                               (98, 0.01, -1), (99, 0.01, 0)])
def test_crc_counts_by_hand(n, alpha, allowed):
    assert allowed_unserved(n, alpha, "crc") == allowed


@pytest.mark.parametrize("delta", ["0.01", "0.1", "0.45"])
@pytest.mark.parametrize("alpha", ["0.02", "0.1", "0.3", "0.5", "0.85"])
def test_pac_counts_as_exact_fractions_do(alpha, delta):
    for n in (*range(1, 41), 57, 90):
        slow = max((j for j in range(n) if keeps(j, n, alpha, "pac", delta)), default=-1)
        assert allowed_unserved(n, float(alpha), "pac", float(delta)) == slow, n


def test_pac_counts_exactly_where_the_tail_equals_delta():
    """Binary fractions, so that both sides are exact: the tail may equal delta."""
    assert allowed_unserved(1, 0.5, "pac", 0.5) == 0
    assert allowed_unserved(2, 0.5, "pac", 0.25) == 0
    assert allowed_unserved(2, 0.5, "pac", np.nextafter(0.25, 0)) == -1
    assert allowed_unserved(3, 0.5, "pac", 0.5) == 1  # P(Bin(3, 1/2) <= 1) = 1/2


def test_pac_allows_87_of_1000_where_crc_allows_99():
    assert allowed_unserved(1000, 0.1, "pac", 0.1) == 87
    assert stats.binom.cdf(87, 1000, 0.1) <= 0.1 < stats.binom.cdf(88, 1000, 0.1)
    assert 1 - stats.beta.cdf(0.1, 99 + 1, 1000 - 99) == pytest.approx(0.485, abs=0.001)  # crc, this calibration set


@pytest.mark.parametrize("n", [1, 2, 101, 20_000])
def test_the_search_finds_what_trying_every_count_does(n):
    """pac against scipy's own tails, every count at once; crc against an exact floor."""
    rng = np.random.default_rng(n)
    for alpha in (1e-4, 0.005, 0.1, 0.5, 0.999, *rng.random(10)):
        for delta in (1e-12, 0.01, 0.1, 0.9):
            kept = stats.binom.cdf(np.arange(n), n, alpha) <= delta
            assert allowed_unserved(n, alpha, "pac", delta) == kept.sum() - 1
        assert allowed_unserved(n, alpha, "crc") == min((Fraction(alpha) * (n + 1)).__floor__(), n) - 1


@pytest.mark.parametrize("method", METHODS)
def test_more_is_allowed_with_more_queries_alpha_or_delta(method):
    over_n = [allowed_unserved(n, 0.13, method, 0.1) for n in range(1, 200)]
    over_alpha = [allowed_unserved(60, a, method, 0.1) for a in np.linspace(0.001, 0.999, 99)]
    assert set(np.diff(over_n)) == {0, 1}
    assert min(np.diff(over_alpha)) >= 0 and over_alpha[-1] == 59
    over_delta = [allowed_unserved(60, 0.2, "pac", d) for d in np.linspace(0.001, 0.999, 99)]
    assert min(np.diff(over_delta)) >= 0


# ---------------------------------------------------------------- feasible or not


@pytest.mark.parametrize("alpha, method, delta, needed", [
    ("0.01", "pac", "0.05", 299), ("0.01", "crc", None, 99), ("0.1", "pac", "0.1", 22), ("0.1", "crc", None, 9),
    ("0.05", "crc", None, 19), ("0.3", "crc", None, 3), ("0.5", "crc", None, 1), ("0.9", "crc", None, 1),
    ("0.5", "pac", "0.25", 2), ("0.5", "pac", "0.24", 3), ("0.95", "pac", "0.1", 1), ("0.001", "crc", None, 999),
])
def test_least_n_is_known_and_least(alpha, method, delta, needed):
    given = None if delta is None else float(delta)
    assert least_n(float(alpha), method, given) == needed
    assert keeps(0, needed, alpha, method, delta)
    assert not keeps(0, needed - 1, alpha, method, delta) or needed == 1


@pytest.mark.parametrize("method", METHODS)
def test_least_n_is_the_first_n_that_is_allowed(method):
    for alpha in (0.013, 0.07, 0.1, 0.29, 0.3, 0.33, 0.6, 0.97):
        n = least_n(alpha, method, DELTA[method])
        assert n >= 1
        feasible = [allowed_unserved(k, alpha, method, DELTA[method]) >= 0 for k in range(n + 3)]
        assert feasible == [False] * n + [True] * 3


@pytest.mark.parametrize("n", [1, 5, 99, 460])
def test_least_alpha_is_where_it_begins(n):
    assert least_alpha(n, "crc") == 1 / (n + 1)
    assert allowed_unserved(n, least_alpha(n, "crc"), "crc") == 0
    assert least_alpha(n, "pac", 0.1) == pytest.approx(1 - 0.1 ** (1 / n), rel=1e-12)
    for method in METHODS:
        reachable = least_alpha(n, method, DELTA[method])
        assert allowed_unserved(n, reachable * (1 + 1e-9), method, DELTA[method]) == 0
        assert allowed_unserved(n, reachable * (1 - 1e-9), method, DELTA[method]) == -1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("alpha", [0.005, 0.02, 0.1, 0.3, 0.5])
def test_infeasible_exactly_below_the_n_it_names(method, alpha):
    needed = least_n(alpha, method, DELTA[method])
    assert calibrate(np.linspace(0, 1, needed), alpha, method, DELTA[method]).allowed == 0
    check_feasible(needed, alpha, method, DELTA[method])
    for n in {0, needed // 2, needed - 1}:
        with pytest.raises(Infeasible) as caught:
            calibrate(np.linspace(0, 1, n), alpha, method, DELTA[method])
        assert (caught.value.n, caught.value.needed) == (n, needed)
        assert caught.value.reachable == least_alpha(n, method, DELTA[method])
        for words in (f"needs n >= {needed} calibration queries", f"got n = {n}", f"on {needed - n} more"):
            assert words in str(caught.value)


def test_the_alpha_that_the_error_recommends_works():
    for n in (3, 28, 100, 998):
        for method in METHODS:
            with pytest.raises(Infeasible) as caught:
                check_feasible(n, 1e-4, method, DELTA[method])
            recommended = float(str(caught.value).rsplit(" ", 1)[1])
            assert caught.value.reachable <= recommended < caught.value.reachable + 2e-4
            check_feasible(n, recommended, method, DELTA[method])


# ---------------------------------------------------------------- the cut


def brute_force(served: np.ndarray, alpha: str, method: str, delta: float | None) -> float:
    """The smallest cut such that it, and every larger one, keeps the promise."""
    candidates = sorted({-math.inf, *served.tolist()})
    good = [keeps(sum(s > cut for s in served.tolist()), len(served), alpha, method, delta) for cut in candidates]
    return min(cut for i, cut in enumerate(candidates) if all(good[i:]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["continuous", "tied", "half free", "all tied", "all free"])
def test_the_cut_is_the_smallest_that_keeps_the_promise(method, kind):
    rng = np.random.default_rng(0)
    for n, alpha in [(25, "0.1"), (29, "0.3"), (31, "0.25"), (47, "0.07"), (8, "0.5"), (39, "0.9")]:
        served = rng.random(n)
        if kind == "tied":
            served = np.round(served * 4) / 4
        elif kind == "half free":
            served[rng.random(n) < 0.5] = -np.inf
        elif kind == "all tied":
            served[:] = 0.3
        elif kind == "all free":
            served[:] = -np.inf
        if not keeps(0, n, alpha, method, DELTA[method]):
            continue
        c = calibrate(served, float(alpha), method, DELTA[method])
        assert c.cut == brute_force(served, alpha, method, DELTA[method])
        assert c.unserved == sum(s > c.cut for s in served.tolist()) <= c.allowed
        assert (c.n, c.method, c.alpha, c.delta) == (n, method, float(alpha), DELTA[method])
        if kind == "continuous":
            assert c.unserved == c.allowed
        if kind.startswith("all"):
            assert c.unserved == 0


def test_the_bound_is_what_the_method_attains():
    served = np.random.default_rng(1).random(200)
    crc, pac = calibrate(served, 0.1, "crc"), calibrate(served, 0.1, "pac", 0.05)
    assert crc.bound == float(Fraction(crc.unserved + 1, 201)) <= 0.1
    assert stats.binom.cdf(pac.unserved, 200, pac.bound) == pytest.approx(0.05, rel=1e-9)
    assert pac.bound <= 0.1 < stats.beta.ppf(0.95, pac.unserved + 2, 200 - pac.unserved - 1)
    tied = calibrate(np.zeros(200), 0.1, "pac", 0.05)
    assert tied.bound == pytest.approx(1 - 0.05 ** (1 / 200)) and (tied.cut, tied.unserved) == (0, 0)


def test_the_cut_is_one_of_the_numbers_to_the_last_bit_and_ignores_their_order():
    served = np.random.default_rng(2).random(333)
    cut = calibrate(served, 0.1).cut
    assert cut in served.tolist()
    assert calibrate(served[::-1], 0.1).cut == calibrate(np.sort(served), 0.1).cut == cut


@pytest.mark.parametrize("method", METHODS)
def test_every_set_may_be_empty_when_enough_queries_need_none(method):
    n = 100
    allowed = allowed_unserved(n, 0.2, method, DELTA[method])
    served = np.where(np.arange(n) < n - allowed, -np.inf, 0.5)  # just enough
    c = calibrate(served, 0.2, method, DELTA[method])
    assert (c.cut, c.unserved) == (-np.inf, allowed)
    served[0] = 0.25  # one too few
    assert calibrate(served, 0.2, method, DELTA[method]).cut == 0.25


def test_crc_takes_no_delta_and_pac_is_the_default():
    served = np.linspace(0, 1, 50)
    assert calibrate(served, 0.1, "crc", delta=0.3).delta is None
    assert calibrate(served, 0.1) == calibrate(served, 0.1, "pac", 0.1)


def test_calibrate_leaves_its_input_alone_and_takes_lists():
    served = np.random.default_rng(3).random(40)
    before = served.copy()
    assert calibrate(served, 0.2).cut == calibrate(before.tolist(), 0.2).cut
    assert (served == before).all()


# ---------------------------------------------------------------- refused


def test_nan_is_refused():
    with pytest.raises(ConfigError, match=r"S = NaN.*in \[0, 1\]"):
        calibrate(np.array([0.1] * 50 + [np.nan]), 0.1)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("method", METHODS)
def test_alpha_outside_its_range_is_refused(alpha, method):
    with pytest.raises(ConfigError, match=r"risk\.alpha is .*between 0 and 1, both excluded"):
        calibrate(np.zeros(50), alpha, method, 0.1)


@pytest.mark.parametrize("delta", [0, 1, -1, 2, None, float("nan")])
def test_delta_outside_its_range_is_refused_for_pac_only(delta):
    with pytest.raises(ConfigError, match=r"risk\.delta is .*both excluded, for pac"):
        calibrate(np.zeros(50), 0.1, "pac", delta)
    assert calibrate(np.zeros(50), 0.1, "crc", delta).cut == 0


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"risk\.method is 'CRC', expected one of crc, pac"):
        calibrate(np.zeros(50), 0.1, "CRC")


# ---------------------------------------------------------------- the promise, by simulation

JUST_FEASIBLE = [(alpha, least_n(alpha, method, DELTA[method]), method)
                 for alpha in (0.005, 0.02, 0.1, 0.3, 0.5) for method in METHODS]
ROOMY = [(0.02, 500, "crc"), (0.1, 137, "crc"), (0.3, 60, "crc"), (0.5, 41, "crc"),
         (0.02, 600, "pac"), (0.1, 137, "pac"), (0.3, 60, "pac"), (0.5, 41, "pac")]


def true_risks(draw, risk_of_cut, alpha: float, n: int, method: str, delta: float, trials: int) -> np.ndarray:
    """The true risk of each of `trials` calibrated cuts, (trials,)."""
    return np.array([risk_of_cut(calibrate(draw(n), alpha, method, delta).cut) for _ in range(trials)])


@pytest.mark.parametrize("alpha, n, method", JUST_FEASIBLE + ROOMY)
def test_without_ties_the_true_risk_follows_its_beta_law(alpha, n, method):
    """S uniform: a cut has true risk 1 - cut, distributed as Beta(j + 1, n - j); and the promise is tight."""
    trials, rng = 2000, np.random.default_rng(round(1000 * alpha) + n)
    risks = true_risks(rng.random, lambda cut: 1 - cut, alpha, n, method, 0.1, trials)
    j = allowed_unserved(n, alpha, method, 0.1)
    law = stats.beta(j + 1, n - j)
    assert stats.kstest(risks, law.cdf).pvalue > 1e-3
    assert abs(risks.mean() - (j + 1) / (n + 1)) <= 4 * law.std() / math.sqrt(trials)
    if method == "crc":
        assert alpha - 1 / (n + 1) < (j + 1) / (n + 1) <= alpha
        assert risks.mean() <= alpha + 3 * law.std() / math.sqrt(trials)
    else:
        violation = stats.binom.cdf(j, n, alpha)  # the exact probability of a broken promise
        assert violation <= 0.1 < stats.binom.cdf(j + 1, n, alpha)
        assert abs((risks > alpha).mean() - violation) <= 4 * math.sqrt(violation * (1 - violation) / trials)


@pytest.mark.parametrize("alpha, n, method", JUST_FEASIBLE + ROOMY)
@pytest.mark.parametrize("levels", [2, 5, 23])
def test_with_heavy_ties_the_promise_still_holds(alpha, n, method, levels):
    """S uniform on 1..levels: a cut of k has true risk 1 - k / levels, often exactly alpha."""
    trials, rng = 500, np.random.default_rng(levels * n)
    risks = true_risks(lambda size: rng.integers(1, levels + 1, size).astype(float),
                       lambda cut: (levels - int(cut)) / levels, alpha, n, method, 0.1, trials)
    if method == "crc":
        assert risks.mean() <= alpha + 3 * risks.std() / math.sqrt(trials)
    else:
        assert (risks > alpha).mean() <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / trials)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["misrouting", "miss"])
@pytest.mark.parametrize("family, null, alpha", [("probability", "learned", 0.1), ("gap", "one_minus_max", 0.3),
                                                 ("probability", "product", 0.1), ("gap", "free", 0.05)])
def test_the_promise_of_whole_sets_on_a_finite_world(method, name, family, null, alpha):
    """Queries drawn from 200 kinds with rounded, wrong probabilities: the risk of a cut is a sum over all kinds."""
    rng = np.random.default_rng(4)
    kinds, m, n, trials = 200, 4, 230, 400
    p, weight = np.round(rng.random((kinds, m + 1)), 1), rng.dirichlet(np.ones(kinds))
    p[:, -1] = null_probability(p[:, :-1], null, p[:, -1])
    outcomes = rng.random((kinds, m)) < 0.35  # unrelated to p: the worst router
    s = distance(p, family, null)
    served = least_cut(s, outcomes, name)
    risk_at = {cut: weight @ loss(select(s, cut), outcomes, name) for cut in np.unique(served)}
    risks = true_risks(lambda size: served[rng.choice(kinds, size, p=weight)], risk_at.__getitem__, alpha, n, method,
                       0.1, trials)
    if method == "crc":
        assert risks.mean() <= alpha + 3 * risks.std() / math.sqrt(trials)
    else:
        assert (risks > alpha).mean() <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / trials)
    assert risks.max() > 0  # the promise is not kept by serving everyone


# ---------------------------------------------------------------- what a new split may show


def calibration(n: int, alpha: float, method: str) -> Calibration:
    return calibrate(np.linspace(0, 1, n), alpha, method, DELTA[method])


def test_the_band_of_a_thousand_by_a_thousand():
    band = observed_band(calibration(1000, 0.1, "crc"), 1000)
    assert (band["low"], band["high"]) == (0.075, 0.127)
    assert observed_band(calibration(1000, 0.1, "pac"), 1000)["above_alpha"] == pytest.approx(0.16, abs=0.005)


@pytest.mark.parametrize("n, m, alpha, method", [(60, 37, 0.2, "crc"), (60, 37, 0.2, "pac"), (500, 1203, 0.02, "pac"),
                                                 (1, 1, 0.5, "crc"), (22, 9, 0.1, "pac"), (9, 700, 0.1, "crc")])
def test_the_band_is_the_quantiles_of_a_beta_binomial(n, m, alpha, method):
    c = calibration(n, alpha, method)
    law = stats.betabinom(m, c.allowed + 1, n - c.allowed)
    for level in (0.95, 0.5):
        band, tail = observed_band(c, m, level), (1 - level) / 2
        low, high = round(band["low"] * m), round(band["high"] * m)
        assert law.cdf(low) >= tail - 1e-9 and law.cdf(low - 1) < tail + 1e-9
        assert law.cdf(high) >= 1 - tail - 1e-9 and law.cdf(high - 1) < 1 - tail + 1e-9
        most = (Fraction(str(alpha)) * m).__floor__()  # the largest count with rate <= alpha
        assert band["above_alpha"] == pytest.approx(law.sf(most), abs=1e-9)


@pytest.mark.parametrize("n, m, alpha, method", [(80, 50, 0.2, "pac"), (120, 400, 0.1, "crc")])
def test_the_band_by_simulation(n, m, alpha, method):
    trials, rng = 2000, np.random.default_rng(7)
    band = observed_band(calibration(n, alpha, method), m)
    cuts = np.array([calibrate(rng.random(n), alpha, method, DELTA[method]).cut for _ in range(trials)])
    observed = (rng.random((trials, m)) > cuts[:, None]).mean(axis=1)
    above = band["above_alpha"]
    assert abs((observed > alpha).mean() - above) <= 4 * math.sqrt(above * (1 - above) / trials)
    se = math.sqrt(0.025 * 0.975 / trials)
    assert (observed < band["low"]).mean() <= 0.025 + 4 * se
    assert (observed > band["high"]).mean() <= 0.025 + 4 * se
    assert (observed <= band["low"]).mean() >= 0.025 - 4 * se  # and the band is no wider than need be
    assert (observed >= band["high"]).mean() >= 0.025 - 4 * se


def test_ties_only_lower_the_observed_risk():
    """Stochastically smaller: at every count the tied world exceeds it no more often than the band's law."""
    n = m = 60
    trials, rng = 2000, np.random.default_rng(8)
    c = calibration(n, 0.2, "pac")
    counts = np.empty(trials)
    for t in range(trials):
        old, new = rng.integers(1, 7, n).astype(float), rng.integers(1, 7, m)
        counts[t] = (new > calibrate(old, 0.2).cut).sum()
    law = stats.betabinom(m, c.allowed + 1, n - c.allowed)
    for k in range(m + 1):
        assert (counts > k).mean() <= law.sf(k) + 4 * math.sqrt(max(law.sf(k) * law.cdf(k), 1e-4) / trials)
