"""What a calibration is made from: the rows of a file of scores, each for what it may be used for.

Calibration rows give the promise and choose nothing. What must be fixed before (a grid of cuts, say) is taken from the
validation rows, or from train where there are none.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from racer import bounded
from racer.baselines import best_single
from racer.context import Context, features
from racer.errors import TableError
from racer.losses import Truth, least_cut
from racer.risk import Risk
from racer.rule import SetRule
from racer.scores import Scores
from racer.steps import Steps, falling, steps


def reference_of(scores: Scores) -> int | None:
    """Return the column of the model that `harm` compares with: the best single on train; None without train rows."""
    return best_single(scores.of_split("train"))


def truth_of(rows: Scores, reference: int | None) -> Truth:
    """Return what the losses need to know of these rows."""
    return Truth(rows.outcomes, rows.graded, rows.cost, reference)


def context_of(rows: Scores) -> Context:
    """Return what a cut may depend on, for these rows."""
    known = {"task": rows.task, "group": rows.group, "weight": rows.weight}
    return Context(len(rows.ids), {k: v for k, v in known.items() if v is not None}, features(rows.probabilities))


@dataclass(frozen=True)
class Problem:
    """The scores of a router, the rule that makes its sets and the promise that is wanted."""

    scores: Scores
    rule: SetRule
    risk: Risk

    @cached_property
    def rows(self) -> Scores:
        """The calibration rows."""
        return self.scores.of_split("calibration")

    @cached_property
    def s(self) -> np.ndarray:
        """The calibration rows' `s` (n, M+1)."""
        return self.rule.of_scores(self.rows)

    @cached_property
    def truth(self) -> Truth:
        return truth_of(self.rows, reference_of(self.scores))

    @cached_property
    def served(self) -> np.ndarray:
        """The smallest cut that serves each calibration query (n,), for losses of SERVED."""
        return least_cut(self.s, self.truth, self.risk.loss)

    @cached_property
    def steps(self) -> Steps:
        """The calibration rows' losses at every cut, never rising; raises `ConfigError` if they rise."""
        return falling(steps(self.s, self.truth, self.risk.loss), self.risk.loss, self.risk.method)

    @cached_property
    def design(self) -> Scores:
        """The rows on which grids and orders are fixed: validation, or train where there is none."""
        for split in ("validation", "train"):
            if (self.scores.split == split).any():
                return self.scores.of_split(split)
        raise TableError(f"risk.method={self.risk.method} with risk.loss={self.risk.loss} and risk.bound="
                         f"{self.risk.bound_used()} fixes its cuts before it calibrates, on validation or train rows, "
                         "and there are none: bring some, or use crc or pac with a loss of 0 or 1")

    @cached_property
    def grid(self) -> np.ndarray:
        """Cuts fixed before calibration (L,)."""
        return bounded.grid(self.rule.of_scores(self.design), self.risk.cuts)
