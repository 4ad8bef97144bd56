"""Weighted calibration: the cut in exact fractions, the promise under known covariate shift, the estimated weights."""

import json
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from racer.conformal import allowed_unserved, calibrate
from racer.errors import ConfigError, Infeasible
from racer.weighted import DensityRatio, WeightedCalibration, calibrate_weighted, density_ratio


def slow_cut(served: list[float], weights: list[float], w: float, alpha: str) -> float:
    """The definition, without a rounding; `alpha` as one writes it, in decimals."""
    total = sum(map(Fraction, weights), Fraction(0))
    for cut in sorted({-math.inf, *served}):
        unserved = sum((Fraction(v) for s, v in zip(served, weights, strict=True) if s > cut), Fraction(0))
        if unserved + Fraction(w) <= Fraction(alpha) * (total + Fraction(w)):
            return cut
    return math.inf


@pytest.mark.parametrize("alpha", ["0.01", "0.05", "0.07", "0.1", "0.13", "0.2", "0.29", "0.3", "0.5", "0.7", "0.9"])
def test_unit_weights_give_crc_at_every_n(alpha):
    for n in range(1, 400):
        served, allowed = np.arange(n, dtype=float), (Fraction(alpha) * (n + 1)).__floor__() - 1
        got = WeightedCalibration(served, np.ones(n), float(alpha)).cut_of(np.ones(1))[0]
        assert got == (n - allowed - 1 if allowed >= 0 else np.inf), n
        assert allowed == allowed_unserved(n, float(alpha), "crc")


@pytest.mark.parametrize("n", [9, 29, 69, 99, 360])
def test_unit_weights_give_crc_at_every_reachable_alpha(n):
    """alpha = k / (n + 1) allows k - 1, the next float below allows one less; a product of floats is off here."""
    for k in range(2, n + 1):
        for alpha, allowed in ((k / (n + 1), k - 1), (np.nextafter(k / (n + 1), 0), k - 2)):
            assert WeightedCalibration(np.arange(n), np.ones(n), alpha).cut_of(np.ones(1))[0] == n - allowed - 1


def test_equal_weights_of_any_size_give_the_cut_of_crc():
    """Also where alpha = k / (n + 1) exactly, for weights whose sums are exact."""
    served = np.random.default_rng(0).random(199)
    for w in (1, 0.25, 3, 2.0**40):
        for alpha in (0.07, 0.1, 0.5):
            c = calibrate_weighted(served, np.full(199, w), alpha)
            assert c.cut_of(np.array([w]))[0] == calibrate(served, alpha, "crc").cut
            assert c.n_eff == pytest.approx(199, rel=1e-12)


@pytest.mark.parametrize("kind", ["continuous", "tied", "half free", "capped", "zero weights", "one heavy"])
@pytest.mark.parametrize("alpha", ["0.1", "0.25", "0.6"])
def test_the_cut_is_the_smallest_that_the_definition_allows(kind, alpha):
    rng = np.random.default_rng(1)
    for n in (1, 4, 23, 40):
        served, weights = rng.random(n), rng.integers(1, 33, n) / 8
        if kind == "tied":
            served = np.round(served * 4) / 4
        elif kind == "half free":
            served[rng.random(n) < 0.5] = -np.inf
        elif kind == "capped":
            served[rng.random(n) < 0.1] = np.inf
        elif kind == "zero weights":
            weights[1:][rng.random(n - 1) < 0.4] = 0
        elif kind == "one heavy":
            weights[0] = 64
        order = np.argsort(served, kind="stable")
        c = WeightedCalibration(served[order], weights[order], float(alpha))
        w = np.concatenate([[0, 1 / 1024], rng.integers(1, 65, 30) / 8])
        slow = [slow_cut(served.tolist(), weights.tolist(), v, alpha) for v in w.tolist()]
        assert c.cut_of(w).tolist() == slow
        assert [c.cut_of(w[i : i + 1])[0] for i in range(len(w))] == slow


def test_the_constructor_sorts_and_keeps_pairs_together():
    served, weights = np.array([0.9, 0.1, 0.5]), np.array([1.0, 8.0, 2.0])
    c = calibrate_weighted(served, weights, 0.2)
    assert c.served.tolist() == [0.1, 0.5, 0.9] and c.weights.tolist() == [8, 2, 1]
    assert c.cut_of(np.array([1.0])).tolist() == [0.5]  # (1 + 1) / 12 <= .2 < (3 + 1) / 12
    assert served.tolist() == [0.9, 0.1, 0.5]


