"""What is known of queries before any model is asked, beside their scores: all that a cut may depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy import special

EDGE = 1e-6  # probabilities this near 0 or 1 are taken for it, so that logits stay finite


@dataclass(frozen=True)
class Context:
    """What a calibration may know of `n` queries when it chooses their cuts.

    `known` holds columns (n,) by name: `task`, `group`, `weight`; a cell is None where it is unknown. `features` (n, M)
    are the logits of the router's probabilities.
    """

    n: int
    known: dict[str, Sequence] = field(default_factory=dict)
    features: np.ndarray | None = None


class OneCut:
    """A calibration with one `cut` for all queries, whose promise is for each of them."""

    only: ClassVar[str] = ""
    cut: float

    def cut_of(self, context: Context) -> np.ndarray:
        """Return the cut of each query (n,): one for all."""
        return np.full(context.n, self.cut)

    def promised(self, context: Context) -> np.ndarray:
        """Return for which queries anything is promised (n,) bool: for all."""
        return np.ones(context.n, dtype=bool)


def features(probabilities: np.ndarray) -> np.ndarray:
    """Return the logits (n, M) of the models' probabilities in (n, M+1), the null last: what a weight may look at."""
    return special.logit(np.clip(probabilities[:, :-1], EDGE, 1 - EDGE))
