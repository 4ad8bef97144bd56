"""What is known of queries before any model is asked, beside their scores: all that a cut may depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

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


def features(probabilities: np.ndarray) -> np.ndarray:
    """Return the logits (n, M) of the models' probabilities in (n, M+1), the null last: what a weight may look at."""
    return special.logit(np.clip(probabilities[:, :-1], EDGE, 1 - EDGE))
