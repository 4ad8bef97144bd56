"""What the fitted routers share: the scale of their vectors, and how they choose their settings.

The candidate with the least log loss on the validation rows is taken.
"""

from collections.abc import Callable, Iterable

import numpy as np


def scaling(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (C,) float64 of each dimension of vectors (n, C).

    The deviation of a dimension that never varies is inf: divided by it, that dimension says nothing, on new vectors
    as on these.
    """
    mean, scale = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    return mean, np.where(scale > 1e-6 * np.abs(vectors).max(), scale, np.inf)


def log_loss(p: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean binary cross-entropy of probabilities (n, K) and labels (n, K) in [0, 1]."""
    p = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def best_of(candidates: Iterable[dict], probabilities: Callable[..., np.ndarray],
            labels: np.ndarray) -> tuple[dict, float]:
    """Return the candidate whose `probabilities(**candidate)` (n, K) fit the labels best, and its log loss."""
    losses = [(log_loss(probabilities(**c), labels), i, c) for i, c in enumerate(candidates)]
    loss, _, best = min(losses, key=lambda entry: entry[:2])  # the earlier one wins a tie
    return best, loss
