"""Many hypotheses at once: the procedures by their definitions, their family-wise error by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from racer.bounds import p_value
from racer.errors import ConfigError
from racer.testing import PROCEDURES, all_risks, fallback, pareto_front, pareto_order, rejected

P_VALUES = st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.0125, 0.02, 0.025, 0.03, 0.05, 0.1, 0.5, 1.0]), max_size=9)


def slow(p: list[float], delta: float, procedure: str) -> list[bool]:
    """The textbook's steps, one hypothesis after the other."""
    result = [False] * len(p)
    if procedure == "bonferroni":
        return [value <= delta / len(p) for value in p]
    order = list(range(len(p))) if procedure == "fixed_sequence" else sorted(range(len(p)), key=p.__getitem__)
    for step, k in enumerate(order):
        level = delta if procedure == "fixed_sequence" else delta / (len(p) - step)
        if p[k] > level:
            break
        result[k] = True
    return result


@pytest.mark.parametrize("procedure", PROCEDURES)
@settings(max_examples=150, deadline=None)
@given(p=P_VALUES)
def test_procedures_follow_the_textbook(procedure, p):
    assert rejected(np.array(p), 0.05, procedure).tolist() == slow(p, 0.05, procedure)


@settings(max_examples=100, deadline=None)
@given(p=P_VALUES, data=st.data())
def test_bonferroni_and_holm_do_not_mind_the_order_and_holm_rejects_no_less(p, data):
    shuffle = data.draw(st.permutations(range(len(p))))
    p = np.array(p)
    for procedure in ("bonferroni", "holm"):
        whole = rejected(p, 0.05, procedure)
        assert (rejected(p[shuffle], 0.05, procedure) == whole[shuffle]).all()
        assert (whole <= rejected(p, 0.2, procedure)).all()
    assert (rejected(p, 0.05, "bonferroni") <= rejected(p, 0.05, "holm")).all()


def test_procedures_by_hand():
    p = np.array([0.01, 0.012, 0.03, 0.002, 0.9, 0.001])
    assert rejected(p, 0.05, "fixed_sequence").tolist() == [True, True, True, True, False, False]
    assert rejected(p, 0.05, "bonferroni").tolist() == [False, False, False, True, False, True]  # 0.05 / 6 = 0.0083
    assert rejected(p, 0.05, "holm").tolist() == [True, True, False, True, False, True]  # 0.03 > 0.05 / 2


def test_a_level_that_is_met_exactly_is_enough():
    for procedure in PROCEDURES:
        assert rejected(np.array([0.0625, 0.0625]), 0.125, procedure).all()
        assert not rejected(np.array([0.9, 0.0625]), np.nextafter(0.0625, 0), procedure).any()


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_none_one_and_all(procedure):
    assert rejected(np.array([]), 0.1, procedure).shape == (0,)
    assert rejected(np.array([0.1]), 0.1, procedure).tolist() == [True]
    assert rejected(np.array([0.11]), 0.1, procedure).tolist() == [False]
    assert rejected(np.zeros(40), 0.1, procedure).all()
    assert not rejected(np.ones(40), 0.1, procedure).any()


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ConfigError, match=r"outside \[0, 1\] or NaN: take them from racer\.bounds\.p_value"):
        rejected(np.array([0.1, bad]), 0.1, "holm")


@pytest.mark.parametrize("delta", [0, 1, -1, float("nan")])
def test_levels_outside_their_range_are_refused(delta):
    with pytest.raises(ConfigError, match=r"risk\.delta is .*both excluded"):
        rejected(np.array([0.1]), delta, "holm")


def test_an_unknown_procedure_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="'hochberg', expected one of fixed_sequence, bonferroni, holm"):
        rejected(np.array([0.1]), 0.1, "hochberg")


# ---------------------------------------------------------------- family-wise error


def broken(p: np.ndarray, true: np.ndarray, delta: float, procedure: str) -> np.ndarray:
    """In which of the draws `p` (T, K) a hypothesis that is `true` (K,) falls, (T,) bool."""
    return np.array([(rejected(row, delta, procedure) & true).any() for row in p])


