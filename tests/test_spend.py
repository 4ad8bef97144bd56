"""What a call will cost: recovered where it can be known, the mean where it cannot, and nothing for what is free."""

import numpy as np
import pytest

from racer.router.spend import Spend

RNG = np.random.default_rng(0)
N, C, M = 400, 5, 3


def fitted(noise: float):
    vectors, lengths = RNG.normal(size=(N, C)).astype(np.float32), RNG.integers(10, 3000, N)
    weights = RNG.normal(scale=0.3, size=(C, M))
    expected = 1e-4 * np.exp(vectors @ weights) * (1 + lengths[:, None]) ** [0.5, 0.8, 0.0]
    cost = expected * np.exp(noise * RNG.normal(size=(N, M)))
    return Spend.fit(vectors, lengths, cost), vectors, lengths, expected, cost


def test_a_cost_that_follows_the_query_is_recovered():
    spend, vectors, lengths, expected, _ = fitted(noise=0.0)
    np.testing.assert_allclose(spend.usd(vectors, lengths), expected, rtol=0.3)
    middle = np.abs(np.log(spend.usd(vectors, lengths) / expected))
    assert np.median(middle) < 0.03  # the ridge shrinks a little


def test_each_models_mean_is_its_mean_cost_on_train():
    spend, vectors, lengths, _, cost = fitted(noise=1.0)
    np.testing.assert_allclose(spend.usd(vectors, lengths).mean(axis=0), cost.mean(axis=0), rtol=1e-9)


def test_where_nothing_can_be_known_the_prediction_is_nearly_the_mean():
    vectors, lengths = RNG.normal(size=(N, C)).astype(np.float32), RNG.integers(10, 3000, N)
    cost = RNG.exponential(size=(N, M)) + 0.1
    usd = Spend.fit(vectors, lengths, cost).usd(vectors, lengths)
    assert usd.std(axis=0).max() < 0.1 * cost.std(axis=0).min()


@pytest.mark.filterwarnings("error")
def test_a_free_model_is_free_and_a_free_call_does_not_break_the_logarithm():
    vectors, lengths = RNG.normal(size=(N, C)).astype(np.float32), RNG.integers(10, 3000, N)
    cost = RNG.random((N, M)) + 0.5
    cost[:, 1], cost[7, 2] = 0.0, 0.0
    usd = Spend.fit(vectors, lengths, cost).usd(vectors, lengths)
    assert (usd[:, 1] == 0).all() and (usd[:, [0, 2]] > 0).all() and np.isfinite(usd).all()


def test_one_query_alone_costs_what_it_costs_in_a_batch():
    spend, vectors, lengths, _, _ = fitted(noise=1.0)
    np.testing.assert_allclose(spend.usd(vectors[3:4], lengths[3:4]), spend.usd(vectors, lengths)[3:4], rtol=1e-12)
