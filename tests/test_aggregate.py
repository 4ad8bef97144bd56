"""Votes against slow loops, Bayes against enumeration, fits against the law that made the data."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize
from voting import messy, right, simulate

from racer.aggregate import AGGREGATORS, fit, from_json
from racer.ballots import Sample, random_sets
from racer.errors import ConfigError
from racer.estimate import Estimate, Joint
from racer.learned import Learned, _Design, _minimise
from racer.votes import Bayes, Best, Majority, Weighted, _log_loss

M = 5
LEARNED = Learned(u=(0.5, -0.2, 0.3, 0.0, 0.9), v=(1.0, 0.4, 0.7, -0.1, 0.2),
                  w=tuple(map(tuple, (lambda a: (a + a.T) * (1 - np.eye(M)))(np.arange(25).reshape(5, 5) / 50 - 0.3))),
                  strongest=0.6, per_option=0.3, per_open=0.8, none=(0.2, -0.4, 0.5, 0.7))
ALL = (Majority(), Weighted(0.7, 1.3), Bayes(9.5), LEARNED, Best())
named = pytest.mark.parametrize("aggregator", ALL, ids=lambda a: a.name)


def logit(p):
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def slow(score_of, members, codes, p):
    """One query by loops: `score_of(answer)` and the confidence of it; ties by summed p, then the lowest column."""
    asked = [m for m in range(len(p)) if members[m]]
    givers = {}
    for m in asked:
        if codes[m] >= 0:
            givers.setdefault(codes[m], []).append(m)
    if not givers:
        return -1, 0.0
    scores, confidence = score_of(givers, asked)
    best = max(givers, key=lambda a: (round(scores[a], 12), sum(p[m] for m in givers[a]), -min(givers[a])))
    return max(givers[best], key=lambda m: (p[m], -m)), confidence(best)


def majority(givers, asked, **_):
    return {a: len(who) for a, who in givers.items()}, lambda a: len(givers[a]) / len(asked)


def weighted(givers, asked, p, **_):
    score = {a: sum(p[m] ** (1 / 0.7) for m in who) for a, who in givers.items()}
    none = 1.3 * max(sum(1 - p[m] for m in asked) / len(asked), 1e-6)
    return score, lambda a: score[a] / (sum(score.values()) + none)


def learned(givers, asked, p, options, fitted=LEARNED):
    x = [logit(value) for value in p]
    per_vote = fitted.per_open if options == 0 else fitted.per_option * math.log(options - 1)
    score = {a: sum(fitted.u[m] + fitted.v[m] * x[m] + per_vote for m in who)
             + sum(fitted.w[m][j] for m, j in itertools.combinations(who, 2))
             + fitted.strongest * max(x[m] for m in who) for a, who in givers.items()}
    lost = len(asked) - sum(map(len, givers.values()))
    context = (1, math.log(len(asked)), lost, sum(x[m] for m in asked) / len(asked))
    none = sum(weight * value for weight, value in zip(fitted.none, context, strict=True))
    total = sum(map(math.exp, score.values())) + math.exp(none)
    return score, lambda a: math.exp(score[a]) / total


@pytest.mark.parametrize(("aggregator", "rule"), [(Majority(), majority), (Weighted(0.7, 1.3), weighted),
                                                  (LEARNED, learned)], ids=lambda a: getattr(a, "name", ""))
def test_votes_agree_with_loops(aggregator, rule):
    members, codes, options, estimate = messy(np.random.default_rng(0), 400, M)
    vote = aggregator.vote(members, codes, options, estimate)
    for i, p in enumerate(estimate.models.tolist()):
        model, confidence = slow(lambda g, a, p=p, k=int(options[i]): rule(g, a, p=p, options=k), members[i], codes[i],
                                 p)
        assert (vote.model[i], vote.confidence[i]) == (model, pytest.approx(confidence, abs=1e-12)), i


def test_best_is_the_surest_member_that_answered():
    members, codes, options, estimate = messy(np.random.default_rng(1), 400, M)
    vote = Best().vote(members, codes, options, estimate)
    for i, p in enumerate(estimate.models.tolist()):
        answered = [m for m in range(M) if members[i, m] and codes[i, m] >= 0]
        model = max(answered, key=lambda m: (p[m], -m)) if answered else -1
        assert (vote.model[i], vote.confidence[i]) == (model, p[model] if answered else 0.0)


# ---------------------------------------------------------------- Bayes


def enumerated(codes, members, k, right, weights):
    """The posterior of each of k answers by summing over every pattern of who is right, given z and the truth."""
    asked, mass = np.flatnonzero(members), np.zeros(k)
    for truth, pattern in itertools.product(range(k), itertools.product((0, 1), repeat=len(asked))):
        for q, weight in enumerate(weights):
            chance = weight
            for m, y in zip(asked, pattern, strict=True):
                p = right[m, q]
                if y:
                    chance *= p * (codes[m] == truth)
                elif codes[m] < 0:
                    chance *= 1 - p  # that a wrong answer is lost does not depend on the truth
                else:
                    chance *= (1 - p) / (k - 1) * (codes[m] != truth)
            mass[truth] += chance
    return mass / mass.sum()


@pytest.mark.parametrize("coupled", [True, False])
def test_bayes_is_the_posterior_by_enumeration(coupled):
    rng = np.random.default_rng(2)
    members, codes, _, estimate = messy(rng, 60, 4)
    options = rng.integers(4, 7, 60)
    p = rng.random((60, 4))
    estimate = replace(estimate, models=p) if coupled else Estimate(p)
    joint = estimate.joint or Joint(np.log(p / (1 - p)), np.zeros((60, 4)), np.zeros(1), np.ones(1))
    vote = Bayes(2.0).vote(members, codes, options, estimate)
    [(_, given_z)] = joint.blocks()
    for i in range(60):
        posterior = enumerated(codes[i], members[i], options[i], given_z[i], joint.weights)
        seen = sorted(set(codes[i, members[i]].tolist()) - {-1})
        if seen:
            winner = max(seen, key=lambda a: posterior[a])
            assert codes[i, vote.model[i]] == winner
            assert vote.confidence[i] == pytest.approx(posterior[winner], rel=1e-9)
        else:
            assert (vote.model[i], vote.confidence[i]) == (-1, 0.0)


def test_bayes_takes_open_queries_to_have_one_more_answer_than_were_seen():
    p = np.full((3, 4), 0.4)
    codes = np.array([[0, 1, 2, 3], [0, 0, 1, 2], [0, 1, 0, 1]])
    ask, few, many = np.ones((3, 4), dtype=bool), Bayes(2.0), Bayes(5.0)
    as_options = few.vote(ask, codes, np.array([5, 4, 3]), Estimate(p)).confidence
    np.testing.assert_array_equal(few.vote(ask, codes, np.zeros(3, dtype=int), Estimate(p)).confidence, as_options)
    as_options = few.vote(ask, codes, np.full(3, 5), Estimate(p)).confidence
    np.testing.assert_array_equal(many.vote(ask, codes, np.zeros(3, dtype=int), Estimate(p)).confidence, as_options)


def test_bayes_with_more_answers_than_options_leaves_nothing_unseen():
    codes, ask = np.array([[0, 1, 2]]), np.ones((1, 3), dtype=bool)
    vote = Bayes(2.0).vote(ask, codes, np.array([2]), Estimate(np.array([[0.5, 0.2, 0.2]])))
    odds = 1 / (1 + 2 * 0.25)
    assert vote.confidence[0] == pytest.approx(odds)


def test_the_number_of_options_is_essential():
    """Two weak models that agree beat one strong one if there are many wrong answers to agree on, else not."""
    codes, ask, estimate = np.array([[0, 1, 1]]), np.ones((1, 3), dtype=bool), Estimate(np.array([[0.8, 0.4, 0.4]]))
    assert Bayes(2.0).vote(ask, codes, np.array([2]), estimate).model[0] == 0
    assert Bayes(2.0).vote(ask, codes, np.array([50]), estimate).model[0] == 1


# ---------------------------------------------------------------- what holds for all of them


@named
def test_one_row_alone_is_the_row_in_a_batch(aggregator):
    members, codes, options, estimate = messy(np.random.default_rng(3), 90, M)
    vote = aggregator.vote(members, codes, options, estimate)
    for i in range(90):
        alone = aggregator.vote(members[i:i + 1], codes[i:i + 1], options[i:i + 1], estimate.take([i]))
        assert (alone.model[0], alone.confidence[0]) == (vote.model[i], vote.confidence[i])


@named
def test_who_is_not_asked_is_not_heard(aggregator):
    rng = np.random.default_rng(4)
    members, codes, options, estimate = messy(rng, 200, M)
    vote = aggregator.vote(members, codes, options, estimate)
    other = np.where(members, codes, rng.integers(-1, 9, codes.shape))
    p = np.where(members, estimate.models, rng.random(codes.shape))
    logits = np.where(members, estimate.joint.logits, 3.0)
    again = aggregator.vote(members, other, options, replace(estimate, models=p,
                                                             joint=replace(estimate.joint, logits=logits)))
    np.testing.assert_array_equal(vote.model, again.model)
    np.testing.assert_array_equal(vote.confidence, again.confidence)
    assert (vote.model[~members.any(axis=1)] == -1).all()
    answered = vote.model >= 0
    np.testing.assert_array_equal(answered, (members & (codes >= 0)).any(axis=1))
    assert (members & (codes >= 0))[answered, vote.model[answered]].all()
    assert ((vote.confidence >= 0) & (vote.confidence <= 1)).all() and (vote.confidence[~answered] == 0).all()


@named
def test_the_names_of_answers_mean_nothing(aggregator):
    members, codes, options, estimate = messy(np.random.default_rng(5), 200, M)
    renamed = np.where(codes >= 0, 1000 - 7 * codes, -1)
    one, two = (aggregator.vote(members, c, options, estimate) for c in (codes, renamed))
    np.testing.assert_array_equal(one.model, two.model)
    np.testing.assert_array_equal(one.confidence, two.confidence)


@named
def test_the_order_of_models_means_nothing_but_at_ties(aggregator):
    rng = np.random.default_rng(6)
    members, codes, options, estimate = messy(rng, 300, M)
    estimate = replace(estimate, models=rng.random((300, M)))  # no ties but of majority's counts, split by summed p
    order = np.array([3, 0, 4, 1, 2])
    moved = aggregator
    if aggregator.name == "learned":
        w = np.array(aggregator.w)[np.ix_(order, order)]
        moved = replace(aggregator, u=tuple(np.array(aggregator.u)[order]), v=tuple(np.array(aggregator.v)[order]),
                        w=tuple(map(tuple, w)))
    joint = replace(estimate.joint, logits=estimate.joint.logits[:, order], loadings=estimate.joint.loadings[:, order])
    one = aggregator.vote(members, codes, options, estimate)
    two = moved.vote(members[:, order], codes[:, order], options, Estimate(estimate.models[:, order], joint=joint))
    np.testing.assert_array_equal(one.model, np.where(two.model >= 0, order[two.model], -1))
    np.testing.assert_allclose(one.confidence, two.confidence, atol=1e-12)


@pytest.mark.parametrize(("aggregator", "p", "codes", "model"), [
    (Majority(), [0.5, 0.5, 0.5, 0.5], [1, 0, 0, 1], 0),  # all equal: the answer of the lowest column
    (Majority(), [0.25, 0.5, 0.5, 0.25], [1, 0, 0, 1], 1),  # equal counts: the higher sum of p
    (Majority(), [0.25, 0.5, 0.75, 0.5], [1, 1, 0, 2], 1),  # two votes beat one of higher p
    (Majority(), [0.25, 0.5, 0.5, 1.0], [1, 1, 1, 0], 1),  # the surest giver speaks, the lowest of two
    (Weighted(1.0, 1.0), [0.5, 0.25, 0.25, 0.0], [1, 0, 0, 2], 0), (Best(), [0.2, 0.7, 0.7, 0.1], [0, 1, 2, 3], 1),
    (Best(), [0.2, 0.7, 0.9, 0.1], [0, 1, -1, 3], 1), (Bayes(4.0), [0.5, 0.5, 0.5, 0.5], [3, 2, 1, 0], 0),
])
def test_ties_are_broken_the_same_way_every_time(aggregator, p, codes, model):
    vote = aggregator.vote(np.ones((1, 4), dtype=bool), np.array([codes]), np.array([4]), Estimate(np.array([p])))
    assert vote.model[0] == model


@named
def test_probabilities_of_zero_and_one_are_no_error(aggregator):
    p = np.array([[0.0] * M, [1.0] * M, [0.0, 1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0, 0.0]])
    codes = np.array([[0, 1, 1, 2, -1], [0, 1, 1, 2, -1], [0, 1, 1, 2, -1], [-1] * M])
    vote = aggregator.vote(np.ones((4, M), dtype=bool), codes, np.array([4, 0, 3, 4]), Estimate(p))
    assert np.isfinite(vote.confidence).all() and (vote.model[:3] >= 0).all() and vote.model[3] == -1


@named
def test_an_aggregator_comes_back_from_json_to_the_bit(aggregator):
    aggregator = replace(aggregator, temperature=0.1 + 0.2) if aggregator.name == "weighted" else aggregator
    assert from_json(json.loads(json.dumps(aggregator.to_json()))) == aggregator


def test_what_is_no_aggregator_is_refused():
    for record in ({"name": "fusion"}, {}, {"name": "bayes"}, {"name": "majority", "temperature": 1.0}):
        with pytest.raises(ConfigError, match=r"expected one of majority, weighted, bayes, learned, best|fit it again"):
            from_json(record)
    codes, outcomes, estimate = simulate(np.random.default_rng(0), 3, M, np.full(3, 4))
    with pytest.raises(ConfigError, match="'mean', expected one of"):
        fit("mean", codes, np.full(3, 4), outcomes, estimate)
    for name in ("weighted", "bayes", "learned"):
        with pytest.raises(ConfigError, match="there are none among 3"):
            fit(name, np.full((3, M), -1), np.full(3, 4), outcomes, estimate)


# ---------------------------------------------------------------- fitting


def test_random_sets_are_of_every_size_and_of_every_model():
    sets = random_sets(np.random.default_rng(0), 30000, 4)
    sizes = np.bincount(sets.sum(axis=1), minlength=5)
    assert sizes[0] == 0 and (np.abs(sizes[1:] / 30000 - 0.25) < 0.0125).all()
    assert (np.abs(sets.mean(axis=0) - 0.625) < 0.014).all()


def test_a_sample_leaves_out_sets_that_said_nothing():
    rng = np.random.default_rng(0)
    codes, outcomes, estimate = simulate(rng, 300, 3, np.full(300, 4), lost=0.8, loading=1.0)
    sample = Sample.draw(codes, np.arange(300), outcomes, estimate, rng)
    assert (sample.members & (sample.codes >= 0)).any(axis=1).all()
    np.testing.assert_array_equal(sample.options, sample.query)
    for name in ("codes", "outcomes"):
        np.testing.assert_array_equal(getattr(sample, name), {"codes": codes, "outcomes": outcomes}[name][sample.query])
    np.testing.assert_array_equal(sample.estimate.joint.logits, estimate.joint.logits[sample.query])
    assert set(sample.query.tolist()) == set(np.flatnonzero((codes >= 0).any(axis=1)).tolist())


def test_fitting_is_repeatable_and_needs_few_rows():
    for n in (1, 7):
        codes, outcomes, estimate = simulate(np.random.default_rng(n), n, M, np.full(n, 4))
        for name in AGGREGATORS:
            one, two = (fit(name, codes, np.full(n, 4), outcomes, estimate, seed=1) for _ in range(2))
            assert one == two and one.name == name


@pytest.mark.parametrize("k", [3, 30])
def test_bayes_finds_the_number_of_answers_of_open_queries(k):
    rng = np.random.default_rng(k)
    codes, outcomes, estimate = simulate(rng, 4000, M, np.full(4000, k), lost=0.1, loading=1.0)
    options = np.where(rng.random(4000) < 0.5, 0, 2)  # queries with known options tell nothing of it
    assert fit("bayes", codes, options, outcomes, estimate).open_options == pytest.approx(k, rel=0.15)
    assert fit("bayes", codes, np.full(4000, k), outcomes, estimate).open_options == 2.0


def test_weights_go_to_the_best_or_to_the_many_as_the_pool_asks():
    """Where p says all, the temperature is low; where it says nothing, it is high."""
    rng = np.random.default_rng(7)
    options = np.full(1500, 2)  # with two options, wrong models agree as readily as right ones
    sharp = simulate(rng, 1500, M, options, spread=3.0)
    blunt = simulate(rng, 1500, M, options, spread=0.0, centre=0.8)
    noise = Estimate(np.clip(blunt[2].models + 0.25 * rng.standard_normal((1500, M)), 0.02, 0.98))
    cold = fit("weighted", sharp[0], options, sharp[1], sharp[2]).temperature
    hot = fit("weighted", blunt[0], options, blunt[1], noise).temperature
    assert cold < 0.4 and hot > 2.5


def test_weights_lie_between_the_best_member_and_the_majority():
    members, codes, options, estimate = messy(np.random.default_rng(8), 300, M)
    estimate = Estimate(np.random.default_rng(8).permuted(np.tile(np.linspace(0.2, 0.8, M), (300, 1)), axis=1))
    for other, temperature in ((Best(), 5e-3), (Majority(), 1e9)):
        one, two = (a.vote(members, codes, options, estimate) for a in (other, Weighted(temperature, 1.0)))
        won = one.model >= 0
        rows = np.flatnonzero(won)
        if other.name == "majority":  # weights are never quite equal: where counts tie, theirs is another rule
            votes = np.array([np.sort(np.bincount(c[m & (c >= 0)], minlength=4)) for c, m in
                              zip(codes, members, strict=True)])
            rows = np.flatnonzero(won & (votes[:, -1] > votes[:, -2]))
        np.testing.assert_array_equal(codes[rows, one.model[rows]], codes[rows, two.model[rows]])


def test_the_gradient_of_the_learned_vote_is_that_of_its_loss():
    rng = np.random.default_rng(9)
    options = rng.choice([0, 4, 6], 40)
    codes, outcomes, estimate = simulate(rng, 40, 4, np.where(options, options, 9), lost=0.3)
    design = _Design.of(Sample.draw(codes, options, outcomes, estimate, rng))
    at = 0.5 * rng.standard_normal(5 + 4 + 8 + 6)
    slope = optimize.approx_fprime(at, lambda x: design.loss(x)[0], 1e-6)
    np.testing.assert_allclose(design.loss(at)[1], slope, rtol=2e-4, atol=2e-4)


def test_the_loss_that_is_fitted_is_that_of_the_vote():
    """Minus log of the confidence in the right answer, or in none of those seen, query by query."""
    rng = np.random.default_rng(10)
    options = rng.choice([0, 4, 6], 50)
    codes, outcomes, estimate = simulate(rng, 50, M, np.where(options, options, 9), lost=0.3)
    fitted = fit("learned", codes, options, outcomes, estimate)
    sample = Sample.draw(codes, options, outcomes, estimate, rng)
    design = _Design.of(sample)
    iu, common = np.triu_indices(M, 1), np.array([0, 0, fitted.strongest, fitted.per_option, fitted.per_open])
    at = np.concatenate([common, fitted.none, fitted.u, fitted.v, np.array(fitted.w)[iu]])
    total = 0.0
    for i in range(len(sample.query)):
        asked, givers = np.flatnonzero(sample.members[i]).tolist(), {}
        for m in asked:
            if sample.codes[i, m] >= 0:
                givers.setdefault(sample.codes[i, m], []).append(m)
        _, confidence = learned(givers, asked, sample.estimate.models[i].tolist(), int(sample.options[i]), fitted)
        solved = {a for a, who in givers.items() if sample.outcomes[i, who].any()}
        total -= math.log(sum(map(confidence, solved)) if solved else 1 - sum(map(confidence, givers)))
    assert design.loss(at)[0] == pytest.approx(total * design.weight, rel=1e-9)


def test_the_learned_vote_is_the_minimum_of_its_penalised_loss():
    rng = np.random.default_rng(11)
    codes, outcomes, estimate = simulate(rng, 200, 3, np.full(200, 5), loading=1.0)
    design = _Design.of(Sample.draw(codes, np.full(200, 5), outcomes, estimate, rng))
    found = _minimise(design, 10.0)
    penalty = np.concatenate([np.full(9, 0.01), np.full(9, 10.0)])
    np.testing.assert_allclose(design.loss(found)[1] + penalty * found, 0, atol=0.05)


def test_the_learned_vote_finds_the_posterior_where_it_is_log_linear():
    """Independent models and many uniform wrong answers: the log posterior is a sum over those who say a."""
    rng = np.random.default_rng(12)
    n, options = 1500, np.full(1500, 40)
    codes, outcomes, estimate = simulate(rng, n, M, options)
    fitted = fit("learned", codes, options, outcomes, estimate)
    new = simulate(rng, n, M, options)
    for members in (np.ones((n, M), dtype=bool), random_sets(rng, n, M)):
        found, exact = (a.vote(members, new[0], options, new[2]) for a in (fitted, Bayes(2.0)))
        assert np.abs(found.confidence - exact.confidence).mean() < 0.025
        assert (new[0][np.arange(n), found.model] == new[0][np.arange(n), exact.model]).mean() > 0.97


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("name", "lost", "slack"), [("bayes", 0.0, 0.0), ("learned", 0.2, 0.04)])
def test_confidence_is_calibrated_for_the_pool_and_for_its_subsets(name, lost, slack, whole):
    """Fitted on 1200 queries of a pool that shares its difficulty, judged on 6000 new ones, in bins of confidence."""
    rng = np.random.default_rng(13)
    options = rng.choice([4, 10], 7200)
    codes, outcomes, estimate = simulate(rng, 7200, M, options, lost=lost, loading=1.0)
    seen, new = np.arange(1200), np.arange(1200, 7200)
    fitted = fit(name, codes[seen], options[seen], outcomes[seen], estimate.take(seen))
    members = np.ones((6000, M), dtype=bool) if whole else random_sets(rng, 6000, M)
    vote = fitted.vote(members, codes[new], options[new], estimate.take(new))
    hit, answered = right(vote, outcomes[new]), vote.model >= 0
    bin_of = np.minimum((vote.confidence * 5).astype(int), 4)
    full = [b for b in range(5) if (answered & (bin_of == b)).sum() > 200]
    assert len(full) >= 4  # it tells queries apart
    for b in full:
        inside = answered & (bin_of == b)
        gap, error = hit[inside].mean() - vote.confidence[inside].mean(), 0.5 / math.sqrt(inside.sum())
        assert abs(gap) < slack + 3.5 * error, (b, gap)


def test_the_confidence_of_weights_is_right_on_average():
    """Its two numbers cannot be right for the pool and for each subset, but over the sets they are fitted to."""
    rng = np.random.default_rng(13)
    options = rng.choice([4, 10], 4000)
    codes, outcomes, estimate = simulate(rng, 4000, M, options, lost=0.2, loading=1.0)
    half = np.arange(4000) < 2000
    fitted = fit("weighted", codes[half], options[half], outcomes[half], estimate.take(half))
    new = Sample.draw(codes[~half], options[~half], outcomes[~half], estimate.take(~half), rng)
    vote = fitted.vote(new.members, new.codes, new.options, new.estimate)
    hit = right(vote, new.outcomes)
    assert abs(hit.mean() - vote.confidence.mean()) < 0.035
    assert _log_loss(vote.confidence, hit).mean() < 0.9 * _log_loss(np.full(len(hit), hit.mean()), hit).mean()
    for change in ({"temperature": 3.0}, {"temperature": 1 / 3}):
        other = replace(fitted, **{name: getattr(fitted, name) * factor for name, factor in change.items()})
        worse = other.vote(new.members, new.codes, new.options, new.estimate)
        assert _log_loss(worse.confidence, right(worse, new.outcomes)).mean() > _log_loss(vote.confidence, hit).mean()


def test_a_wrong_model_that_sounds_sure_is_unlearned():
    """One model's p is a lie and two others copy each other: the learned vote finds out, majority and Bayes do not."""
    rng = np.random.default_rng(14)
    n, options = 1600, np.full(1600, 6)
    codes, outcomes, estimate = simulate(rng, n, M, options, spread=0.3, centre=0.2)
    for array in (codes, outcomes):
        array[:, 1] = array[:, 2] = array[:, 0]
    liar = estimate.models.copy()
    liar[:, 0] = liar[:, 1] = liar[:, 2] = 0.85
    truthful, half = Estimate(liar), np.arange(n) < n // 2
    ask = np.ones((n - n // 2, M), dtype=bool)
    rate = {name: right(fit(name, codes[half], options[half], outcomes[half], truthful.take(half)).vote(
        ask, codes[~half], options[~half], truthful.take(~half)), outcomes[~half]).mean() for name in AGGREGATORS}
    assert rate["learned"] > max(rate["majority"], rate["bayes"], rate["best"]) + 0.015