def correlated(rng: np.random.Generator, trials: int, shift: np.ndarray, rho: float) -> np.ndarray:
    """P-values (trials, K) of one-sided normal tests that share a part rho of their noise; uniform where shift = 0."""
    from scipy import special

    noise = math.sqrt(rho) * rng.standard_normal((trials, 1)) \
        + math.sqrt(1 - rho) * rng.standard_normal((trials, len(shift)))
    return special.ndtr(noise - shift)


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("true", ["all", "every second", "last", "first"])
def test_a_true_hypothesis_falls_with_probability_at_most_delta(procedure, rho, true):
    k, trials, delta = 12, 3000, 0.1
    kept = {"all": np.ones(k, bool), "every second": np.arange(k) % 2 == 1, "last": np.arange(k) == k - 1,
            "first": np.arange(k) == 0}[true]
    p = correlated(np.random.default_rng(3), trials, np.where(kept, 0.0, 3.5), rho)
    rate = broken(p, kept, delta, procedure).mean()
    assert rate <= delta + 3 * math.sqrt(delta * (1 - delta) / trials)
    if true == "last" and procedure != "bonferroni" and rho == 0.0:
        assert rate > 0.5 * delta  # the false ones fall first, and leave their level to the last


def test_fixed_sequence_and_holm_spend_all_of_delta_where_they_can():
    """All hypotheses true: fixed sequence errs when the first falls; independent Bonferroni 1 - (1 - delta / K)^K."""
    trials, delta, k = 20_000, 0.1, 5
    p = np.random.default_rng(4).random((trials, k))
    expected = {"fixed_sequence": delta, "bonferroni": 1 - (1 - delta / k) ** k, "holm": 1 - (1 - delta / k) ** k}
    for procedure, rate in expected.items():
        seen = broken(p, np.ones(k, bool), delta, procedure).mean()
        assert abs(seen - rate) <= 4 * math.sqrt(rate * (1 - rate) / trials)


@pytest.mark.parametrize("bound", ["binomial", "hoeffding_bentkus", "wsr"])
@pytest.mark.parametrize("procedure", PROCEDURES)
def test_learn_then_test_on_shared_queries(procedure, bound):
    """Ten nested configurations on the same queries, their true risks known: four above alpha, one exactly at it."""
    trials, n, alpha, delta, rng = 500, 150, 0.2, 0.1, np.random.default_rng(5)
    risks = np.array([0.05, 0.1, 0.13, 0.16, 0.19, 0.2, 0.22, 0.25, 0.3, 0.5])
    error, hits = 0, 0
    for _ in range(trials):
        table = (rng.random((n, 1)) < risks).astype(float)  # (n, K); one number per query decides all
        found = rejected(p_value(table, alpha, bound), delta, procedure)
        error += (found & (risks >= alpha)).any()
        hits += found.sum()
    assert error / trials <= delta + 3 * math.sqrt(delta * (1 - delta) / trials)
    assert hits / trials > 1.2  # and it finds something


def test_several_risks_need_no_correction():
    """One risk at its level, the other far below: the larger of the two p-values still is super-uniform."""
    trials, n, alpha = 4000, 100, 0.1
    rng = np.random.default_rng(6)
    p = np.column_stack([p_value(rng.random((n, trials)) < mean, alpha, "binomial") for mean in (0.1, 0.001)])
    both = all_risks(p)
    assert (both == np.where(p[:, 0] > p[:, 1], p[:, 0], p[:, 1])).all()
    for u in (0.01, 0.1, 0.5):
        assert (both <= u).mean() <= u + 3 * math.sqrt(u * (1 - u) / trials)


# ---------------------------------------------------------------- Pareto testing


