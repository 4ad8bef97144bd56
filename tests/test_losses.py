"""Losses: a slow loop in words, and one number per query that says the same as the loss at every cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racer.errors import ConfigError
from racer.losses import LOSSES, least_cut, loss, with_null
from racer.sets import MARGINAL, distance, null_probability, select

NULLS = ("learned", "one_minus_max", "product", "free")  # those that need no joint
def rows(seed: int, levels: int | None = None, n: int = 40, m: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, m+1) and outcomes (n, m), about a quarter of the queries unsolvable."""
    rng = np.random.default_rng(seed)
    p = rng.random((n, m + 1))
    outcomes = (rng.random((n, m)) < 0.45) & (rng.random((n, 1)) < 0.9)
    return (p if levels is None else np.round(p * levels) / levels), outcomes


def slow_loss(chosen: list[bool], outcomes: list[bool], name: str) -> bool:
    some_chosen_is_right = any(c and y for c, y in zip(chosen[:-1], outcomes, strict=True))
    null_is_right = not any(outcomes)
    if name == "misrouting":
        return not (some_chosen_is_right or (chosen[-1] and null_is_right))
    return any(outcomes) and not some_chosen_is_right


def every_cut(s: np.ndarray) -> np.ndarray:
    """Each value of `s`, its neighbours in floating point, points between, both ends."""
    finite = np.unique(s[np.isfinite(s)])
    middles = (finite[1:] + finite[:-1]) / 2
    return np.concatenate([[-np.inf, np.inf, -1.0, 2.0], finite, middles, np.nextafter(finite, -np.inf),
                           np.nextafter(finite, np.inf)])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("family", MARGINAL)
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("levels", [None, 3])
def test_one_number_per_query_says_the_loss_at_every_cut(name, family, null, levels):
    p, outcomes = rows(seed=1, levels=levels)
    s = distance(np.column_stack([p[:, :-1], null_probability(p[:, :-1], null, p[:, -1])]), family, null)
    least = least_cut(s, outcomes, name)
    assert least.shape == (len(p),)
    for cut in every_cut(s):
        chosen = select(s, cut)
        expected = [slow_loss(c, y, name) for c, y in zip(chosen.tolist(), outcomes.tolist(), strict=True)]
        assert loss(chosen, outcomes, name).tolist() == expected
        assert (least > cut).tolist() == expected


@pytest.mark.parametrize("name", LOSSES)
def test_losses_never_rise_as_any_set_grows(name):
    """Not along one family only: adding any element to any set."""
    rng = np.random.default_rng(2)
    _, outcomes = rows(seed=3, n=200)
    chosen = rng.random((200, 4)) < 0.4
    before = loss(chosen, outcomes, name)
    for column in range(4):
        more = chosen.copy()
        more[:, column] = True
        assert (loss(more, outcomes, name) <= before).all()


def test_both_losses_on_every_set_of_two_models_by_hand():
    """Rows: nobody right; first right; both right. Sets over (first, second, null)."""
    outcomes = np.array([[False, False], [True, False], [True, True]])
    sets = {"none": (0, 0, 0), "null": (0, 0, 1), "second": (0, 1, 0), "second and null": (0, 1, 1),
            "first": (1, 0, 0), "all": (1, 1, 1)}
    misrouting = {"none": [1, 1, 1], "null": [0, 1, 1], "second": [1, 1, 0], "second and null": [0, 1, 0],
                  "first": [1, 0, 0], "all": [0, 0, 0]}
    miss = {"none": [0, 1, 1], "null": [0, 1, 1], "second": [0, 1, 0], "second and null": [0, 1, 0],
            "first": [0, 0, 0], "all": [0, 0, 0]}
    for name, members in sets.items():
        chosen = np.tile(np.array(members, dtype=bool), (3, 1))
        assert loss(chosen, outcomes, "misrouting").astype(int).tolist() == misrouting[name], name
        assert loss(chosen, outcomes, "miss").astype(int).tolist() == miss[name], name


def test_a_query_nobody_can_solve():
    outcomes = np.zeros((2, 3), dtype=bool)
    s = distance(np.array([[0.9, 0.5, 0.1, 0.2], [0.9, 0.5, 0.1, 0.7]]), "probability", "learned")
    np.testing.assert_allclose(least_cut(s, outcomes, "misrouting"), [0.8, 0.3])  # served by the null alone
    assert least_cut(s, outcomes, "miss").tolist() == [-np.inf, -np.inf]  # nothing can be missed
    s[:, -1] = -np.inf
    assert least_cut(s, outcomes, "misrouting").tolist() == [-np.inf, -np.inf]  # the free null is always there


def test_the_null_is_right_exactly_when_no_model_is():
    _, outcomes = rows(seed=4)
    full = with_null(outcomes)
    assert full.dtype == bool and full.shape == (40, 4)
    assert (full[:, :-1] == outcomes).all()
    assert (full[:, -1] == (outcomes.sum(axis=1) == 0)).all()
    assert full[:, -1].any() and not full[:, -1].all()  # the case has both kinds


def test_miss_is_misrouting_on_solvable_queries():
    p, outcomes = rows(seed=5)
    chosen = select(distance(p, "gap", "learned"), 0.2)
    solvable = outcomes.any(axis=1)
    misrouted, missed = (loss(chosen, outcomes, name) for name in LOSSES)
    assert (missed == misrouted)[solvable].all() and not missed[~solvable].any()
    assert misrouted[~solvable].any()


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), m=st.integers(1, 6), name=st.sampled_from(LOSSES))
def test_the_smallest_serving_cut_ignores_the_order_of_queries_and_models(seed, n, m, name):
    p, outcomes = rows(seed, levels=5, n=n, m=m)
    rng = np.random.default_rng(seed)
    queries, models = rng.permutation(n), rng.permutation(m)
    s = distance(p, "probability", "learned")
    shuffled = s[queries][:, np.append(models, m)]
    assert (least_cut(shuffled, outcomes[queries][:, models], name) == least_cut(s, outcomes, name)[queries]).all()


def test_one_row_alone_is_the_row_in_a_batch():
    p, outcomes = rows(seed=6)
    s = distance(p, "gap", "learned")
    for name in LOSSES:
        alone = [least_cut(s[i:i + 1], outcomes[i:i + 1], name)[0] for i in range(len(s))]
        assert alone == least_cut(s, outcomes, name).tolist()


def test_an_unknown_loss_is_refused_with_those_there_are():
    p, outcomes = rows(seed=7)
    for call in (lambda: loss(p > 0.5, outcomes, "regret"), lambda: least_cut(p, outcomes, "regret")):
        with pytest.raises(ConfigError, match=r"risk\.loss is 'regret', expected one of misrouting, miss"):
            call()
