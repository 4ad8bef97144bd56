"""The joint fitted after the fact: its likelihood another way, what it finds in simulated rows, and its limits."""

import itertools

import numpy as np
import pytest
from scipy import special

from racer.coupling import EDGE, MAX_LOADING, NODES, Coupling, _cost, couple
from racer.errors import ConfigError
from racer.estimate import Estimate, quadrature

Z = np.linspace(-9, 9, 4001)
DENSITY = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) * (Z[1] - Z[0])
ALIKE = Coupling((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0))


def draw(coupling: Coupling, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a router's probabilities (n, M), and outcomes as the coupling says that they come about."""
    rng, m = np.random.default_rng(seed), len(coupling.shift)
    p = rng.beta(1.5, 1.2, size=(n, m))
    a = np.array(coupling.shift) + np.array(coupling.scale) * special.logit(p)
    given_z = special.expit(a + np.array(coupling.loading) * rng.standard_normal((n, 1)))
    return p, rng.random((n, m)) < given_z


def log_likelihood(coupling: Coupling, p: np.ndarray, y: np.ndarray) -> float:
    """log of prod over rows of E_z prod_m P(y_m | z), row by row, by a fine sum over z."""
    total = 0.0
    for p_row, y_row in zip(p, y, strict=True):
        given_z = np.ones(len(Z))
        for shift, scale, loading, p_m, right in zip(coupling.shift, coupling.scale, coupling.loading, p_row, y_row,
                                                     strict=True):
            right_z = 1 / (1 + np.exp(-(shift + scale * np.log(p_m / (1 - p_m)) + loading * Z)))
            given_z *= right_z if right else 1 - right_z
        total += np.log((given_z * DENSITY).sum())
    return total


def cost(coupling_numbers: np.ndarray, p: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    return _cost(coupling_numbers, special.logit(p), y.astype(float), *quadrature(NODES))


def numbers(coupling: Coupling) -> np.ndarray:
    return np.concatenate([coupling.shift, coupling.scale, coupling.loading])


# ---------------------------------------------------------------- what is minimised


def test_the_cost_is_minus_the_log_likelihood_and_the_log_prior():
    p, y = draw(ALIKE, 9, seed=0)
    coupling = Coupling((0.3, -1.0, 0.1), (0.7, 1.4, 2.0), (1.5, -0.8, 0.2))
    prior = 0.5 * sum(np.sum((np.array(values) - centre) ** 2) for values, centre in (
        (coupling.shift, 0), (coupling.scale, 1), (coupling.loading, 1)))
    assert cost(numbers(coupling), p, y)[0] == pytest.approx(prior - log_likelihood(coupling, p, y), rel=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_finite_differences(seed):
    rng = np.random.default_rng(seed)
    n, m, step = 11, 4, 1e-6
    p, y, at = rng.random((n, m)), rng.random((n, m)) < 0.4, rng.normal(size=3 * m)
    expected = [(cost(at + step * e, p, y)[0] - cost(at - step * e, p, y)[0]) / (2 * step) for e in np.eye(3 * m)]
    np.testing.assert_allclose(cost(at, p, y)[1], expected, rtol=1e-5, atol=1e-6)


def test_at_what_is_found_the_gradient_is_gone():
    p, y = draw(ALIKE, 400, seed=1)
    value, gradient = cost(numbers(couple(p, y)), p, y)
    assert np.abs(gradient).max() < 1e-3 * value


# ---------------------------------------------------------------- what it finds


def test_known_numbers_are_found_in_many_rows():
    true = Coupling((0.5, -0.7, 0.0, 0.2), (0.6, 1.3, 1.0, 0.9), (1.6, 0.8, 2.2, -0.9))
    p, y = draw(true, 5000, seed=2)
    found = numbers(couple(p, y))
    step = 1e-4  # the curvature at the optimum gives the standard errors
    curvature = np.array([(cost(found + step * e, p, y)[1] - cost(found - step * e, p, y)[1]) / (2 * step)
                          for e in np.eye(len(found))])
    error = np.sqrt(np.diag(np.linalg.inv(curvature)))
    assert error.max() < 0.25
    assert (np.abs(found - numbers(true)) < 4 * error).all()


def test_correlated_errors_are_better_told_than_by_independence_and_the_marginals_stay_calibrated():
    p, y = draw(ALIKE, 3000, seed=3)
    own = ALIKE.estimate(Estimate(p)).models  # a router whose marginals are right, all else unknown to it
    fit, held_out = slice(0, 2000), slice(2000, None)
    coupling = couple(own[fit], y[fit])
    q, right = own[held_out], y[held_out]
    independent = np.log(np.where(right, q, 1 - q)).sum()
    assert (log_likelihood(coupling, q, right) - independent) / len(q) > 0.1
    coupled = coupling.estimate(Estimate(q)).models
    np.testing.assert_allclose(coupled, q, atol=0.05)
    for lo, hi in ((0, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 1)):
        inside = (coupled >= lo) & (coupled < hi)
        noise = np.sqrt(inside.sum()) * 1.5  # the labels of a row are alike: more noise than in coin tosses
        assert abs((coupled - right)[inside].sum()) < 3 * noise


def test_a_router_that_is_too_sure_is_calibrated_by_the_way():
    p, y = draw(Coupling((0.0,) * 3, (1.0,) * 3, (0.0,) * 3), 3000, seed=4)
    sure = special.expit(3 * special.logit(p))
    coupling = couple(sure, y)
    assert max(coupling.scale) < 0.5  # 1/3, and more where a loading that the others leave open flattens the curve
    np.testing.assert_allclose(coupling.estimate(Estimate(sure)).models, p, atol=0.04)


def test_models_that_err_apart_get_loadings_of_other_signs_or_none():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((3000, 1))
    y = rng.random((3000, 4)) < special.expit(z * [2.0, 2.0, -2.0, 0.0])
    loading = couple(np.full((3000, 4), 0.5), y).loading
    assert loading[0] > 1 and loading[1] > 1 and loading[2] < -1 and abs(loading[3]) < 0.3


# ---------------------------------------------------------------- its limits


def test_numbers_stay_within_their_bounds():
    rng = np.random.default_rng(6)
    p = rng.random((2000, 3))
    together = np.repeat(rng.random((2000, 1)) < 0.5, 3, axis=1)  # always right and wrong together
    assert couple(np.full((2000, 3), 0.5), together).loading == (MAX_LOADING,) * 3
    assert couple(p, p < rng.random(p.shape)).scale == (0.0,) * 3  # the surer, the more often wrong: not believed


def test_no_rows_are_an_error_that_says_what_to_do():
    with pytest.raises(ConfigError, match=r"validation rows, and there are none: set sets\.joint=none"):
        couple(np.empty((0, 3)), np.empty((0, 3), dtype=bool))


def test_few_rows_stay_near_the_prior_and_more_rows_leave_it():
    p, y = draw(Coupling((2.0, 2.0), (1.0, 1.0), (-2.5, 2.5)), 2000, seed=7)
    away = [np.abs(numbers(couple(p[:n], y[:n])) - [0, 0, 1, 1, 1, 1]).max() for n in (1, 30, 2000)]
    assert away[0] < 1 and away[0] < away[1] < away[2] and away[2] > 2


def test_a_probability_that_says_nothing_leaves_the_scale_alone():
    y = np.random.default_rng(8).random((50, 2)) < 0.7
    np.testing.assert_allclose(couple(np.full((50, 2), 0.5), y).scale, 1, atol=1e-6)


@pytest.mark.parametrize("said", [None, 0.0, 1.0])
def test_models_that_are_always_or_never_right_are_sound(said):
    p, y = draw(ALIKE, 300, seed=9)
    y[:, 0], y[:, 1] = True, False
    if said is not None:
        p[:, :2] = said
    coupling = couple(p, y)
    assert np.isfinite(numbers(coupling)).all()
    coupled = coupling.estimate(Estimate(p)).models
    assert ((coupled > 0) & (coupled < 1)).all()
    assert coupled[:, 0].min() > 0.8 and coupled[:, 1].max() < 0.2
    np.testing.assert_allclose(coupled[:, 2].mean(), y[:, 2].mean(), atol=0.08)


# ---------------------------------------------------------------- the joint that it makes


def test_the_joint_is_a_distribution_with_these_marginals():
    rng = np.random.default_rng(10)
    p, m = rng.random((6, 3)), 3
    coupling = Coupling((0.4, -0.2, 0.0), (0.5, 1.0, 1.5), (1.0, -2.0, MAX_LOADING))
    null = rng.random(6)
    estimate = coupling.estimate(Estimate(p, null))
    rows = itertools.product([False, True], repeat=m)
    mass = {row: np.exp([log_likelihood(coupling, p[i:i + 1], np.array([row])) for i in range(6)]) for row in rows}
    np.testing.assert_allclose(sum(mass.values()), 1, rtol=1e-9)
    for k in range(m):
        np.testing.assert_allclose(estimate.models[:, k], sum(v for row, v in mass.items() if row[k]), atol=1e-3)
    np.testing.assert_allclose(estimate.joint.none_right(), mass[(False,) * m], atol=1e-3)
    np.testing.assert_array_equal(estimate.models, estimate.joint.marginals())
    np.testing.assert_array_equal(estimate.learned_null, null)


def test_certainty_is_read_as_near_certainty():
    coupling = Coupling((0.0, 0.0), (1.0, 2.0), (0.0, 0.0))
    p = coupling.estimate(Estimate(np.array([[0.0, 0.0], [1.0, 1.0], [EDGE / 9, 1 - EDGE / 9]]))).models
    np.testing.assert_allclose(p[:, 0], [EDGE, 1 - EDGE, EDGE], rtol=1e-6)
    np.testing.assert_allclose(p[:, 1], [EDGE**2, 1, 1], rtol=1e-5)


def test_alone_and_in_a_batch_a_query_gets_the_same():
    p, _ = draw(ALIKE, 50, seed=11)
    together = ALIKE.estimate(Estimate(p))
    alone = ALIKE.estimate(Estimate(p[7:8]))
    np.testing.assert_allclose(alone.models[0], together.models[7], rtol=1e-14)
    np.testing.assert_array_equal(alone.joint.logits[0], together.joint.logits[7])


def test_it_is_a_function_of_its_input_alone():
    p, y = draw(ALIKE, 200, seed=12)
    before = p.copy(), y.copy()
    found = couple(p, y)
    assert couple(p, y) == found == couple(p, y.astype(int))
    assert np.array_equal(p, before[0]) and np.array_equal(y, before[1])
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(numbers(couple(p[order], y[order])), numbers(found), atol=1e-3)
    columns = [2, 0, 1]
    moved = couple(p[:, columns], y[:, columns])
    np.testing.assert_allclose(moved.loading, np.array(found.loading)[columns], atol=1e-3)
    np.testing.assert_allclose(moved.shift, np.array(found.shift)[columns], atol=1e-3)
