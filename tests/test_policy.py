"""What a policy does: the same as calls made by hand, every call billed, ties and lost answers included."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from worlds import world

from racer.aggregate import AGGREGATORS
from racer.bounded import EVERYTHING
from racer.policy import Policy, Track, climb, play
from racer.rule import SetRule
from racer.sequential import call
from racer.voters import Voter, fitted

RULE = SetRule("coverage", "free", prices=(1e-4, 2e-4, 6e-4))
TRACKS = [Track(RULE), Track(replace(RULE, family="probability")), Track(replace(RULE, max_size=2)), Track(RULE, 2)]


@pytest.fixture(scope="module")
def rows():
    return world(n=150, seed=3, skill=(0.2, 0.5, 1.3), lost=0.2).of_split("calibration")


@cache
def aggregator_of(name):
    return fitted(name, world(n=1, seed=4, validation=150).of_split("validation"))


def voter(name, rows):
    return Voter.of(aggregator_of(name), rows)


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("track", TRACKS)
def test_a_policy_does_what_calling_by_hand_does(rows, track, name):
    voting = voter(name, rows)
    [(_, aggregator, _)] = voting.parts
    ladder = climb(track, rows, voting)
    known = rows.answers.codes, rows.answers.options, rows.estimate
    s = track.of_scores(rows.scores)
    inner = float(np.quantile(s[np.isfinite(s)], 0.4))
    for cut, size in ((EVERYTHING, None), (EVERYTHING, 2), (inner, None), (inner, 1)):
        place = s[:, :-1].argsort(axis=1, kind="stable").argsort(axis=1)
        members = (s[:, :-1] <= cut) & (place < (size or 3))
        for tau in (0.0, 0.4, 2 / 3, 0.9):
            for calling, bet in (("parallel", None), ("settled", np.inf), ("sequential", tau)):
                played = play(Policy(track, cut, size, name, calling, tau), ladder, rows)
                if bet is None:
                    called, vote = members, aggregator.vote(members, *known)
                else:
                    found = call(s, members, aggregator, *known, tau=tau, stop_at=bet)
                    called, vote = found.called, found.vote
                assert played.calls[:, 0].tolist() == called.sum(axis=1).tolist()
                assert played.model[:, 0].tolist() == vote.model.tolist()
                np.testing.assert_allclose(played.confidence[:, 0], vote.confidence, rtol=1e-12, atol=1e-15)
                answered = (vote.model >= 0) & (vote.confidence >= tau)
                assert played.answered[:, 0].tolist() == answered.tolist()
                assert played.spend[:, 0] == pytest.approx((called * rows.scores.cost).sum(axis=1))


@pytest.mark.parametrize("name", ["majority", "weighted", "best"])
def test_settled_calls_give_the_answers_of_calls_at_once_for_fewer(rows, name):
    ladder, taus = climb(TRACKS[0], rows, voter(name, rows)), np.array([0.0, 0.5, 0.7])
    one = Policy(TRACKS[0], EVERYTHING, None, name, "parallel", 0.0)
    at_once, settled = play(one, ladder, rows, taus), play(replace(one, calling="settled"), ladder, rows, taus)
    assert np.array_equal(at_once.answered, settled.answered)
    texts = [rows.answers.codes[np.arange(150)[:, None], np.maximum(p.model, 0)] for p in (at_once, settled)]
    assert np.array_equal(*(np.where(at_once.answered, t, -1) for t in texts))
    assert (settled.calls <= at_once.calls).all() and (settled.calls < at_once.calls).any(axis=0).all()


def test_losses_by_a_slow_loop_lost_answers_are_billed_and_abstentions_are_not_right(rows):
    rows = replace(rows, reference=1)
    policy = Policy(TRACKS[0], EVERYTHING, 2, "learned", "sequential", 0.55)
    ladder = climb(policy.track, rows, voter("learned", rows))
    played = play(policy, ladder, rows)
    losses, seen = played.losses(rows), {"wrong": 0, "over": 0, "harm": 0, "lost": 0}
    for i in range(150):
        called = ladder.order[i, :played.calls[i, 0]]
        given, right = played.answered[i, 0], played.answered[i, 0] and rows.scores.outcomes[i, played.model[i, 0]]
        assert not given or played.model[i, 0] in called
        assert losses["wrong"][i, 0] == (given and not right)
        assert losses["over_abstention"][i, 0] == (not given and rows.scores.outcomes[i].any())
        assert losses["harm"][i, 0] == (rows.scores.outcomes[i, 1] and not right)
        assert losses["cost"][i, 0] == pytest.approx(sum(rows.scores.cost[i, called]) / sum(rows.scores.cost[i]))
        seen["lost"] += any(rows.answers.texts[i, m] is None for m in called)
        seen = seen | {"wrong": seen["wrong"] + losses["wrong"][i, 0], "harm": seen["harm"] + losses["harm"][i, 0],
                       "over": seen["over"] + losses["over_abstention"][i, 0]}
    assert min(seen.values()) > 3


def test_the_best_single_model_alone_does_no_harm_against_itself(rows):
    assert rows.reference == 2
    policy = Policy(TRACKS[3], EVERYTHING, 1, "majority", "parallel", 0.0)
    played = play(policy, climb(policy.track, rows, voter("majority", rows)), rows)
    assert not played.losses(rows)["harm"].any() and (played.calls == 1).all()
    assert np.array_equal(played.right[:, 0], rows.scores.outcomes[:, 2])
    lost = np.equal(rows.answers.texts[:, 2], None)
    assert np.array_equal(played.answered[:, 0], ~lost) and lost.any()


def test_where_all_answers_are_lost_all_calls_are_billed_and_nothing_is_answered():
    rows = world(n=20, seed=1, lost=1.0).of_split("calibration")
    policy = Policy(TRACKS[0], EVERYTHING, None, "majority", "parallel", 0.0)
    played = play(policy, climb(policy.track, rows, voter("majority", rows)), rows)
    assert not played.answered.any() and (played.calls == 3).all() and np.allclose(played.share, 1)


def test_a_confidence_equal_to_the_threshold_is_enough(rows):
    policy = Policy(TRACKS[0], EVERYTHING, None, "majority", "parallel", 2 / 3)
    played = play(policy, climb(policy.track, rows, voter("majority", rows)), rows)
    tied = played.confidence[:, 0] == 2 / 3
    assert tied.any() and played.answered[tied].all()


def test_a_query_alone_gets_what_it_gets_among_others(rows):
    policy = Policy(TRACKS[0], EVERYTHING, None, "bayes", "sequential", 0.6)
    whole = play(policy, climb(policy.track, rows, voter("bayes", rows)), rows)
    for i in (0, 7, 149):
        one = rows.take(np.array([i]))
        alone = play(policy, climb(policy.track, one, voter("bayes", one)), one)
        for name in ("calls", "model", "answered"):
            assert getattr(alone, name)[0] == getattr(whole, name)[i]


def test_hard_limits_of_the_rule_hold_at_every_cut(rows):
    policy = Policy(TRACKS[2], EVERYTHING, None, "majority", "parallel", 0.0)
    played = play(policy, climb(policy.track, rows, voter("majority", rows)), rows)
    assert (played.calls == 2).all()


def test_without_costs_calls_are_what_is_spent():
    rows = world(n=30, seed=2, priced=False).of_split("calibration")
    policy = Policy(Track(replace(RULE, prices=None)), EVERYTHING, 2, "majority", "parallel", 0.0)
    played = play(policy, climb(policy.track, rows, voter("majority", rows)), rows)
    assert (played.spend == 2).all()
