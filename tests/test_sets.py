"""Sets: the families against a slow loop, what grows with the cut, what the null does, what a batch may not change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from racer.errors import ConfigError
from racer.sets import MARGINAL, distance, null_probability, select

NULLS = ("learned", "one_minus_max", "product", "free")  # those that need no joint
N, M = 13, 5  # queries, models: different, so that a swapped axis fails


def random_p(n: int = N, m: int = M, seed: int = 0, levels: int | None = None) -> np.ndarray:
    """Probabilities (n, m+1), the null last; on few `levels` they are tied and saturated."""
    p = np.random.default_rng(seed).random((n, m + 1))
    return p if levels is None else np.round(p * levels) / levels


def with_null_column(p: np.ndarray, null: str) -> np.ndarray:
    return np.column_stack([p[:, :-1], null_probability(p[:, :-1], null, learned=p[:, -1])])


def slow_set(p: list[float], family: str, null: str, cut: float) -> set[int]:
    """The models in the set of one query, as one would say it in words."""
    last, chosen = len(p) - 1, set()
    for model, probability in enumerate(p):
        s = 1 - probability if family == "probability" else max(p) - probability
        if s <= cut or (null == "free" and model == last):
            chosen.add(model)
    return chosen


@pytest.mark.parametrize("family", MARGINAL)
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("levels", [None, 4])
def test_sets_are_those_of_a_slow_loop(family, null, levels):
    p = with_null_column(random_p(levels=levels), null)
    for cut in (-math.inf, -0.1, 0.0, 0.25, 0.5, 0.73, 1.0, 2.0):
        chosen = select(distance(p, family, null), cut)
        assert chosen.shape == (N, M + 1)
        assert [set(np.flatnonzero(row)) for row in chosen] == [slow_set(row, family, null, cut) for row in p.tolist()]


def test_null_columns_by_hand():
    p = np.array([[0.5, 0.75, 0.0], [1.0, 0.25, 0.5]])
    assert null_probability(p, "one_minus_max").tolist() == [0.25, 0.0]
    assert null_probability(p, "product").tolist() == [0.125, 0.0]
    assert null_probability(p, "free").tolist() == [0.0, 0.0]
    learned = np.array([0.3, 0.9])
    assert null_probability(p, "learned", learned).tolist() == [0.3, 0.9]


def test_product_null_against_a_loop():
    p = random_p()[:, :-1]
    np.testing.assert_allclose(null_probability(p, "product"), [math.prod(1 - x for x in row) for row in p.tolist()],
                               rtol=1e-14)


@pytest.mark.parametrize("family", MARGINAL)
@pytest.mark.parametrize("null", NULLS)
def test_sets_only_grow_with_the_cut(family, null):
    s = distance(with_null_column(random_p(levels=6), null), family, null)
    cuts = np.unique(np.concatenate([[-np.inf, np.inf], s.ravel(), np.nextafter(s[np.isfinite(s)], -np.inf)]))
    smaller = np.zeros(s.shape, dtype=bool)
    for cut in cuts:
        chosen = select(s, cut)
        assert (chosen >= smaller).all()
        smaller = chosen
    assert smaller.all()  # at +inf everyone is in


@pytest.mark.parametrize("family", MARGINAL)
def test_the_free_null_is_in_every_set_and_moves_no_other(family):
    p = random_p()
    free = with_null_column(p, "free")
    assert (free[:, -1] == 0).all()
    s = distance(free, family, "free")
    assert (s[:, -1] == -np.inf).all()
    at_worst = select(s, -np.inf)
    assert at_worst[:, -1].all() and not at_worst[:, :-1].any()
    alone = 1 - p[:, :-1] if family == "probability" else p[:, :-1].max(axis=1, keepdims=True) - p[:, :-1]
    assert (s[:, :-1] == alone).all()


def test_no_other_null_is_admitted_at_minus_infinity():
    for null in ("learned", "one_minus_max", "product"):
        assert not select(distance(with_null_column(random_p(), null), "probability", null), -np.inf).any()


def test_the_gap_is_measured_to_the_null_when_it_leads():
    p = np.array([[0.2, 0.5, 0.9]])
    np.testing.assert_allclose(distance(p, "gap", "learned"), [[0.7, 0.4, 0.0]], atol=1e-15)
    np.testing.assert_allclose(distance(p, "probability", "learned"), [[0.8, 0.5, 0.1]], atol=1e-15)


@pytest.mark.parametrize("family", MARGINAL)
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_one_row_alone_is_the_row_in_a_batch_to_the_bit(family, null, m):
    p = random_p(n=29, m=m)
    for layout in (np.ascontiguousarray, np.asfortranarray):
        batch = layout(p)
        null_of_batch = null_probability(batch[:, :-1], null, batch[:, -1])
        s = distance(with_null_column(batch, null), family, null)
        for i in range(len(p)):
            row = p[i:i + 1].copy()
            assert null_probability(row[:, :-1], null, row[:, -1])[0] == null_of_batch[i]
            assert (distance(with_null_column(row, null), family, null)[0] == s[i]).all()


probabilities = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 6)),
                       elements=st.floats(0, 1, allow_subnormal=False))


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(p=probabilities, family=st.sampled_from(MARGINAL), null=st.sampled_from(NULLS), seed=st.integers(0, 99))
def test_the_order_of_queries_and_of_models_changes_nothing(p, family, null, seed):
    rng = np.random.default_rng(seed)
    rows, models = rng.permutation(len(p)), rng.permutation(p.shape[1] - 1)
    columns = np.append(models, p.shape[1] - 1)  # the null stays last
    s = distance(with_null_column(p, null), family, null)
    permuted = distance(with_null_column(p[rows][:, columns], null), family, null)
    np.testing.assert_allclose(permuted, s[rows][:, columns], rtol=0, atol=1e-15)  # a product may round otherwise
    if null != "product":
        assert (permuted == s[rows][:, columns]).all()


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(p=probabilities, family=st.sampled_from(MARGINAL))
def test_more_probable_models_are_nearer(p, family):
    s = distance(p, family, "learned")
    for i in range(p.shape[1]):
        for j in range(p.shape[1]):
            assert (s[:, i] <= s[:, j])[p[:, i] >= p[:, j]].all()
    assert ((s >= 0) & (s <= 1)).all()


@pytest.mark.parametrize("family", MARGINAL)
def test_models_tied_at_the_cut_are_all_in(family):
    p = np.array([[0.7, 0.7, 0.2, 0.7, 0.1]])
    s = distance(p, family, "learned")
    assert select(s, s[0, 0]).tolist() == [[True, True, False, True, False]]
    assert not select(s, np.nextafter(s[0, 0], -np.inf)).any()


@pytest.mark.parametrize("family", MARGINAL)
def test_probabilities_of_exactly_0_and_1(family):
    p = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    s = distance(p, family, "learned")
    assert set(s.ravel()) <= {0.0, 1.0}
    assert select(s, 0.0)[:2].tolist() == [[True, False, True, False], [False, False, False, True]]
    assert select(s, 0.0)[2].all() == (family == "gap")  # nobody leads: all are at the top, or all are hopeless
    assert select(s, 1.0).all()
    assert null_probability(p[:, :-1], "product").tolist() == [0.0, 1.0, 1.0]
    assert null_probability(p[:, :-1], "one_minus_max").tolist() == [0.0, 1.0, 1.0]


def test_a_tiny_difference_is_kept_by_the_comparison():
    p = np.array([[0.75, np.nextafter(0.75, 0), 0.0]])
    s = distance(p, "probability", "learned")  # 1 - p is exact for p in [.5, 1]
    assert select(s, s[0, 0]).tolist() == [[True, False, False]]


@pytest.mark.parametrize("family", MARGINAL)
@pytest.mark.parametrize("null", NULLS)
def test_the_probabilities_handed_in_are_not_changed(family, null):
    p = random_p()
    before = p.copy()
    distance(p, family, null)
    null_probability(p[:, :-1], null, p[:, -1])
    assert (p == before).all()


def test_a_null_that_was_not_learned_is_refused_with_the_way_out():
    remedy = r"learned no such null.*sets\.null=one_minus_max, product or free.*head=multilabel"
    with pytest.raises(ConfigError, match=remedy):
        null_probability(random_p()[:, :-1], "learned")


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"sets\.null is 'joined', expected one of learned, joint, one_minus_max"):
        null_probability(random_p(), "joined")
    with pytest.raises(ConfigError, match=r"sets\.family is 'Gap', expected one of probability, gap here"):
        distance(random_p(), "Gap", "learned")