def test_cuts_rise_with_the_weight_and_bounded_serves_all_below():
    rng = np.random.default_rng(2)
    c = calibrate_weighted(rng.random(80), rng.random(80) * 3, 0.15)
    w = np.linspace(0, c.largest_weight * 1.2, 200)
    cuts = c.cut_of(w)
    assert (np.diff(cuts[np.isfinite(cuts)]) >= 0).all() and (np.diff(np.isfinite(cuts).astype(int)) <= 0).all()
    for i in (0, 50, 120):
        assert c.bounded(w[i]) == cuts[i] and (cuts[: i + 1] <= c.bounded(w[i])).all()


def test_the_largest_weight_is_where_cuts_end():
    rng = np.random.default_rng(3)
    for capped in (0, 1):
        served = rng.random(60)
        served[:capped] = np.inf
        c = calibrate_weighted(served, rng.random(60) + 0.1, 0.15)
        edge = c.largest_weight
        assert np.isfinite(c.cut_of(np.array([edge * (1 - 1e-9)]))[0])
        assert c.cut_of(np.array([edge * (1 + 1e-9)]))[0] == np.inf


def test_the_effective_size_by_hand():
    assert calibrate_weighted(np.arange(3.0), np.array([1.0, 2, 3]), 0.5).n_eff == pytest.approx(36 / 14)


# ---------------------------------------------------------------- refused


def test_too_few_queries_are_infeasible_and_the_error_says_what_helps():
    with pytest.raises(Infeasible, match=r"alpha=0.1 is out of reach for a query of weight 2") as caught:
        calibrate_weighted(np.arange(8.0), np.full(8, 2.0), 0.1)
    assert (caught.value.n, caught.value.needed) == (8, 9) and caught.value.reachable == pytest.approx(1 / 9)
    assert calibrate_weighted(np.arange(9.0), np.full(9, 2.0), 0.1).cut_of(np.array([2.0]))[0] == 8
    c = calibrate_weighted(np.arange(40.0), np.ones(40), 0.1)
    with pytest.raises(Infeasible) as caught:
        c.bounded(10.0)
    assert caught.value.needed == 90 and np.isfinite(c.bounded(4.0))
    assert np.isfinite(calibrate_weighted(np.arange(90.0), np.ones(90), 0.1).bounded(10.0))
    assert np.isfinite(calibrate_weighted(np.arange(40.0), np.ones(40), caught.value.reachable + 1e-9).bounded(10.0))


def test_weight_that_the_hard_limits_lose_is_infeasible_at_any_n():
    served = np.where(np.arange(100) < 20, np.inf, 0.5)
    with pytest.raises(Infeasible, match=r"0.2000 of the weight cannot be served within the hard limits") as caught:
        calibrate_weighted(served, np.ones(100), 0.15)
    assert caught.value.needed is None and caught.value.reachable == pytest.approx(21 / 101)
    light = np.where(served == np.inf, 0.1, 1.0)  # the traffic holds few of them
    assert calibrate_weighted(served, light, 0.15).cut_of(np.ones(1))[0] == 0.5


@pytest.mark.parametrize("weights, message", [
    (np.ones(9), "one weight per query"), (np.full(10, np.nan), "finite numbers >= 0"),
    (np.append(np.ones(9), -1), "finite numbers >= 0"), (np.append(np.ones(9), np.inf), "finite numbers >= 0"),
    (np.zeros(10), "sum to 0"), (np.ones((10, 1)), "finite numbers >= 0, one per query")])
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        calibrate_weighted(np.arange(10.0), weights, 0.5)


def test_nan_and_alpha_outside_its_range_are_refused():
    with pytest.raises(ConfigError, match="S = NaN"):
        calibrate_weighted(np.array([0.1, np.nan]), np.ones(2), 0.5)
    for alpha in (0, 1, float("nan")):
        with pytest.raises(ConfigError, match=r"risk\.alpha"):
            calibrate_weighted(np.arange(5.0), np.ones(5), alpha)
    with pytest.raises(ConfigError, match="finite numbers >= 0"):
        calibrate_weighted(np.arange(5.0), np.ones(5), 0.5).cut_of(np.array([np.nan]))


