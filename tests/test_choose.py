"""What validation rows choose: the family, the power and the price of the null that leave sets smallest or cheapest."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from racer.choice import NULL_COSTS, POWERS, set_rule
from racer.config import RiskConfig, SetsConfig
from racer.errors import ConfigError
from racer.losses import least_cut
from racer.rule import SetRule
from racer.scores import Scores

N, M = 240, 4


def make(seed: int = 0, cost: bool = True) -> Scores:
    """A pool whose dear models are better, half train and half validation."""
    rng = np.random.default_rng(seed)
    p = np.clip(rng.beta(2, 2, (N, M)) * [0.6, 0.8, 1.0, 1.2], 0.01, 0.99)
    outcomes, split = rng.random((N, M)) < p, np.where(np.arange(N) % 2, "validation", "train")
    return Scores(ids=np.arange(N).astype(str), split=split, task=np.full(N, "t"), models=("a", "b", "c", "d"),
                  probabilities=np.column_stack([p, np.prod(1 - p, axis=1)]), outcomes=outcomes,
                  cost=rng.random((N, M)) * [0.1, 0.3, 1.0, 9.0] if cost else None)


def mean_at_alpha(scores: Scores, rule: SetRule, aim: str, alpha: float, loss: str) -> float:
    """What the sets hold or cost on validation rows where just alpha of them, one more counted, are unserved."""
    rows = scores.of_split("validation")
    s, n = rule.of_scores(rows), len(rows.ids)
    served = sorted(least_cut(s, rows.outcomes, loss))
    j = max(j for j in range(n) if (j + 1) / (n + 1) <= alpha)
    cut = served[n - j - 1]
    each = rows.cost if aim == "cost" else np.ones((n, M))
    return float(np.mean([sum(each[i, m] for m in range(M) if s[i, m] <= cut) for i in range(n)]))


@pytest.mark.parametrize("loss", ["misrouting", "miss"])
@pytest.mark.parametrize("null", ["free", "product"])
@pytest.mark.parametrize("aim", ["size", "cost"])
def test_the_chosen_rule_is_the_best_of_all_on_validation_rows(aim, null, loss):
    scores, risk = make(), RiskConfig(loss=loss, alpha=0.15)
    settings = SetsConfig(null=null, choose=aim, joint="none")
    ready, chosen = set_rule(scores, settings, risk)
    fixed = [SetsConfig(family, null, power, null_cost, joint="none")
             for family, power, null_cost in itertools.product(("coverage", "gap", "probability"), POWERS, NULL_COSTS)]
    means = [mean_at_alpha(*set_rule(scores, sets, risk), aim, 0.15, loss) for sets in fixed]
    assert mean_at_alpha(ready, chosen, aim, 0.15, loss) == pytest.approx(min(means))
    assert max(means) > 1.02 * min(means)  # there was something to choose


def test_size_and_cost_are_different_aims_and_alpha_has_a_say():
    scores = make()
    rules = {(aim, alpha): set_rule(scores, SetsConfig(choose=aim, joint="none"), RiskConfig(alpha=alpha))[1]
             for aim in ("size", "cost") for alpha in (0.05, 0.3)}
    assert rules["size", 0.05] != rules["cost", 0.05]
    assert rules["cost", 0.05].cost_power > 0 and rules["size", 0.05].null_cost == 1.0  # the null is free
    assert len(set(rules.values())) > 2


def test_other_rows_choose_nothing():
    scores = make()
    chosen = set_rule(scores, SetsConfig(choose="cost"), RiskConfig())[1]
    rng = np.random.default_rng(5)
    others = scores.take(rng.integers(N, size=300))
    new = replace(others, ids=np.array([f"new {i}" for i in range(300)]), outcomes=~others.outcomes,
                  split=np.where(np.arange(300) % 2, "calibration", "test"))
    together = Scores(**{name: np.concatenate([getattr(scores, name), getattr(new, name)]) for name in
                         ("ids", "split", "task", "probabilities", "outcomes", "cost")}, models=scores.models)
    assert set_rule(together, SetsConfig(choose="cost"), RiskConfig())[1] == chosen


def test_without_prices_only_the_uniform_power_is_a_candidate():
    assert set_rule(make(cost=False), SetsConfig(choose="size"), RiskConfig())[1].cost_power == 0.0


def test_a_hard_limit_that_no_candidate_can_meet_is_found_by_the_calibration_not_here():
    rule = set_rule(make(), SetsConfig(choose="size", max_size=1), RiskConfig(alpha=0.01))[1]
    assert rule.max_size == 1


@pytest.mark.parametrize(("settings", "says"), [
    (("cost", False, 0.1), r"sets\.choose=cost, but this table has no complete costs"),
    (("size", True, 0.002), r"needs at least 499 validation rows at risk\.alpha=0\.002, got 120")])
def test_what_cannot_be_chosen_is_refused(settings, says):
    aim, cost, alpha = settings
    with pytest.raises(ConfigError, match=says):
        set_rule(make(cost=cost), SetsConfig(choose=aim), RiskConfig(alpha=alpha))
