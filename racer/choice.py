"""From settings and a router's scores to the rule that sets are made by: where the joint comes from.

`own`: the router's, if it learns one (`head=latent`). `fitted`: to its probabilities, on validation rows, after the
fact (`racer.coupling`). `none`: models are taken for independent. `auto`: own, else fitted where the family or the
null reads a joint and there are validation rows, else none.
"""

from racer.config import SetsConfig
from racer.coupling import Coupling, couple
from racer.errors import ConfigError
from racer.rule import SetRule
from racer.scores import Scores


def set_rule(scores: Scores, sets: SetsConfig) -> tuple[Scores, SetRule]:
    """Return the rule, and the scores as it needs them: with its joint and its null.

    Raises `ConfigError` if the router or its rows lack what the settings ask for.
    """
    scores = scores.uncoupled()
    joint = _source(scores, sets)
    coupling = _fitted(scores) if joint == "fitted" else None
    if coupling:
        scores = scores.coupled(coupling)
    rule = SetRule(sets.family, sets.null, scores.prices(), sets.cost_power, sets.null_cost, sets.max_size,
                   sets.max_cost, coupling, independent=joint == "none")
    return scores.with_null(sets.null), rule


def _source(scores: Scores, sets: SetsConfig) -> str:
    if sets.joint == "auto":
        reads = sets.family == "coverage" or sets.null == "joint"
        fallback = "fitted" if reads and (scores.split == "validation").any() else "none"
        return "own" if scores.joint is not None else fallback
    if sets.joint == "own" and scores.joint is None:
        raise ConfigError("sets.joint=own, but this router has no joint: set sets.joint=fitted or none, or train with "
                          "head=latent")
    if sets.joint == "fitted" and scores.joint is not None:
        raise ConfigError("sets.joint=fitted, but this router has a joint of its own: set sets.joint=own or none")
    return sets.joint


def _fitted(scores: Scores) -> Coupling:
    rows = scores.of_split("validation")
    return couple(rows.probabilities[:, :-1], rows.outcomes)