# ---------------------------------------------------------------- the promise, by simulation


def shifted_risks(n: int, alpha: float, trials: int, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    """The true risk under the traffic of weighted calibration and of plain `crc`, (trials,) each.

    Calibration: x uniform on 20 values. Traffic: density 2x. S = x + uniform noise, so hard queries are more common in
    the traffic, and the risk of a cut per x is exact.
    """
    rng, x, levels = np.random.default_rng(n), (np.arange(20) + 0.5) / 20, np.arange(4) / 4
    weighted, plain = np.empty((2, trials))
    risk = (lambda cut: (x[:, None] + levels > cut[:, None]).mean(axis=1)) if tied else (
        lambda cut: np.clip(1 - (cut - x), 0, 1))
    for t in range(trials):
        own = rng.choice(x, n)
        noise = rng.choice(levels, n) if tied else rng.random(n)
        c = calibrate_weighted(own + noise, 2 * own, alpha)
        weighted[t] = (2 * x / 20) @ risk(c.cut_of(2 * x))
        plain[t] = (2 * x / 20) @ risk(np.full(20, calibrate(own + noise, alpha, "crc").cut))
    return weighted, plain


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n, alpha", [(15, 0.2), (60, 0.1), (150, 0.3)])
def test_exact_weights_keep_the_promise_where_plain_crc_breaks_it(n, alpha, tied):
    trials = 1500
    weighted, plain = shifted_risks(n, alpha, trials, tied)
    assert weighted.mean() <= alpha + 3 * weighted.std() / math.sqrt(trials)
    if not tied:
        assert weighted.mean() >= alpha - 2.5 / n  # not by admitting everyone: at most one query's weight is lost
    if n >= 60 and not tied:
        assert plain.mean() > alpha + 6 * plain.std() / math.sqrt(trials)


def test_scaling_all_weights_changes_nothing():
    rng = np.random.default_rng(4)
    served, weights, w = rng.random(50), rng.integers(1, 9, 50).astype(float), np.arange(1.0, 9)
    cuts = calibrate_weighted(served, weights, 0.2).cut_of(w)
    assert (calibrate_weighted(served, weights * 1024, 0.2).cut_of(w * 1024) == cuts).all()


# ---------------------------------------------------------------- estimated weights


def gaussian_shift(rng: np.random.Generator, n: int, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Calibration N(0, I), traffic N(mu, I) with mu = (1, 0, ...): the log ratio is x_1 - 1/2, linear."""
    return rng.normal(size=(n, d)), rng.normal(size=(n // 2, d)) + np.eye(d)[0]


def test_the_ratio_of_two_gaussians_is_found():
    rng = np.random.default_rng(5)
    ratio = density_ratio(*gaussian_shift(rng, 8000), clip=(1e-3, 1e3))
    x = rng.normal(size=(5, 3))
    assert np.log(ratio.weights(x)) == pytest.approx(x[:, 0] - 0.5, abs=0.15)
    assert ratio.weights(rng.normal(size=(20000, 3))).mean() == pytest.approx(1, abs=0.1)  # n / k is accounted for


def test_without_a_shift_weights_are_near_one():
    rng = np.random.default_rng(6)
    ratio = density_ratio(rng.normal(size=(300, 20)), rng.normal(size=(200, 20)))
    assert np.abs(np.log(ratio.weights(rng.normal(size=(500, 20))))).max() < 0.35
    assert ratio.strength <= 0.01


def test_weights_are_the_classifiers_odds_whatever_the_scale_of_a_feature():
    from sklearn.linear_model import LogisticRegression
    old, new = gaussian_shift(np.random.default_rng(7), 400)
    old, new = (np.column_stack([x * [1, 1e4, 1e-4] + 7, np.full(len(x), 3.0)]) for x in (old, new))  # one is constant
    ratio = density_ratio(old, new, clip=(1e-9, 1e9))
    both = np.concatenate([old, new])
    standard = (both - both.mean(axis=0)) / np.where(both.std(axis=0) > 0, both.std(axis=0), 1)
    fit = LogisticRegression(C=ratio.strength, max_iter=1000).fit(standard, np.repeat([0, 1], [400, 200]))
    p = fit.predict_proba(standard)
    assert ratio.weights(both) == pytest.approx(p[:, 1] / p[:, 0] * 2, rel=1e-9)


def test_a_feature_that_never_varies_has_no_say():
    """.1 is no binary fraction: its standard deviation is rounding error, not 0."""
    rng = np.random.default_rng(10)
    old, new = (np.column_stack([x, np.full(len(x), 0.1)]) for x in gaussian_shift(rng, 300))
    ratio, query = density_ratio(old, new), rng.normal(size=(20, 3))
    assert np.concatenate([old, new]).std(axis=0)[-1] > 0 and ratio.scale[-1] == 1
    same, other = (ratio.weights(np.column_stack([query, np.full(20, value)])) for value in (0.1, 0.2))
    assert other == pytest.approx(same, rel=1e-9)


def test_weights_are_clipped_and_survive_json():
    old, new = gaussian_shift(np.random.default_rng(8), 300)
    ratio = density_ratio(old, new, clip=(0.5, 2.0))
    extreme = np.array([[-1e6, 0, 0], [1e6, 0, 0], [0.0, 0, 0]])
    weights = ratio.weights(extreme)
    assert weights[:2] == pytest.approx([0.5, 2.0]) and 0.5 < weights[2] < 2
    again = DensityRatio.from_dict(json.loads(json.dumps(ratio.to_dict())))
    assert (again.weights(old) == ratio.weights(old)).all() and again.clip == (0.5, 2.0)
    assert [ratio.weights(old[i : i + 1])[0] for i in range(5)] == pytest.approx(ratio.weights(old)[:5].tolist())
    assert density_ratio(old, new, clip=(0.5, 2.0)).to_dict() == ratio.to_dict()  # the same seed, the same weights


def test_weights_estimated_on_other_rows_keep_the_promise_up_to_the_stated_loss():
    """The risk is at most alpha + 1/2 E|v - w|, which can be computed here; plain `crc` is far above alpha."""
    rng, trials, n, alpha = np.random.default_rng(9), 150, 120, 0.1
    old, new = rng.normal(size=(3000, 3)), rng.normal(size=(1000, 3)) + np.eye(3)[0]
    gaps, weighted, plain = np.empty((3, trials))
    for t in range(trials):
        if t % 30 == 0:
            ratio = density_ratio(*gaussian_shift(rng, 400))
        v, w = ratio.weights(old), np.exp(old[:, 0] - 0.5)
        gaps[t] = 0.5 * np.abs(v / v.mean() - w / w.mean()).mean()
        own = rng.normal(size=(n, 3))
        served = own[:, 0] + rng.random(n)
        cut = calibrate_weighted(served, ratio.weights(own), alpha).cut_of(ratio.weights(new))
        weighted[t] = np.clip(1 - (cut - new[:, 0]), 0, 1).mean()
        plain[t] = np.clip(1 - (calibrate(served, alpha, "crc").cut - new[:, 0]), 0, 1).mean()
    assert weighted.mean() <= alpha + gaps.mean() + 3 * weighted.std() / math.sqrt(trials)
    assert gaps.mean() < 0.1 and weighted.mean() < 0.15 and plain.mean() > 0.3


@pytest.mark.parametrize("old, new, clip, message", [
    (np.zeros((9, 2)), np.zeros((9, 3)), (0.1, 10), r"traffic_features has shape \(9, 3\), expected .* \(n, 2\)"),
    (np.zeros(9), np.zeros((9, 1)), (0.1, 10), "calibration_features has shape"),
    (np.full((9, 2), np.nan), np.zeros((9, 2)), (0.1, 10), "finite numbers"),
    (np.zeros((4, 2)), np.zeros((9, 2)), (0.1, 10), "4 calibration and 9 traffic queries, expected at least 5"),
    (np.zeros((9, 2)), np.zeros((9, 2)), (10, 0.1), "0 < least < most"),
])
def test_samples_that_cannot_be_compared_are_refused(old, new, clip, message):
    with pytest.raises(ConfigError, match=message):
        density_ratio(old, new, clip)


def test_using_weights_needs_no_scikit_learn():
    script = ("import sys; from racer.weighted import DensityRatio; "
              "r = DensityRatio.from_dict(dict(mean=[0.], scale=[1.], coefficients=[1.], intercept=0., clip=[.1, 9.], "
              "strength=1.)); assert r.weights([[0.]])[0] == 1; assert 'sklearn' not in sys.modules")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
