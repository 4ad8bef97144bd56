"""Losses: a slow loop in words, and one number per query that says the same as the loss at every cut."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racer.errors import ConfigError
from racer.losses import GRADED, LOSSES, SERVED, Truth, function, least_cut, loss, with_null
from racer.sets import MARGINAL, distance, null_probability, select

REFERENCE = 0
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
    return {"misrouting": not (some_chosen_is_right or (chosen[-1] and null_is_right)),
            "miss": any(outcomes) and not some_chosen_is_right,
            "over_abstention": any(outcomes) and not any(chosen[:-1]),
            "harm": outcomes[REFERENCE] and not some_chosen_is_right}[name]


def truth_of(outcomes: np.ndarray, seed: int = 9) -> Truth:
    """Everything a loss may need, made up."""
    rng = np.random.default_rng(seed)
    return Truth(outcomes, np.round(rng.random(outcomes.shape), 2), rng.gamma(0.5, 1.0, outcomes.shape), REFERENCE)


def every_cut(s: np.ndarray) -> np.ndarray:
    """Each value of `s`, its neighbours in floating point, points between, both ends."""
    finite = np.unique(s[np.isfinite(s)])
    middles = (finite[1:] + finite[:-1]) / 2
    return np.concatenate([[-np.inf, np.inf, -1.0, 2.0], finite, middles, np.nextafter(finite, -np.inf),
                           np.nextafter(finite, np.inf)])


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("family", MARGINAL)
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("levels", [None, 3])
def test_one_number_per_query_says_the_loss_at_every_cut(name, family, null, levels):
    p, outcomes = rows(seed=1, levels=levels)
    s = distance(np.column_stack([p[:, :-1], null_probability(p[:, :-1], null, p[:, -1])]), family, null)
    truth = truth_of(outcomes)
    least = least_cut(s, truth, name)
    assert least.shape == (len(p),)
    for cut in every_cut(s):
        chosen = select(s, cut)
        expected = [slow_loss(c, y, name) for c, y in zip(chosen.tolist(), outcomes.tolist(), strict=True)]
        assert loss(chosen, truth, name).tolist() == expected
        assert (least > cut).tolist() == expected


@pytest.mark.parametrize("name", LOSSES)
def test_losses_never_rise_as_any_set_grows_but_the_cost_never_falls(name):
    """Not along one family only: adding any element to any set."""
    rng = np.random.default_rng(2)
    _, outcomes = rows(seed=3, n=200)
    chosen = rng.random((200, 4)) < 0.4
    before, sign = loss(chosen, truth_of(outcomes), name), -1 if name == "cost" else 1
    for column in range(4):
        more = chosen.copy()
        more[:, column] = True
        assert (sign * loss(more, truth_of(outcomes), name) <= sign * before).all()


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
    misrouted, missed = (loss(chosen, outcomes, name) for name in ("misrouting", "miss"))
    assert (missed == misrouted)[solvable].all() and not missed[~solvable].any()
    assert misrouted[~solvable].any()


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), m=st.integers(1, 6), name=st.sampled_from(list(SERVED)))
def test_the_smallest_serving_cut_ignores_the_order_of_queries_and_models(seed, n, m, name):
    p, outcomes = rows(seed, levels=5, n=n, m=m)
    rng = np.random.default_rng(seed)
    queries, models = rng.permutation(n), rng.permutation(m)
    s = distance(p, "probability", "learned")
    shuffled = s[queries][:, np.append(models, m)]
    moved = Truth(outcomes[queries][:, models], reference=models.tolist().index(REFERENCE))
    before = least_cut(s, Truth(outcomes, reference=REFERENCE), name)
    assert (least_cut(shuffled, moved, name) == before[queries]).all()


def test_one_row_alone_is_the_row_in_a_batch():
    p, outcomes = rows(seed=6)
    s = distance(p, "gap", "learned")
    for name in SERVED:
        alone = [least_cut(s[i:i + 1], Truth(outcomes[i:i + 1], reference=1), name)[0] for i in range(len(s))]
        assert alone == least_cut(s, Truth(outcomes, reference=1), name).tolist()


def test_graded_losses_are_those_of_a_slow_loop():
    p, outcomes = rows(seed=8, n=90)
    truth = truth_of(outcomes)
    truth.cost[:7] = 0.0  # asking anyone is free
    chosen = p > 0.6
    for i, (row, y, c) in enumerate(zip(chosen[:, :-1].tolist(), truth.graded.tolist(), truth.cost.tolist(),
                                        strict=True)):
        best = max([0.0] + [g for g, member in zip(y, row, strict=True) if member])
        assert loss(chosen, truth, "regret")[i] == max(y) - best
        spend = sum(x for x, member in zip(c, row, strict=True) if member)
        assert loss(chosen, truth, "cost")[i] == pytest.approx(spend / sum(c) if sum(c) else 0.0, abs=1e-15)
    everyone = np.ones_like(chosen)
    assert loss(everyone, truth, "cost").max() <= 1 and loss(everyone, truth, "regret").max() == 0


def test_regret_of_outcomes_that_are_0_or_1_is_miss():
    p, outcomes = rows(seed=10)
    for cut in (0.2, 0.5, 0.8):
        assert loss(p <= cut, outcomes, "regret").tolist() == loss(p <= cut, outcomes, "miss").tolist()


def test_accuracy_of_the_sets_is_at_least_that_of_the_reference_minus_harm():
    p, outcomes = rows(seed=11, n=500)
    for reference in range(3):
        harm = loss(p > 0.7, Truth(outcomes, reference=reference), "harm").mean()
        accuracy = ((p > 0.7)[:, :-1] & outcomes).any(axis=1).mean()
        assert harm > 0 and accuracy >= outcomes[:, reference].mean() - harm - 1e-12


def test_what_a_loss_lacks_is_said():
    p, outcomes = rows(seed=7)
    with pytest.raises(ConfigError, match="needs the cost of every call"):
        loss(p > 0.5, outcomes, "cost")
    with pytest.raises(ConfigError, match="needs a reference"):
        loss(p > 0.5, outcomes, "harm")
    for name in GRADED:
        with pytest.raises(ConfigError, match=f"{name} is not 0 or 1, so no single cut serves"):
            least_cut(p, outcomes, name)


# ---------------------------------------------------------------- a loss of the user's own


@pytest.fixture
def house(monkeypatch):
    """A module of losses, as a user's would be."""
    module = types.ModuleType("house_of_losses")
    module.crowd = lambda chosen, truth: chosen[:, :-1].mean(axis=1)
    module.miss = lambda chosen, truth: truth.outcomes.any(axis=1) & ~(chosen[:, :-1] & truth.outcomes).any(axis=1)
    module.long = lambda chosen, truth: np.zeros(len(chosen) + 1)
    module.texts = lambda chosen, truth: np.full(len(chosen), "bad")
    module.large = lambda chosen, truth: chosen.sum(axis=1)
    module.unknown = lambda chosen, truth: np.full(len(chosen), np.nan)
    module.number = 3
    monkeypatch.setitem(sys.modules, "house_of_losses", module)


