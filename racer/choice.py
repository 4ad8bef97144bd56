"""From settings and a router's scores to the rule that sets are made by: its joint, and what validation rows choose.

The joint: `own`, the router's, if it learns one (`head=latent`); `fitted` to its probabilities, on validation rows,
after the fact (`racer.coupling`); `none`, models are taken for independent; `auto`, own, else fitted where sets may
read a joint and there are validation rows, else none.

The rest, under `sets.choose=size` or `cost`: family, power and price of the null are those that leave the mean set
smallest, or cheapest, on the validation rows at the same risk level.
"""

from dataclasses import replace

import numpy as np

from racer.config import RiskConfig, SetsConfig
from racer.conformal import allowed_unserved
from racer.coupling import Coupling, couple
from racer.errors import ConfigError
from racer.losses import least_cut
from racer.problem import reference_of, truth_of
from racer.rule import SetRule
from racer.scores import Scores
from racer.sets import MARGINAL, select

POWERS, NULL_COSTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5), (0.25, 0.5, 1.0, 2.0, 4.0)


def set_rule(scores: Scores, sets: SetsConfig, risk: RiskConfig) -> tuple[Scores, SetRule]:
    """Return the rule, and the scores as it needs them: with its joint and its null.

    Raises `ConfigError` if the router or its rows lack what the settings ask for.
    """
    scores = scores.uncoupled()
    joint = _source(scores, sets)
    coupling = _fitted(scores) if joint == "fitted" else None
    if coupling:
        scores = scores.coupled(coupling)
    scores = scores.with_null(sets.null)
    rule = SetRule(sets.family, sets.null, scores.prices(), sets.cost_power, sets.null_cost, sets.max_size,
                   sets.max_cost, coupling, independent=joint == "none",
                   query_costs=_query_costs(scores, sets))
    return scores, rule if sets.choose == "no" else _chosen(scores, rule, sets.choose, risk)


def _source(scores: Scores, sets: SetsConfig) -> str:
    if sets.joint == "auto":
        reads = sets.family == "coverage" or sets.null == "joint" or sets.choose != "no"
        fallback = "fitted" if reads and (scores.split == "validation").any() else "none"
        return "own" if scores.joint is not None else fallback
    if sets.joint == "own" and scores.joint is None:
        raise ConfigError("sets.joint=own, but this router has no joint: set sets.joint=fitted or none, or train with "
                          "head=latent")
    if sets.joint == "fitted" and scores.joint is not None:
        raise ConfigError("sets.joint=fitted, but this router has a joint of its own: set sets.joint=own or none")
    return sets.joint


def _query_costs(scores: Scores, sets: SetsConfig) -> bool:
    if sets.costs == "query" and scores.expected_cost is None:
        raise ConfigError("sets.costs=query, but this router has learned no costs: train it on a table whose train "
                          "rows all have costs, or set sets.costs=mean")
    return sets.costs != "mean" and scores.expected_cost is not None and scores.prices() is not None


def _fitted(scores: Scores) -> Coupling:
    rows = scores.of_split("validation")
    return couple(rows.probabilities[:, :-1], rows.outcomes)


def _chosen(scores: Scores, rule: SetRule, aim: str, risk: RiskConfig) -> SetRule:
    """Return the candidate with the least mean `aim` on the validation rows; the first of equals."""
    rows, reference = scores.of_split("validation"), reference_of(scores)
    if aim == "cost" and rows.cost is None:
        raise ConfigError("sets.choose=cost, but this table has no complete costs: set sets.choose=size")
    allowed = allowed_unserved(len(rows.ids), risk.alpha, "crc")
    if allowed < 0:
        raise ConfigError(f"sets.choose={aim} needs at least {int(np.ceil(1 / risk.alpha)) - 1} validation rows at "
                          f"risk.alpha={risk.alpha:g}, got {len(rows.ids)}: set sets.choose=no")
    each = np.ones(rows.outcomes.shape) if aim == "size" else rows.cost
    candidates = _candidates(rule)
    return candidates[int(np.argmin([_mean(c, rows, allowed, each, risk.loss, reference) for c in candidates]))]


def _candidates(rule: SetRule) -> list[SetRule]:
    powers = POWERS if rule.prices is not None else POWERS[:1]
    null_costs = (rule.null_cost,) if rule.null == "free" else NULL_COSTS
    coverage = [replace(rule, family="coverage", cost_power=p, null_cost=c) for p in powers for c in null_costs]
    return coverage + [replace(rule, family=family) for family in MARGINAL]


def _mean(rule: SetRule, rows: Scores, allowed: int, each: np.ndarray, loss: str, reference: int | None) -> float:
    """Return the mean of `each` (n, M) summed over the sets that leave just `allowed` rows unserved."""
    s = rule.of_scores(rows)
    cut = np.sort(least_cut(s, truth_of(rows, reference), loss))[len(s) - allowed - 1]
    if cut == np.inf:  # out of reach within the hard limits
        return np.inf
    return float((select(s, cut)[:, :-1] * each).sum(axis=1).mean())
