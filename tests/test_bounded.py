"""Losses between 0 and 1: step functions against the loss itself, cuts by brute force, the promise by simulation."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racer import bounded
from racer.bounds import upper
from racer.errors import ConfigError, Infeasible
from racer.losses import LOSSES, Truth, loss
from racer.sets import select
from racer.steps import Steps, falling, steps

M = 4
KINDS = 60


def world(seed: int = 0, levels: int | None = 6, n: int = KINDS) -> tuple[np.ndarray, Truth]:
    """Kinds of queries with s (n, M+1), some of it tied, -inf and +inf, and graded outcomes unrelated to it."""
    rng = np.random.default_rng(seed)
    s = rng.random((n, M + 1))
    s = s if levels is None else np.round(s * levels) / levels
    s[rng.random(s.shape) < 0.1] = np.inf  # hard limits
    s[:, -1] = -np.inf
    graded = np.round(rng.beta(0.5, 0.7, (n, M)), 2)
    return s, Truth(graded >= 0.5, graded, rng.gamma(1.0, 1.0, (n, M)), 1)


def cuts_of(s: np.ndarray) -> np.ndarray:
    finite = np.unique(s[np.isfinite(s)])
    return np.concatenate([[-np.inf, -1.0], finite, np.nextafter(finite, np.inf), np.nextafter(finite, -np.inf), [9.0]])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("levels", [None, 3])
def test_steps_say_the_loss_at_every_cut(name, levels):
    s, truth = world(1, levels)
    found = steps(s, truth, name)
    for cut in cuts_of(s):
        assert (found.at(cut) == loss(select(s, cut), truth, name)).all()
    assert (found.at(np.inf) == found.at(bounded.EVERYTHING)).all()  # hard limits hold at every cut
    table = found.table(np.array([0.2, 0.6]))
    assert table.shape == (KINDS, 2) and (table[:, 1] == found.at(0.6)).all()
    changes = found.cuts()
    assert changes[0] == -np.inf and (np.diff(changes) > 0).all()
    for cut, after in pairwise(changes[1:]):  # a loss changes at these and nowhere between
        below = np.nextafter(cut, -np.inf)
        assert (found.at(cut) != found.at(below)).any() and (found.at(cut) == found.at((cut + after) / 2)).all()


def test_a_loss_that_rises_is_refused_with_the_method_for_it():
    s, truth = world(2)
    with pytest.raises(ConfigError, match=r"loss=cost rises .* on \d+ of 60 queries; crc needs .*method=ltt"):
        falling(steps(s, truth, "cost"), "cost", "crc")
    for name in set(LOSSES) - {"cost"}:
        found = steps(s, truth, name)
        assert (falling(found, name, "crc").levels == found.levels).all()


def test_one_query_that_rises_once_is_found_and_rounding_is_not():
    events = np.tile([0.1, 0.2, 0.3], (9, 1))
    levels = np.tile([1.0, 0.5, 0.5, 0.2], (9, 1))
    levels[4] = [1.0, 0.5, 0.5 + 1e-12, 0.2]
    lifted = falling(Steps(events, levels), "own", "crc")
    assert (lifted.levels >= levels).all() and (np.diff(lifted.levels, axis=1) <= 0).all()
    levels[7, 2] = 0.6
    with pytest.raises(ConfigError, match="on 1 of 9 queries"):
        falling(Steps(events, levels), "own", "crc")
    levels[7] = [0.4, 0.6, 0.5, 0.2]
    with pytest.raises(ConfigError, match="on 1 of 9 queries"):
        falling(Steps(events, levels), "own", "crc")
    events[7, 0] = -np.inf  # the set before it is never met: no step at all
    falling(Steps(events, levels), "own", "crc")


# ---------------------------------------------------------------- crc


def brute_force(s: np.ndarray, truth: Truth, name: str, alpha: str) -> float | None:
    """The smallest cut that keeps the promise, in fractions over every cut that there is."""
    for cut in [-np.inf, *np.unique(s[np.isfinite(s)])]:
        total = sum((Fraction(float(x)) for x in loss(select(s, cut), truth, name)), Fraction(0))
        if (total + 1) / (len(s) + 1) <= Fraction(alpha):
            return cut
    return None


@pytest.mark.parametrize("name", ["regret", "miss", "harm", "over_abstention"])
@pytest.mark.parametrize("levels", [None, 5])
def test_the_crc_cut_is_that_of_brute_force_in_fractions(name, levels):
    found_some = 0
    for seed in range(6):
        s, truth = world(seed, levels, n=47)
        for alpha in ("0.05", "0.1", "0.25", "0.5", "0.9"):
            expected, path = brute_force(s, truth, name, alpha), falling(steps(s, truth, name), name, "crc")
            if expected is None:
                with pytest.raises(Infeasible):
                    bounded.crc(path, float(alpha))
                continue
            c = bounded.crc(path, float(alpha))
            losses = loss(select(s, c.cut), truth, name)
            assert (losses == loss(select(s, expected), truth, name)).all() and c.cut <= expected
            assert c.observed == pytest.approx(losses.mean()) and c.bound == pytest.approx((losses.sum() + 1) / 48)
            found_some += 1
    assert found_some > 10


def test_crc_reaches_equality_where_a_float_sum_would_not():
    """Ten losses of .1 sum to less than 1 in floats; exactly rounded, (1 + 1) / (19 + 1) = .1 is kept."""
    levels = np.column_stack([np.ones(19), np.where(np.arange(19) < 10, 0.1, 0.0), np.zeros(19)])
    path = Steps(np.tile([0.2, 0.7], (19, 1)), levels)
    assert bounded.crc(path, 0.1).cut == 0.2
    assert bounded.crc(path, np.nextafter(0.1, 0)).cut == 0.7


def simulate(calibrate, name: str, trials: int, n: int) -> np.ndarray:
    """The true risk (trials,) of cuts calibrated on `n` queries drawn from a finite world; 1 where none is found."""
    s, truth = world(3)
    s[s == np.inf] = 1.0  # no limits: every risk can be reached
    weight = np.random.default_rng(4).dirichlet(np.ones(KINDS))
    path, rng, risks = falling(steps(s, truth, name), name, "crc"), np.random.default_rng(5), []
    for _ in range(trials):
        drawn = rng.choice(KINDS, n, p=weight)
        risks.append(weight @ path.at(calibrate(Steps(path.events[drawn], path.levels[drawn])).cut))
    return np.array(risks)


@pytest.mark.parametrize(("alpha", "n"), [(0.1, 60), (0.3, 11), (0.15, 200)])
def test_crc_keeps_its_promise_on_average_and_hardly_wastes_it(alpha, n):
    risks = simulate(lambda path: bounded.crc(path, alpha), "regret", 400, n)
    assert risks.mean() <= alpha + 3 * risks.std() / math.sqrt(400)
    assert risks.mean() >= alpha - 2 / (n + 1) - 0.05  # few levels: a step may waste this much


# ---------------------------------------------------------------- pac


GRID = bounded.grid(world(7)[0], 20)


@pytest.mark.parametrize("bound", ["hoeffding", "hoeffding_bentkus", "empirical_bernstein", "wsr"])
@pytest.mark.parametrize(("alpha", "n"), [(0.15, 150), (0.35, 40)])
def test_pac_breaks_its_promise_at_most_as_often_as_delta(bound, alpha, n):
    """At the least n some bounds cannot promise at all: that is `Infeasible`, and keeps the promise."""
    def calibrate(path):
        try:
            return bounded.pac(path, GRID, alpha, 0.2, bound)
        except Infeasible:
            return EVERYONE
    trials = 200
    risks = simulate(calibrate, "regret", trials, n)
    assert (risks > alpha).mean() <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / trials)


EVERYONE = bounded.BoundedCalibration("pac", 0.1, 0.1, bounded.EVERYTHING, 1, 0.0, 0.1, "none")


def test_pac_takes_the_smallest_cut_above_which_every_bound_holds():
    s, truth = world(8, None, n=300)
    path = falling(steps(s, truth, "regret"), "regret", "pac")
    for bound in ("hoeffding", "wsr"):
        bounds = upper(path.table(GRID), 0.1, bound)  # (L,)
        for alpha in (0.2, 0.3, 0.5):
            good = [cut for i, cut in enumerate(GRID) if (bounds[i:] <= alpha).all()]
            c = bounded.pac(path, GRID, alpha, 0.1, bound)
            assert c.cut == min(good) and c.bound == pytest.approx(bounds[c.cut == GRID][0]) and c.bound <= alpha
            assert (c.n, c.delta, c.bound_by) == (300, 0.1, bound)
    with pytest.raises(Infeasible, match="pac with the bound wsr: even the largest sets give"):
        bounded.pac(path, GRID, 0.02, 0.1, "wsr")


def test_a_bound_that_fails_in_the_middle_of_the_grid_stops_the_search_there(monkeypatch):
    path = Steps(np.zeros((5, 1)), np.zeros((5, 2)))
    monkeypatch.setattr(bounded, "p_values", lambda *_: np.array([0.0, 0.0, 0.9, 0.0, 0.0]))
    assert bounded.pac(path, np.arange(5.0), 0.9, 0.1, "hoeffding").cut == 3.0
    monkeypatch.setattr(bounded, "p_values", lambda *_: np.zeros(5))
    assert bounded.pac(path, np.arange(5.0), 0.9, 0.1, "hoeffding").cut == 0.0


def test_a_table_in_blocks_is_the_table_in_one(monkeypatch):
    s, truth = world(9)
    path = steps(s, truth, "regret")
    whole = bounded.p_values(path, GRID, 0.2, "wsr")
    monkeypatch.setattr(bounded, "CELLS", 3 * KINDS)
    np.testing.assert_array_equal(bounded.p_values(path, GRID, 0.2, "wsr"), whole)


@pytest.mark.parametrize("bound", ["hoeffding", "hoeffding_bentkus", "empirical_bernstein", "wsr"])
def test_the_least_n_is_the_first_that_can_promise(bound):
    for alpha, delta in ((0.1, 0.1), (0.3, 0.05)):
        n = bounded.least_n(alpha, delta, bound)
        path = lambda k: Steps(np.zeros((k, 1)), np.zeros((k, 2)))  # noqa: E731
        assert bounded.pac(path(n), np.array([0.0]), alpha, delta, bound).cut == 0
        with pytest.raises(Infeasible) as caught:
            bounded.pac(path(n - 1), np.array([0.0]), alpha, delta, bound)
        assert caught.value.needed == n
        assert bounded.least_alpha(n, delta, bound) <= alpha < bounded.least_alpha(n - 1, delta, bound)


def test_the_grid_rises_from_nothing_to_everything():
    s = np.random.default_rng(0).normal(size=(50, 5))
    cuts = bounded.grid(s, 12)
    assert len(cuts) == 12 and (np.diff(cuts) > 0).all()
    assert cuts[0] == -np.inf and cuts[1] == s.min() and cuts[-2] == s.max()
    assert set(cuts[1:-1]) <= set(s.ravel()) and np.isfinite(cuts[-1]) and (select(s, cuts[-1])).all()
    assert bounded.grid(np.full((3, 2), -np.inf), 9).tolist() == [-np.inf, bounded.EVERYTHING]


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_cuts_move_with_a_shared_monotone_map_and_ignore_the_order_of_queries(seed, scale, shift):
    """What is chosen is the same: the cut is equivariant, the sets invariant."""
    s, truth = world(seed, None, n=33)
    mapped = np.sinh(s * scale) + shift
    rng = np.random.default_rng(seed)
    order = rng.permutation(33)
    shuffled = Truth(truth.outcomes[order], truth.graded[order], truth.cost[order], truth.reference)
    path = [falling(steps(*case, "regret"), "regret", "crc") for case in ((s, truth), (mapped, truth),
                                                                            (s[order], shuffled))]
    cuts = [bounded.crc(p, 0.7).cut for p in path]
    assert cuts[0] == cuts[2] and (select(s, cuts[0]) == select(mapped, cuts[1])).all()
