"""One call after the other: against every completion, against the call of all at once, against a slow loop."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from voting import messy, right, simulate

from racer.aggregate import fit
from racer.estimate import Estimate
from racer.sequential import call
from racer.votes import Bayes, Best, Majority, Weighted

M = 4
EXACT = (Majority(), Weighted(0.6, 0.8), Weighted(4.0, 2.0), Best())
TAUS = (0.0, 0.3, 0.5, 0.65, 0.9, 2.0)
exact = pytest.mark.parametrize("aggregator", EXACT, ids=lambda a: f"{a.name} {getattr(a, 'temperature', '')}")


def scene(seed, n, m=M, generic=False):
    """Return (s, members, codes, options, estimate); with `generic`, no probabilities or sums of them are equal."""
    rng = np.random.default_rng(seed)
    members, codes, options, estimate = messy(rng, n, m)
    s = np.column_stack([rng.integers(0, 3, (n, m)).astype(float), np.zeros(n)])  # with ties
    return s, members, codes, options, replace(estimate, models=rng.random((n, m))) if generic else estimate


def decisions(vote, codes, tau):
    """Return the answer that counts (n,), -1 where there is none or its confidence is below tau."""
    said = np.where(vote.model >= 0, codes[np.arange(len(codes)), vote.model], -1)
    return np.where(vote.confidence >= tau, said, -1)


@exact
@pytest.mark.parametrize("tau", TAUS)
def test_the_decision_is_that_of_calling_all_members_at_once(aggregator, tau):
    for generic in (False, True):
        s, members, codes, options, estimate = scene(1, 1500, 6, generic)
        calls = call(s, members, aggregator, codes, options, estimate, tau)
        twin = aggregator.vote(members, codes, options, estimate)
        np.testing.assert_array_equal(decisions(calls.vote, codes, tau), decisions(twin, codes, tau))
        assert (calls.called <= members).all()
        assert calls.called.sum() < 0.96 * members.sum()
        everyone = (calls.called == members).all(axis=1)
        np.testing.assert_array_equal(calls.vote.model[everyone], twin.model[everyone])
        np.testing.assert_array_equal(calls.vote.confidence[everyone], twin.confidence[everyone])


@exact
@pytest.mark.parametrize("tau", [0.0, 0.4, 0.7])
def test_it_stops_at_the_first_call_after_which_no_completion_matters(aggregator, tau):
    """Every way that the members not yet called may answer, or not, is tried."""
    s, members, codes, options, estimate = scene(2, 40, generic=True)
    calls = call(s, members, aggregator, codes, options, estimate, tau)
    for i in range(40):
        order = [m for m in np.argsort(s[i, :M], kind="stable") if members[i, m]]
        for k in range(len(order) + 1):
            rest = order[k:]
            words = itertools.product([-1, 0, 1, 2, 3, *(10 + np.array(rest))], repeat=len(rest))
            filled = np.array([_with(codes[i], rest, said) for said in words])
            rows = np.full(len(filled), i)
            ends = decisions(aggregator.vote(members[rows], filled, options[rows], estimate.take(rows)), filled, tau)
            if len(set(ends.tolist())) == 1 and (k > 0 or ends[0] == -1):
                break
        assert sorted(np.flatnonzero(calls.called[i])) == sorted(order[:k]), (i, k)


def _with(codes, columns, said):
    filled = codes.copy()
    filled[columns] = said
    return filled


@exact
def test_the_confidence_told_is_the_least_that_it_could_have_come_to(aggregator):
    s, members, codes, options, estimate = scene(3, 800, 6)
    calls = call(s, members, aggregator, codes, options, estimate)
    twin = aggregator.vote(members, codes, options, estimate)
    assert (calls.vote.confidence <= twin.confidence + 1e-15).all()
    assert (calls.vote.confidence[twin.model >= 0] > 0).mean() > 0.9
    early = (calls.called != members).any(axis=1)
    if aggregator.name != "best":  # whose confidence is known from the start
        assert (calls.vote.confidence[early] < twin.confidence[early] - 1e-6).mean() > 0.15


AGGREGATORS = (*EXACT, Bayes(6.0))


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=lambda a: a.name)
@pytest.mark.parametrize(("tau", "stop_at"), [(0.0, 0.5), (0.5, 0.5), (0.2, 0.8), (0.0, np.inf), (0.6, 0.0)])
def test_a_slow_loop_makes_the_same_calls(aggregator, tau, stop_at):
    s, members, codes, options, estimate = scene(4, 60)
    calls = call(s, members, aggregator, codes, options, estimate, tau, stop_at)
    for i in range(60):
        one = (members[[i]], codes[[i]], options[[i]], estimate.take([i]))
        order = sorted(np.flatnonzero(members[i]), key=lambda m: (s[i, m], m))
        called = np.zeros((1, M), dtype=bool)
        for m in [None, *order]:
            if m is not None:
                called[0, m] = True
            vote, outlook = aggregator.so_far(called, *one), aggregator.outlook(called, *one)
            if vote.model[0] >= 0 and vote.confidence[0] >= stop_at:
                break
            if outlook and ((outlook.settled[0] and outlook.low[0] >= tau) or outlook.high[0] < tau):
                break
        np.testing.assert_array_equal(calls.called[i], called[0])
        assert calls.vote.model[i] == vote.model[0]


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=lambda a: a.name)
@pytest.mark.parametrize(("tau", "stop_at"), [(0.4, np.inf), (0.4, 0.6)])
def test_one_row_alone_is_the_row_in_a_batch_and_who_is_not_called_is_not_read(aggregator, tau, stop_at):
    s, members, codes, options, estimate = scene(5, 120, 5)
    calls = call(s, members, aggregator, codes, options, estimate, tau, stop_at)
    other = np.where(calls.called, codes, np.random.default_rng(0).integers(-1, 9, codes.shape))
    again = call(s, members, aggregator, other, options, estimate, tau, stop_at)
    np.testing.assert_array_equal(calls.called, again.called)
    for name in ("model", "confidence"):
        np.testing.assert_array_equal(getattr(calls.vote, name), getattr(again.vote, name))
    for i in range(0, 120, 7):
        alone = call(s[[i]], members[[i]], aggregator, codes[[i]], options[[i]], estimate.take([i]), tau, stop_at)
        np.testing.assert_array_equal(alone.called[0], calls.called[i])
        assert (alone.vote.model[0], alone.vote.confidence[0]) == (calls.vote.model[i], calls.vote.confidence[i])


def test_without_a_bet_a_posterior_hears_everyone():
    s, members, codes, options, estimate = scene(6, 200)
    calls, twin = (call(s, members, Bayes(6.0), codes, options, estimate, 0.5),
                   Bayes(6.0).vote(members, codes, options, estimate))
    np.testing.assert_array_equal(calls.called, members)
    np.testing.assert_array_equal(calls.vote.model, twin.model)
    np.testing.assert_array_equal(calls.vote.confidence, twin.confidence)


def test_the_first_of_many_is_no_majority():
    """A share of the votes of those called so far would stop every query at its first answer.

    A tie goes to the first model, which the router trusts most.
    """
    ask = np.ones((1, 5), dtype=bool)
    estimate, s = Estimate(np.array([[0.9, 0.5, 0.5, 0.5, 0.5]])), np.arange(6.0)[None]
    for codes, stop_at, calls in (([0, 0, 0, 0, 0], 0.5, 3), ([0, 0, 0, 0, 0], 0.2, 1), ([0, 1, 0, 1, 0], np.inf, 5),
                                  ([0, 0, -1, 1, 0], np.inf, 3), ([0, 1, 2, 2, 2], np.inf, 5)):
        made = call(s, ask, Majority(), np.array([codes]), np.array([4]), estimate, stop_at=stop_at)
        assert made.called.sum() == calls, codes


def test_nobody_is_called_where_no_answer_could_count():
    s, codes, p = np.arange(4.0)[None], np.zeros((1, 3), dtype=int), np.array([[0.3, 0.6, 0.5]])
    ask, open_ended = np.ones((1, 3), dtype=bool), np.zeros(1, dtype=int)
    for tau, calls in ((0.59, 2), (0.61, 0)):
        made = call(s, ask, Best(), codes, open_ended, Estimate(p), tau)
        assert (made.called.sum(), made.vote.model[0] >= 0) == (calls, calls > 0)
    nobody = call(s, ~ask, Majority(), codes, open_ended, Estimate(p))
    assert (nobody.called.sum(), nobody.vote.model[0], nobody.vote.confidence[0]) == (0, -1, 0.0)


def test_a_posterior_that_stops_early_pays_less_for_nearly_the_same_answers():
    rng = np.random.default_rng(7)
    n, options = 3000, np.full(3000, 6)
    codes, outcomes, estimate = simulate(rng, n, 6, options, centre=0.5, loading=1.0)
    half = np.arange(n) < n // 2
    fitted = fit("learned", codes[half], options[half], outcomes[half], estimate.take(half))
    new = (codes[~half], options[~half], estimate.take(~half))
    ask = np.ones((n - n // 2, 6), dtype=bool)
    s = np.column_stack([-new[2].models, np.zeros(len(ask))])
    spent, rate = [], []
    for stop_at in (0.7, 0.9, np.inf):
        calls = call(s, ask, fitted, *new, stop_at=stop_at)
        spent.append(calls.called.sum(axis=1).mean())
        rate.append(right(calls.vote, outcomes[~half]).mean())
    assert spent[0] < spent[1] < 0.65 * spent[2] and spent[2] == 6
    assert rate[1] > rate[2] - 0.02 and rate[0] < rate[2]