def test_a_function_of_the_user_is_a_loss(house):
    p, outcomes = rows(seed=12)
    assert (loss(p > 0.5, outcomes, "house_of_losses:crowd") == (p[:, :-1] > 0.5).mean(axis=1)).all()
    own = loss(p > 0.5, outcomes, "house_of_losses:miss")
    assert own.dtype == np.float64 and (own == loss(p > 0.5, outcomes, "miss")).all()


@pytest.mark.parametrize(("name", "says"), [
    ("long", r"returned shape \(41,\) of float64 for 40 queries"), ("texts", "returned shape .* of <U3"),
    ("large", "expected a loss in"), ("unknown", r"returned nan for query 0, expected a loss in \[0, 1\]"),
    ("number", "is a int, expected a function"), ("nothing", "no attribute 'nothing'")])
def test_a_function_that_is_no_loss_is_refused(name, says, house):
    p, outcomes = rows(seed=12)
    with pytest.raises(ConfigError, match=says):
        loss(p > 0.5, outcomes, f"house_of_losses:{name}")


def test_a_module_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match=r"No module named 'nowhere'.*PYTHONPATH"):
        function("nowhere:loss")
    with pytest.raises(ConfigError, match="Empty module name"):
        function(":loss")


def test_an_unknown_loss_is_refused_with_those_there_are():
    p, outcomes = rows(seed=7)
    for call in (lambda: loss(p > 0.5, outcomes, "hinge"), lambda: least_cut(p, outcomes, "hinge")):
        with pytest.raises(ConfigError, match=r"loss is 'hinge', expected one of misrouting, miss, .*, or package"):
            call()
