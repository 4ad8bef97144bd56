"""What must hold of every calibrated router, on routers that hypothesis makes up: nested sets, no say for the order of
queries or models, none for a shared monotone map, and one row alone as in a batch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from racer.kept import sets_of
from racer.methods import calibrate, deployed
from racer.problem import reference_of
from racer.risk import Also, Risk
from racer.rule import SetRule
from racer.scores import Scores
from racer.sets import FAMILIES, select
from racer.stages import Artifact

MODELS, N = ("a", "b", "c"), 150
PRICES = {"a": 0.1, "b": 0.3, "c": 0.9}
RISKS = [Risk("misrouting", "crc", 0.2), Risk("miss", "pac", 0.3), Risk("over_abstention", "dkw", 0.4),
         Risk("harm", "group", 0.45), Risk("regret", "crc", 0.3),
         Risk("regret", "pac", 0.5, bound="hoeffding", cuts=20),
         Risk("miss", "weighted", 0.3, weights="known"), Risk("miss", "online", 0.3),
         Risk("miss", "ltt", 0.6, bound="hoeffding", also=(Also("cost", 0.9),), cuts=8, testing="holm")]
EVERY_RISK = pytest.mark.parametrize("risk", RISKS, ids=lambda risk: f"{risk.method}-{risk.loss}")
few = settings(max_examples=12, derandomize=True, database=None, deadline=None)
seeds = st.integers(0, 10_000)


def make(seed: int, levels: int | None = None) -> Scores:
    rng = np.random.default_rng(seed)
    p = rng.random((N, len(MODELS) + 1))
    p = p if levels is None else np.round(p * levels) / levels
    outcomes = rng.random((N, len(MODELS))) < 0.2 + 0.7 * p[:, :-1]
    return Scores(np.arange(N).astype(str), np.resize(["train", "validation", "calibration", "calibration", "test"], N),
                  rng.choice(["x", "y"], N), MODELS, p, outcomes, graded=outcomes * rng.random(outcomes.shape),
                  cost=rng.gamma(2.0, 1.0, outcomes.shape), weight=rng.gamma(3.0, 1.0, N))


def rule_of(scores: Scores, family: str = "coverage") -> SetRule:
    return SetRule(family, "learned", tuple(PRICES[m] for m in scores.models))


def routed(scores: Scores, risk: Risk, family: str = "coverage") -> np.ndarray:
    """The calibrated sets of all rows (n, M+1)."""
    rule = rule_of(scores, family)
    found = calibrate(scores, rule, risk)
    return sets_of(scores, Artifact(deployed(rule, found), risk, found, scores.models, {}, reference_of(scores)))


@few
@given(seed=seeds, family=st.sampled_from(FAMILIES), low=st.floats(-3, 3), high=st.floats(-3, 3),
       levels=st.sampled_from([None, 4]), size=st.sampled_from([None, 2]))
def test_sets_only_grow_with_the_cut(seed, family, low, high, levels, size):
    scores = make(seed, levels)
    s = replace(rule_of(scores, family), max_size=size).distance(scores.probabilities)
    small, large = select(s, min(low, high)), select(s, max(low, high))
    assert not (small & ~large).any() and (size is None or large[:, :-1].sum(axis=1).max() <= size)


@EVERY_RISK
@few
@given(seed=seeds, levels=st.sampled_from([None, 5]))
def test_the_order_of_queries_has_no_say(risk, seed, levels):
    scores = make(seed, levels)
    order = np.random.default_rng(seed).permutation(N)
    assert (routed(scores.take(order), risk) == routed(scores, risk)[order]).all()


@EVERY_RISK
@few
@given(seed=seeds)
def test_the_order_of_models_has_no_say(risk, seed):
    scores = make(seed)
    right = np.sort(scores.of_split("train").outcomes.sum(axis=0))
    assume(risk.loss != "harm" or right[-1] > right[-2])  # of two best references the earlier column is taken
    order = np.random.default_rng(seed).permutation(3)
    columns = np.append(order, 3)
    moved = replace(scores, models=tuple(np.array(MODELS)[order].tolist()), outcomes=scores.outcomes[:, order],
                    probabilities=scores.probabilities[:, columns], graded=scores.graded[:, order],
                    cost=scores.cost[:, order])
    assert (routed(moved, risk) == routed(scores, risk)[:, columns]).all()


@EVERY_RISK
@few
@given(seed=seeds, power=st.floats(0.5, 3))
def test_a_shared_monotone_map_has_no_say_where_only_ranks_count(risk, seed, power):
    """The family `probability` compares s with s alone."""
    scores = make(seed)
    moved = replace(scores, probabilities=scores.probabilities**power)
    assert (routed(moved, risk, "probability") == routed(scores, risk, "probability")).all()


@EVERY_RISK
@few
@given(seed=seeds, row=st.integers(0, N - 1))
def test_one_row_alone_is_the_row_in_a_batch(risk, seed, row):
    scores = make(seed)
    rule = rule_of(scores)
    found = calibrate(scores, rule, risk)
    artifact = Artifact(deployed(rule, found), risk, found, MODELS, {}, 0)
    assert (sets_of(scores.take(np.array([row])), artifact)[0] == sets_of(scores, artifact)[row]).all()
