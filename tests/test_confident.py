"""Votes that hear how sure models are: the evidence against its law and by loops, and what does not hear stays."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import special
from voting import messy, right, simulate

from racer.aggregate import CONFIDENT, fit, from_json
from racer.ballots import log_odds
from racer.confident import Confident, Evidence
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.votes import Best, Weighted, _log_loss

M = 5
EVIDENCE = Evidence(says=(True, True, False, True, True), a=(0.5, -1.0, 3.0, 0.0, 0.2), b=(1.0, 0.3, 2.0, 0.0, -0.4),
                    k=-0.3)


def sure(rng, outcomes, separation=1.5, silent=0.2):
    """Return confidences (n, M): logits normal around +-separation as models are right or wrong, some unknown.

    Their weight of evidence is then 2 * separation * logit c, exactly.
    """
    c = special.expit(rng.standard_normal(outcomes.shape) + np.where(outcomes, separation, -separation))
    return np.where(rng.random(outcomes.shape) < silent, np.nan, c)


def asked(rng, n, separation=1.5, **law):
    options = rng.choice([4, 10], n)
    codes, outcomes, estimate = simulate(rng, n, M, options, **law)
    return codes, options, outcomes, replace(estimate, own_confidence=sure(rng, outcomes, separation))


def odds(p):
    p = min(max(p, 1e-6), 1 - 1e-6)
    return p / (1 - p)


def test_the_odds_are_moved_by_the_evidence_as_by_a_loop():
    rng = np.random.default_rng(0)
    _, codes, _, estimate = messy(rng, 300, M)
    c = np.where(rng.random((300, M)) < 0.3, np.nan, rng.choice([0.0, 0.2, 0.9, 1.0], (300, M)))
    estimate = replace(estimate, own_confidence=c)
    heard = EVIDENCE.heard(codes >= 0, estimate)
    for i in range(300):
        for m in range(M):
            before, shift = estimate.models[i, m], 0.0
            if codes[i, m] >= 0 and not math.isnan(c[i, m]) and EVIDENCE.says[m]:
                shift = EVIDENCE.a[m] + EVIDENCE.b[m] * math.log(odds(c[i, m])) + EVIDENCE.k * math.log(odds(before))
                before = special.expit(math.log(odds(before)) + shift)
            assert heard.models[i, m] == pytest.approx(before, abs=1e-12)
            assert heard.joint.logits[i, m] == pytest.approx(estimate.joint.logits[i, m] + shift, abs=1e-12)


def test_the_evidence_of_a_known_law_is_found():
    """log P(c | right) / P(c | wrong) is 3 logit c in the one world, and 0 in the other."""
    rng = np.random.default_rng(1)
    for separation in (1.5, 0.0):
        codes, _, outcomes, estimate = asked(rng, 6000, separation)
        found = Evidence.fit(codes, outcomes, estimate)
        assert np.abs(np.array(found.b) - 2 * separation).max() < 0.25
        assert np.abs(found.a).max() < 0.25 and abs(found.k) < 0.1 and found.says == (True,) * M
        heard = found.heard(codes >= 0, estimate).models
        given = (codes >= 0) & ~np.isnan(estimate.own_confidence)
        gain = _log_loss(estimate.models, outcomes)[given].mean() - _log_loss(heard, outcomes)[given].mean()
        assert gain > 0.3 if separation else abs(gain) < 0.01


def test_models_differ_in_what_their_word_is_worth_and_those_never_heard_are_left_alone():
    rng = np.random.default_rng(2)
    codes, _, outcomes, estimate = asked(rng, 4000)
    c = estimate.own_confidence
    c[:, 1] = rng.random(4000)  # tells nothing
    c[:, 2] = 1 - c[:, 2]  # tells the contrary
    c[:, 3] = np.nan
    found = Evidence.fit(codes, outcomes, estimate)
    assert abs(found.b[1]) < 0.1 and found.b[2] < -2 and found.b[0] > 2
    assert found.says == (True, True, True, False, True)
    later = replace(estimate, own_confidence=np.full(c.shape, 0.99))
    np.testing.assert_array_equal(found.heard(codes >= 0, later).models[:, 3], estimate.models[:, 3])
    nobody = Evidence.fit(codes, outcomes, replace(estimate, own_confidence=np.full(c.shape, np.nan)))
    np.testing.assert_array_equal(nobody.heard(codes >= 0, later).models, estimate.models)


@pytest.mark.parametrize("same", [0.9, 0.99, 1e-9])
def test_confidences_that_are_all_the_same_say_nothing_about_others(same):
    """As of a likelihood of long replies, which is never more than the least that is told apart."""
    rng = np.random.default_rng(6)
    codes, _, outcomes, estimate = asked(rng, 500)
    found = Evidence.fit(codes, outcomes, replace(estimate, own_confidence=np.full(codes.shape, same)))
    assert np.abs(found.b).max() < 0.1
    other = found.heard(codes >= 0, replace(estimate, own_confidence=np.full(codes.shape, 0.001))).models
    assert np.abs(log_odds(other) - log_odds(estimate.models)).max() < 2


@pytest.mark.parametrize("name", CONFIDENT)
def test_what_holds_for_every_vote_that_hears(name):
    """Alone as in a batch; who is not asked, or gave no answer, is not heard; every bit comes back from JSON."""
    rng = np.random.default_rng(3)
    codes, options, outcomes, estimate = asked(rng, 300, lost=0.3, loading=1.0)
    vote = fit(name, codes, options, outcomes, estimate)
    assert (vote.name, vote.hears) == (name, (True,) * M)
    assert from_json(json.loads(json.dumps(vote.to_json()))) == vote
    members, n = rng.random(codes.shape) < 0.6, len(codes)
    found = vote.vote(members, codes, options, estimate)
    for i in range(0, n, 17):
        alone = vote.vote(members[i:i + 1], codes[i:i + 1], options[i:i + 1], estimate.take(np.array([i])))
        assert (alone.model[0], alone.confidence[0]) == (found.model[i], found.confidence[i])
    heard = members & (codes >= 0)
    other = replace(estimate, own_confidence=np.where(heard, estimate.own_confidence, rng.random(codes.shape)))
    again = vote.vote(members, codes, options, other)
    np.testing.assert_array_equal(again.model, found.model)
    np.testing.assert_array_equal(again.confidence, found.confidence)
    louder = replace(estimate, own_confidence=np.where(heard, 0.999, np.nan))
    assert (vote.vote(members, codes, options, louder).confidence != found.confidence).any()
    assert vote.outlook(members, members, codes, options, estimate) is None


@pytest.mark.parametrize("name", CONFIDENT)
def test_to_hear_makes_a_vote_surer_and_more_often_right_and_noise_does_little_harm(name):
    """Fitted on 800 queries, judged on 4000: beside the same vote that does not hear."""
    rng = np.random.default_rng(4)
    for separation in (1.0, 0.0):
        codes, options, outcomes, estimate = asked(rng, 4800, separation, lost=0.1, loading=1.0)
        seen, new = np.arange(800), np.arange(800, 4800)
        everyone, loss, hits = np.ones((4000, M), dtype=bool), [], []
        for one in (name, name.removesuffix("+confidence")):
            vote = fit(one, codes[seen], options[seen], outcomes[seen], estimate.take(seen)).vote(
                everyone, codes[new], options[new], estimate.take(new))
            hit = right(vote, outcomes[new])
            loss.append(_log_loss(vote.confidence, hit).mean())
            hits.append(hit.mean())
        assert (loss[0] < loss[1] - 0.02 and hits[0] > hits[1] + 0.02) if separation else loss[0] < loss[1] + 0.01


def test_confidences_that_nobody_recorded_are_asked_for():
    rng = np.random.default_rng(5)
    codes, options, outcomes, estimate = asked(rng, 50)
    bare = Estimate(estimate.models)
    with pytest.raises(ConfigError, match="table with a column `confidence`"):
        fit("best+confidence", codes, options, outcomes, bare)
    with pytest.raises(ConfigError, match="table with a column `confidence`"):
        Confident(Best(), EVIDENCE).vote(codes >= 0, codes, options, bare)
    with pytest.raises(ConfigError, match=r"'majority\+confidence', expected one of majority, .*learned\+confidence"):
        fit("majority+confidence", codes, options, outcomes, estimate)


def test_saturated_confidences_are_finite_evidence():
    codes, c = np.array([[0, 1]]), np.array([[1.0, 0.0]])
    estimate = Estimate(np.array([[1.0, 0.0]]), own_confidence=c)
    heard = Evidence((True, True), (0.0, 0.0), (1.0, 1.0), 0.0).heard(codes >= 0, estimate)
    assert np.isfinite(log_odds(heard.models)).all()
    found = Confident(Weighted(1.0, 1.0), Evidence((True, True), (0.0, 0.0), (50.0, 50.0), 0.0)).vote(
        codes >= 0, codes, np.array([2]), estimate)
    assert np.isfinite(found.confidence).all() and found.model[0] == 0
