"""What routing one query returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from racer.artifact import Artifact
from racer.context import Context, features
from racer.estimate import Estimate
from racer.rule import SetRule
from racer.sets import select


@dataclass(frozen=True)
class Decision:
    """The set for one query.

    `members` are the models to call, best first; `abstain` says that there are none. `probabilities`
    (M+1,) are the router's, in the order of the pool, the null last. `null_admitted`: the null is in the
    set. `expected_cost` is USD: what the members are expected to cost for this query, or their mean cost on the train
    split under `sets.costs=mean`; None where prices are unknown.
    `certified`: the calibration was made for this router and promises something for this query; if not, nothing is
    promised. A calibration by group promises nothing for a group without a cut of its own, an online one nothing for
    queries decided together (`promised` in `racer.calibrations`). `spares` are the models that
    come next, best first: who takes the place of a member that fails. A set with its spares keeps `sets.max_cost`.
    """

    members: tuple[str, ...]
    abstain: bool
    probabilities: np.ndarray
    null_admitted: bool
    expected_cost: float | None
    certified: bool = True
    spares: tuple[str, ...] = ()


def decide(estimate: Estimate, artifact: Artifact, known: dict[str, Sequence] | None = None,
           certified: bool = True) -> list[Decision]:
    """Return the decision for each query, from what the router says of them.

    `known` holds what else the cut may depend on, (n,) by name: `task`, `group`, `weight`. `certified`: the calibration
    was made for this router.
    """
    estimate = artifact.rule.estimate(estimate)
    probabilities = estimate.probabilities(artifact.rule.null)
    s = artifact.rule.distance(probabilities, estimate.joint, estimate.cost)
    context = Context(len(s), known or {}, features(probabilities))
    chosen = select(s, artifact.calibration.cut_of(context))  # (n, M+1)
    sure = (artifact.calibration.promised(context) & certified).tolist()
    wide = s if artifact.rule.max_size is None else without_size(artifact.rule, estimate)
    order = np.argsort(wide[:, :-1], axis=1, kind="stable")
    prices = artifact.rule.prices_of(estimate.cost)
    costs = [None] * len(s) if prices is None else (chosen[:, :-1] * prices).sum(axis=1).tolist()
    decisions = []
    for i, (p, row, cost, stands) in enumerate(zip(probabilities, chosen, costs, sure, strict=True)):
        members = tuple(artifact.models[m] for m in order[i] if row[m])
        spares = tuple(artifact.models[m] for m in order[i] if not row[m] and wide[i, m] < np.inf)
        decisions.append(Decision(members, not members, p, bool(row[-1]), cost, stands, spares))
    return decisions


def without_size(rule: SetRule, estimate: Estimate) -> np.ndarray:
    """Return s (n, M+1) without the limit on size: who takes another's place makes no set larger.

    `estimate` is as the rule reads it (`SetRule.estimate`).
    """
    wide = replace(rule, max_size=None)
    return wide.distance(estimate.probabilities(rule.null), estimate.joint, estimate.cost)
