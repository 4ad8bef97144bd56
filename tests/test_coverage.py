"""Coverage sets and hard limits: against brute force, and what the promise needs of them."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racer.conformal import binomial_upper, calibrate
from racer.errors import ConfigError, Infeasible
from racer.estimate import Estimate, Joint, quadrature
from racer.losses import least_cut
from racer.rule import SetRule
from racer.sets import capped, select

N, M, Q = 11, 4, 9
PRICES = (0.2, 3.0, 1.0, 0.5)


def random_joint(n: int = N, m: int = M, seed: int = 0) -> Joint:
    rng = np.random.default_rng(seed)
    return Joint(rng.normal(scale=2, size=(n, m)), rng.normal(size=(n, m)), *quadrature(Q))


def probabilities(joint: Joint, null: str = "joint") -> np.ndarray:
    return Estimate(joint.marginals(), joint=joint).probabilities(null)


def p_none_of(joint: Joint, i: int, members) -> float:
    """P(no member is right) of query i, summed over the nodes one by one."""
    total = 0.0
    for z, w in zip(joint.nodes, joint.weights, strict=True):
        wrong = [1 - 1 / (1 + np.exp(-(joint.logits[i, m] + joint.loadings[i, m] * z))) for m in members]
        total += w * np.prod(wrong)
    return total


def test_marginals_and_null_are_those_of_the_joint():
    joint = random_joint()
    for i in range(N):
        assert joint.none_right()[i] == pytest.approx(p_none_of(joint, i, range(M)), rel=1e-12)
        for m in range(M):
            assert joint.marginals()[i, m] == pytest.approx(1 - p_none_of(joint, i, [m]), rel=1e-9)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_each_model_stands_at_its_gain_per_cost_when_greedily_chosen(power):
    joint = random_joint()
    s = SetRule("coverage", "joint", PRICES, cost_power=power, null_cost=2.0).distance(probabilities(joint), joint)
    cost = [(price / np.mean(PRICES)) ** power for price in PRICES]
    for i in range(N):
        chosen, waiting = [], list(range(M))
        while waiting:
            gain = {m: (p_none_of(joint, i, chosen) - p_none_of(joint, i, [*chosen, m])) / cost[m] for m in waiting}
            best = max(gain, key=gain.get)
            assert s[i, best] == pytest.approx(-gain[best], rel=1e-9)
            chosen.append(best)
            waiting.remove(best)
        assert s[i, M] == pytest.approx(-p_none_of(joint, i, range(M)) / 2.0, rel=1e-9)


def test_without_a_joint_errors_count_as_independent():
    p = np.random.default_rng(1).random((N, M + 1))
    s = SetRule("coverage", "learned").distance(p)
    for row, probability in zip(s, p, strict=True):
        order = np.argsort(-probability[:M])  # uniform costs: the most probable first
        missed = np.concatenate([[1.0], np.cumprod(1 - probability[order])[:-1]])
        np.testing.assert_allclose(row[order], -probability[order] * missed)


def test_at_uniform_cost_greedy_is_near_the_best_set_of_its_size():
    joint = random_joint(n=40, seed=3)
    s = SetRule("coverage", "free").distance(probabilities(joint, "free"), joint)
    for i in range(40):
        order = np.argsort(s[i, :M])
        for k in range(1, M + 1):
            reached = 1 - p_none_of(joint, i, order[:k])
            best = max(1 - p_none_of(joint, i, members) for members in permutations(range(M), k))
            assert reached >= (1 - 1 / np.e) * best - 1e-12  # Nemhauser, Wolsey, Fisher 1978; k = 1 is exact
            assert k > 1 or reached == pytest.approx(best)


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.sampled_from([0.0, 0.5, 1.0]))
def test_one_row_alone_is_bit_for_bit_the_row_in_the_batch_and_order_is_free(seed, power):
    joint, rng = random_joint(seed=seed), np.random.default_rng(seed)
    rule = SetRule("coverage", "joint", PRICES, cost_power=power)
    s = rule.distance(probabilities(joint), joint)
    for i in (0, N - 1):
        row = joint.take(np.array([i]))
        np.testing.assert_array_equal(rule.distance(probabilities(row), row)[0], s[i])
    queries, models = rng.permutation(N), rng.permutation(M)
    mixed = Joint(joint.logits[queries][:, models], joint.loadings[queries][:, models], joint.nodes, joint.weights)
    permuted = SetRule("coverage", "joint", tuple(PRICES[m] for m in models), cost_power=power)
    np.testing.assert_allclose(permuted.distance(probabilities(mixed), mixed), s[queries][:, [*models, M]], rtol=1e-9)


def test_more_queries_than_a_block_are_all_computed():
    joint = random_joint(n=8192 + 3, m=2)
    s = SetRule("coverage", "joint").distance(probabilities(joint), joint)
    tail = joint.take(np.arange(8190, 8195))
    np.testing.assert_array_equal(SetRule("coverage", "joint").distance(probabilities(tail), tail), s[8190:])


def test_a_free_model_is_in_every_set_and_free_pools_are_uniform():
    joint = random_joint()
    s = SetRule("coverage", "joint", (0.0, 3.0, 1.0, 0.5)).distance(probabilities(joint), joint)
    assert (s[:, 0] == -np.inf).all() and np.isfinite(s[:, 1:]).all()
    all_free = SetRule("coverage", "joint", (0.0,) * M).distance(probabilities(joint), joint)
    np.testing.assert_array_equal(all_free, SetRule("coverage", "joint").distance(probabilities(joint), joint))


def test_saturated_probabilities_give_finite_sets():
    p = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    s = SetRule("coverage", "learned").distance(p)
    assert s[0].tolist() == [-1.0, 0.0, 0.0, 0.0] and s[1].tolist() == [0.0, 0.0, 0.0, -1.0]


@pytest.mark.parametrize(("null", "null_cost"), [("free", 1.0), ("joint", 0.0)])
def test_a_free_null_is_in_every_set(null, null_cost):
    joint = random_joint()
    s = SetRule("coverage", null, null_cost=null_cost).distance(probabilities(joint, null), joint)
    assert (s[:, -1] == -np.inf).all()


@pytest.mark.parametrize("family", ["coverage", "gap", "probability"])
@pytest.mark.parametrize(("max_size", "max_cost"), [(2, None), (None, 1.3), (3, 1.3), (1, 0.1)])
def test_no_cut_breaks_a_hard_limit_and_sets_stay_nested(family, max_size, max_cost):
    joint, prices = random_joint(), np.array(PRICES)
    free = SetRule(family, "joint", PRICES).distance(probabilities(joint), joint)
    s = SetRule(family, "joint", PRICES, max_size=max_size, max_cost=max_cost).distance(probabilities(joint), joint)
    cuts = np.unique(free)
    before = np.zeros(s.shape, dtype=bool)
    for cut in [*cuts, 1e9]:
        chosen = select(s, cut)
        members = chosen[:, :-1]
        assert max_size is None or (members.sum(axis=1) <= max_size).all()
        assert max_cost is None or (members @ prices <= max_cost + 1e-12).all()
        assert (before <= chosen).all() and (chosen <= select(free, cut)).all()
        before = chosen
    kept = np.isfinite(s[:, :-1])
    first_out = np.where(kept, -np.inf, free[:, :-1]).max(axis=1)  # a model is only left out behind those kept
    assert (np.where(kept, free[:, :-1], -np.inf).max(axis=1)[~kept.all(axis=1)] <= first_out[~kept.all(axis=1)]).all()


def test_limits_are_inside_the_calibration_and_may_make_a_level_infeasible():
    n = 200
    p = np.tile([0.9, 0.5, 0.1], (n, 1))
    outcomes = np.zeros((n, 2), dtype=bool)
    outcomes[:, 0] = np.arange(n) >= 30  # the second model alone is right on 30 of them
    outcomes[:30, 1] = True
    served = least_cut(SetRule("gap", "learned", max_size=1).distance(p), outcomes, "miss")
    assert np.count_nonzero(served == np.inf) == 30
    with pytest.raises(Infeasible, match="30 of 200 calibration queries cannot be served") as caught:
        calibrate(served, 0.1, "pac", 0.1)
    assert caught.value.needed is None and caught.value.reachable == binomial_upper(30, n, 0.1)
    assert np.isfinite(calibrate(served, caught.value.reachable + 1e-9, "pac", 0.1).cut)
    assert np.isfinite(calibrate(least_cut(SetRule("gap", "learned").distance(p), outcomes, "miss"), 0.1).cut)


def test_a_cost_limit_without_prices_is_refused():
    with pytest.raises(ConfigError, match=r"sets\.max_cost needs prices"):
        SetRule("gap", "learned", max_cost=1.0).distance(np.ones((1, 3)))


def test_no_limit_changes_nothing():
    s = np.random.default_rng(0).random((3, 4))
    assert capped(s, None, None, None) is s
    np.testing.assert_array_equal(capped(s, 3, None, None), s)
