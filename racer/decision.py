"""What routing one query returns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from racer.artifact import Artifact
from racer.context import Context, features
from racer.estimate import Estimate
from racer.sets import select


@dataclass(frozen=True)
class Decision:
    """The set for one query.

    `members` are the models to call, best first; `abstain` says that there are none. `probabilities`
    (M+1,) are the router's, in the order of the pool, the null last. `null_admitted`: the null is in the
    set. `expected_cost` is USD: what the members are expected to cost for this query, or their mean cost on the train
    split under `sets.costs=mean`; None where prices are unknown.
    `certified`: the calibration was made for this router; if not, nothing is promised.
    """

    members: tuple[str, ...]
    abstain: bool
    probabilities: np.ndarray
    null_admitted: bool
    expected_cost: float | None
    certified: bool = True


def decide(estimate: Estimate, artifact: Artifact, known: dict[str, Sequence] | None = None,
           certified: bool = True) -> list[Decision]:
    """Return the decision for each query, from what the router says of them.

    `known` holds what else the cut may depend on, (n,) by name: `task`, `group`, `weight`.
    """
    estimate = artifact.rule.estimate(estimate)
    probabilities = estimate.probabilities(artifact.rule.null)
    s = artifact.rule.distance(probabilities, estimate.joint, estimate.cost)
    cuts = artifact.calibration.cut_of(Context(len(s), known or {}, features(probabilities)))
    chosen = select(s, cuts)  # (n, M+1)
    order = np.argsort(s[:, :-1], axis=1, kind="stable")
    prices = artifact.rule.prices_of(estimate.cost)
    costs = [None] * len(s) if prices is None else (chosen[:, :-1] * prices).sum(axis=1).tolist()
    decisions = []
    for p, row, first, cost in zip(probabilities, chosen, order, costs, strict=True):
        members = tuple(artifact.models[m] for m in first if row[m])
        decisions.append(Decision(members, not members, p, bool(row[-1]), cost, certified))
    return decisions
