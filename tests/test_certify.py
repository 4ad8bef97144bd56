"""The certificate of the answers: promises kept with the confidence promised, in worlds where true risks are known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from worlds import world

from racer import certify as module
from racer.bounded import EVERYTHING
from racer.certify import Design, Grid, Trial, reachable
from racer.errors import ConfigError
from racer.policy import Played
from racer.promises import Tally
from racer.recorded import Recorded
from racer.rule import SetRule

RULE = SetRule("coverage", "free", prices=(1e-4, 2e-4, 6e-4))
QUICK = Grid(aggregators=("majority", "bayes"), cuts=3, thresholds=8)
DELTA, DRAWS = 0.1, 500


@pytest.fixture(scope="module")
def population():
    """A world of 8000 queries: drawing of them with replacement is its exact law."""
    return world(n=8000, seed=11)


@pytest.fixture(scope="module")
def design(population):
    return Design.of(population, RULE, QUICK)


def whole(design, population):
    """All of the world, on which policies are played once; its tallies are the true risks."""
    return Trial(design, population.of_split("calibration"))


@dataclass(frozen=True)
class Drawn:
    """What policies do on n i.i.d. queries of a world: rows of what they did on all of it."""

    order: list[int]
    all_of_it: Played  # (N, F), in this order
    rows: Recorded

    @classmethod
    def of(cls, trial: Trial, order) -> "Drawn":
        played = [trial.play(int(k)) for k in order]
        columns = [np.hstack([getattr(one, name) for one in played]) for name in Played.__dataclass_fields__]
        return cls([int(k) for k in order], Played(*columns), trial.rows)

    def draw(self, n: int, rng) -> "Drawn":
        which = rng.integers(0, len(self.rows.scores.ids), n)
        return Drawn(self.order, self.all_of_it.take(which), self.rows.take(which))

    def tally(self, which):
        assert self.order == [int(k) for k in which]
        return Tally.of(self.all_of_it, self.rows, keep_shares=True)


def false_certificates(design, population, promises, n, rng, delta=DELTA) -> tuple[float, float]:
    """How often a certified policy breaks a promise truly, and how often any policy is certified."""
    world_, order = whole(design, population), design.order(promises, n, delta)[0]
    truth = world_.tally(order)
    broken = np.any([truth.observed(name) > level for name, level in promises.items()], axis=0)  # (F,)
    assert broken.any()  # else nothing could go wrong
    population = Drawn.of(world_, order)
    found = [module.certify(design, population.draw(n, rng), promises, delta) for _ in range(DRAWS)]
    return (np.mean([(v.certified & broken).any() for v in found]), np.mean([v.chosen is not None for v in found]))


@pytest.mark.parametrize(("promises", "n"), [
    ({"error_among_answered": 0.15}, 200),
    ({"error_among_answered": 0.12}, 500),  # led in by stricter twins
    ({"error_among_answered": 0.2, "over_abstention": 0.4}, 300),
    ({"harm": 0.06}, 150),
    ({"cost": 0.4, "harm": 0.2}, 600),
    ({"error_among_answered": 0.3, "over_abstention": 0.4, "cost": 0.6, "harm": 0.25}, 250)])
def test_all_promises_are_kept_at_once_with_the_confidence_promised(design, population, promises, n):
    wrong, some = false_certificates(design, population, promises, n, np.random.default_rng(5))
    assert wrong <= DELTA + 3 * np.sqrt(DELTA * (1 - DELTA) / DRAWS)
    assert some > 0.3  # and not by certifying nothing


def test_promises_that_no_policy_keeps_are_certified_no_more_often_than_delta(design, population):
    promises = {"error_among_answered": 0.02, "over_abstention": 0.02}
    wrong, some = false_certificates(design, population, promises, 200, np.random.default_rng(6))
    assert wrong == some <= DELTA


def test_an_order_fixed_in_another_world_costs_certificates_but_no_promise(population):
    """Validation rows on which the models are far better: what looks safest there is not safe here."""
    other = world(n=1, seed=12, skill=(2.5, 2.7, 3.0))
    design = Design.of(other, RULE, QUICK)
    wrong, _ = false_certificates(design, population, {"error_among_answered": 0.12}, 200, np.random.default_rng(7))
    assert wrong <= DELTA + 3 * np.sqrt(DELTA * (1 - DELTA) / DRAWS)


def test_the_true_error_of_a_certified_policy_may_be_at_the_level_but_its_p_value_is_valid(design, population):
    """A policy whose true risk is its level exactly is certified alone in at most delta of the draws."""
    rng, of = np.random.default_rng(8), whole(design, population)
    k = design.order({"error_among_answered": 0.15}, 150, DELTA)[0][:1]
    level, one = float(of.tally(k).observed("error_among_answered")[0]), Drawn.of(of, k)
    p = [module.promised.p_values(one.draw(150, rng).tally(k), {"error_among_answered": level})[0, 0]
         for _ in range(2000)]
    for u in (0.02, 0.1, 0.3):
        assert np.mean(np.array(p) <= u) <= u + 3 * np.sqrt(u * (1 - u) / 2000)
    assert np.mean(np.array(p) <= 0.3) > 0.15


# ---------------------------------------------------------------- the design


def test_the_order_goes_from_the_surest_to_the_cheapest(design):
    promises = {"error_among_answered": 0.2, "harm": 0.2}
    order, own = design.order(promises, 300, DELTA)
    assert own.sum() == pytest.approx(DELTA) and own[0] == own.max() == pytest.approx(DELTA / 2)
    p = module.all_risks(module.promised.rough_p_values(design.tally, promises))
    assert (np.diff(p[order]) > 0).all() and (np.diff(design.tally.spend[order]) <= 0).all()
    assert p[order[0]] == p.min() and len(order) > 3
    cheaper = design.tally.spend < design.tally.spend[order[0]]
    assert (p[cheaper] > p[order[0]]).all()  # nothing is paid that buys no certainty


def test_stricter_twins_lead_in_where_few_validation_rows_chose_among_many_policies(design):
    error = {"error_among_answered": 0.2}
    (plain, _), (led, own) = design.order(error, 300, DELTA), design.order(error, 3000, DELTA)
    twins = led[:len(led) - len(plain)]
    assert len(twins) > 1 and np.array_equal(led[len(twins):], plain)
    first, policies = design.policies[plain[0]], [design.policies[k] for k in twins]
    thresholds = [one.threshold for one in policies]
    assert thresholds == sorted(thresholds, reverse=True) and thresholds[-1] > first.threshold
    assert {replace(one, threshold=0.0) for one in policies} == {replace(first, threshold=0.0)}
    answers = design.tally.answered[twins] * 3000 / design.tally.n
    assert (0.8 ** (answers / 3) <= DELTA).all()  # a third of the answers, none wrong, would do
    assert own.sum() == pytest.approx(DELTA)
    assert own[[0, len(twins)]] == pytest.approx([0.4 * DELTA, 0.5 * DELTA]) and np.sort(own)[-3] < 0.01 * DELTA
    for promises in ({"harm": 0.1}, error | {"over_abstention": 0.2}):  # strict twins would break the latter
        assert np.array_equal(design.order(promises, 3000, DELTA)[0], design.order(promises, 300, DELTA)[0])


def test_no_policy_is_tested_twice():
    """One after the other a higher threshold may be cheaper, so that a stricter twin has a turn of its own."""
    votes, both = ("majority", "weighted", "best", "bayes"), 0
    for seed in (4, 5, 6):
        design = Design.of(world(n=600, seed=seed, validation=100), RULE,
                           replace(QUICK, aggregators=votes, thresholds=20, prefer="cost"))
        order, own = design.order({"error_among_answered": 0.15}, 600, DELTA)
        assert len(set(order.tolist())) == len(order) == len(own)
        surest = int(own.argmax())
        later = [design.policies[k] for k in order[surest + 1:]]
        both += any(one.is_stricter_twin_of(design.policies[order[surest]]) for one in later)
    assert both  # the case is there


def test_a_lead_in_certifies_more_often_where_validation_rows_are_few():
    """Of 60 worlds with 60 validation rows each: how often the chosen order certifies anything on 400 new rows."""
    found = {True: 0, False: 0}
    for seed in range(60):
        rows = world(n=400, seed=seed, validation=60, skill=(0.8, 1.2, 2.0))
        design = Design.of(rows, RULE, replace(QUICK, aggregators=("bayes", "best")))
        trial = Trial(design, rows.of_split("calibration"))
        for led in found:
            order, own = design.order({"error_among_answered": 0.08}, 400 if led else 60, DELTA)
            p = module.all_risks(module.promised.p_values(trial.tally(order), {"error_among_answered": 0.08}))
            found[led] += module.fallback(p, own).any()
    assert found[True] > found[False] + 5, found


def test_the_cheapest_is_deployed_where_abstention_is_limited_and_else_who_answers_most(population, design):
    promises, rng = {"error_among_answered": 0.25}, np.random.default_rng(3)
    rows, found = population.take(rng.integers(500, 8500, 600)), {}
    for prefer in ("auto", "cost", "answered"):
        trial = Trial(replace(design, prefer=prefer), rows)
        found[prefer] = module.certify(trial.design, trial, promises, DELTA)
    cheap, much, tally = found["cost"], found["answered"], design.tally
    assert found["auto"].chosen == much.chosen
    assert tally.spend[cheap.chosen] == tally.spend[cheap.order[cheap.certified]].min()
    tier = np.floor((tally.n - tally.answered) / (module.TIER * tally.n))[much.order[much.certified]]
    assert tally.spend[much.chosen] == tally.spend[much.order[much.certified]][tier == tier.min()].min()
    assert tally.answered[much.chosen] > tally.answered[cheap.chosen] and tally.spend[much.chosen] > \
        tally.spend[cheap.chosen]
    assert [design.preferred(promises | {more: 0.3}) for more in ("cost", "harm", "over_abstention")] == \
        ["answered", "cost", "cost"]


def test_the_best_single_model_is_the_policy_when_it_keeps_the_promise_for_least(population, design):
    """Where the big model is far cheaper than all others, harm is kept by calling it alone."""
    cost = population.scores.cost * np.array([50.0, 50.0, 0.01])
    rows = replace(population, scores=replace(population.scores, cost=cost))
    rule = replace(RULE, prices=rows.scores.prices())
    fresh = Design.of(rows, rule, QUICK)
    verdict = module.certify(fresh, Trial(fresh, rows.take(np.arange(500, 900))), {"harm": 0.01}, DELTA)
    policy = fresh.policies[verdict.chosen]
    assert policy.track.only == rows.reference == 2 and policy.size == 1


def test_votes_on_validation_rows_are_out_of_fold(population):
    """An aggregator that learns its rows by heart has no say over them."""
    rows = population.of_split("validation")
    folds = np.arange(len(rows.scores.ids)) % 3
    voter = module.Voter.out_of_fold("bayes", rows, folds)
    for f in range(3):
        those, aggregator, part = voter.parts[f]
        assert those.tolist() == np.flatnonzero(folds == f).tolist()
        assert part.scores.ids.tolist() == rows.scores.ids[those].tolist()
        assert aggregator == module.fitted("bayes", rows.take(np.flatnonzero(folds != f)))
    everyone = np.ones(rows.scores.outcomes.shape, dtype=bool)
    vote = voter.vote(everyone)
    alone = module.Voter.of(voter.parts[1][1], rows.take(np.flatnonzero(folds == 1))).vote(everyone[folds == 1])
    assert np.array_equal(vote.confidence[folds == 1], alone.confidence)


def test_policies_and_their_order_come_from_validation_rows_alone(population, design):
    other = population.take(np.arange(700))  # the same train and validation rows, other calibration rows
    again = Design.of(other, RULE, QUICK)
    assert again.policies == design.policies
    assert np.array_equal(again.order({"harm": 0.1}, 300, DELTA)[0], design.order({"harm": 0.1}, 300, DELTA)[0])


def test_the_grid_holds_every_way_of_calling_and_the_best_single_model(design):
    ways = {(p.calling, p.aggregator) for p in design.policies}
    assert ways == {(c, a) for c in ("parallel", "settled", "sequential") for a in QUICK.aggregators}
    alone = [p for p in design.policies if p.track.only is not None]
    assert {p.track.only for p in alone} == {2} and {p.cut for p in alone} > {EVERYTHING}
    assert {p.size for p in design.policies if p.cut == EVERYTHING} == {1, 2, 3}


def test_without_validation_rows_nothing_can_be_fixed():
    with pytest.raises(ConfigError, match="needs validation rows"):
        Design.of(world(n=50, seed=0, validation=1), RULE, QUICK)


# ---------------------------------------------------------------- none, and what is reachable


@pytest.mark.parametrize("promises", [{"error_among_answered": 0.02}, {"error_among_answered": 0.05, "harm": 0.05},
                                      {"over_abstention": 0.02, "cost": 0.1}])
def test_where_none_is_certified_the_reachable_promises_are_and_none_is_loose(design, population, promises):
    trial = Trial(design, population.take(np.arange(500, 900)))
    assert module.certify(design, trial, promises, DELTA).chosen is None
    levels = reachable(design, trial, promises, DELTA)
    assert levels.keys() == promises.keys() and all(levels[name] >= promises[name] for name in promises)
    assert module.certify(design, trial, levels, DELTA).chosen is not None
    for name, level in levels.items():
        if level > promises[name]:
            lower = levels | {name: max(level - module.STEP, promises[name])}
            assert module.certify(design, trial, lower, DELTA).chosen is None


def test_too_few_rows_and_lost_answers_certify_nothing(design, population):
    few = Trial(design, population.take(np.arange(500, 503)))
    assert module.certify(design, few, {"harm": 0.1}, DELTA).chosen is None
    assert reachable(design, few, {"harm": 0.1}, DELTA)["harm"] >= 1 - DELTA ** (1 / 3) - 1e-9
    lost = world(n=100, seed=2, lost=1.0)
    nothing = Design.of(lost, RULE, replace(QUICK, aggregators=("majority",)))
    trial = Trial(nothing, lost.of_split("calibration"))
    assert module.certify(nothing, trial, {"error_among_answered": 0.5}, DELTA).chosen is None
    assert reachable(nothing, trial, {"error_among_answered": 0.5}, DELTA) is None
