"""What routing one query returns."""

from dataclasses import dataclass

import numpy as np

from racer.artifact import Artifact
from racer.estimate import Joint
from racer.sets import select


@dataclass(frozen=True)
class Decision:
    """The set for one query.

    `members` are the models to call, best first; `abstain` says that there are none. `probabilities`
    (M+1,) are the router's, in the order of the pool, the null last. `null_admitted`: the null is in the
    set. `expected_cost` is USD: the members' mean cost on the train split, None where prices are unknown.
    """

    members: tuple[str, ...]
    abstain: bool
    probabilities: np.ndarray
    null_admitted: bool
    expected_cost: float | None


def decide(probabilities: np.ndarray, joint: Joint | None, artifact: Artifact) -> list[Decision]:
    """Return the decision for each row of `probabilities` (n, M+1), whose null is the artifact's."""
    s = artifact.rule.distance(probabilities, joint)
    chosen = select(s, artifact.calibration.cut)  # (n, M+1)
    order = np.argsort(s[:, :-1], axis=1, kind="stable")
    prices = artifact.rule.prices
    costs = [None] * len(s) if prices is None else (chosen[:, :-1] @ np.array(prices)).tolist()
    decisions = []
    for p, row, first, cost in zip(probabilities, chosen, order, costs, strict=True):
        members = tuple(artifact.models[m] for m in first if row[m])
        decisions.append(Decision(members, not members, p, bool(row[-1]), cost))
    return decisions