def dominates(a: list[float], b: list[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


@settings(max_examples=150, deadline=None)
@given(risks=st.integers(1, 3).flatmap(lambda r: st.lists(st.lists(st.integers(0, 3), min_size=r, max_size=r),
                                                          min_size=1, max_size=12)))
def test_the_front_is_what_nothing_dominates(risks):
    expected = [k for k, row in enumerate(risks) if not any(dominates(other, row) for other in risks)]
    assert pareto_front(np.array(risks, dtype=float)).tolist() == expected


def test_the_front_survives_sums_that_round_to_the_same():
    """1 + 1e-17 is 1: the row that is smaller by less than a rounding of the sum still dominates."""
    risks = np.array([[1.0, 2e-17], [1.0, 1e-17], [1.0, 3e-17]])
    for order in itertools.permutations(range(3)):
        assert pareto_front(risks[list(order)]).tolist() == [order.index(1)]


def test_the_order_is_that_of_the_validation_p_values_on_the_front():
    risks = np.array([[0.1, 5], [0.2, 3], [0.3, 1], [0.3, 3], [0.05, 9], [0.2, 3]])
    p = np.array([0.04, 0.2, 0.6, 0.0, 0.01, 0.2])
    assert pareto_order(risks, p).tolist() == [4, 0, 1, 5, 2]  # 3 is dominated by 1, though its p-value is the least


def test_no_configuration_gives_no_order():
    assert pareto_order(np.empty((0, 2)), np.empty(0)).shape == (0,)


def test_shapes_and_nan_are_refused():
    with pytest.raises(ConfigError, match=r"shape \(3, 2\) and p-values \(2,\), expected \(K, R\) and \(K,\)"):
        pareto_order(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ConfigError, match=r"shape \(3,\)"):
        pareto_order(np.zeros(3), np.zeros(3))
    for risks, p in [([[0.1], [np.nan]], [0.1, 0.2]), ([[0.1], [0.2]], [0.1, np.nan])]:
        with pytest.raises(ConfigError, match="NaN: leave that configuration out"):
            pareto_order(np.array(risks), np.array(p))


def test_pareto_testing_keeps_its_level_and_beats_bonferroni_over_all():
    """Forty configurations trade risk against cost; validation data orders them, calibration data certifies."""
    trials, n, alpha, delta, k, rng = 400, 200, 0.15, 0.1, 40, np.random.default_rng(7)
    risks = np.r_[np.linspace(0.02, 0.4, k // 2), np.linspace(0.1, 0.5, k // 2)]  # the second half is dominated
    costs = np.r_[np.linspace(1, 0.1, k // 2), np.linspace(1.1, 0.2, k // 2)]
    error, pareto_cost, bonferroni_cost = 0, [], []
    for _ in range(trials):
        validation, calibration = (rng.random((n, k)) < risks for _ in range(2))
        order = pareto_order(np.column_stack([validation.mean(axis=0), costs]),
                             p_value(validation, alpha, "binomial"))
        p = p_value(calibration, alpha, "binomial")
        found = order[rejected(p[order], delta, "fixed_sequence")]
        error += (risks[found] >= alpha).any()
        pareto_cost.append(costs[found].min(initial=1.1))
        bonferroni_cost.append(costs[rejected(p, delta, "bonferroni")].min(initial=1.1))
    assert error / trials <= delta + 3 * math.sqrt(delta * (1 - delta) / trials)
    assert np.mean(pareto_cost) < np.mean(bonferroni_cost) - 0.01


# ---------------------------------------------------------------- the fallback procedure


def test_fallback_by_hand():
    """Of .1 half is the first one's, .0125 each of the others: it is handed on."""
    p = [0.05, 0.06, 0.08, 0.0124, 0.03]  # .05 <= .05; .06 <= .0625; .08 > .075; .0124 <= .0125; .03 > .025
    assert fallback(p, [0.05, *[0.0125] * 4]).tolist() == [True, True, False, True, False]
    assert fallback([0.03, 0.01, 0.07], [0.02, 0.02, 0.06]).tolist() == [False, True, True]
    assert fallback([0.09], [0.1]).tolist() == [True] and fallback([], []).tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_fallback_with_all_on_the_first_is_a_fixed_sequence(seed):
    p = np.random.default_rng(seed).random(6) ** 3
    assert fallback(p, [0.2, *[0.0] * 5]).tolist() == rejected(p, 0.2, "fixed_sequence").tolist()


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("true", [[0, 1, 2, 3, 4], [1, 3], [4]])
def test_fallback_rejects_no_true_hypothesis_more_often_than_delta(rho, true):
    """Normal statistics, correlated `rho`; what is false is surely rejected and hands its level on."""
    rng, draws, delta = np.random.default_rng(4), 4000, 0.1
    z = np.sqrt(rho) * rng.normal(size=(draws, 1)) + np.sqrt(1 - rho) * rng.normal(size=(draws, 5))
    p = special.ndtr(z)
    p[:, [k for k in range(5) if k not in true]] = 0.0
    own = delta * np.array([0.4, 0.04, 0.5, 0.03, 0.03])
    wrong = np.mean([fallback(row, own)[true].any() for row in p])
    assert wrong <= delta + 3 * np.sqrt(delta * (1 - delta) / draws)
    if true == [4]:
        assert wrong > delta - 3 * np.sqrt(delta * (1 - delta) / draws)  # all of delta has come down to it
