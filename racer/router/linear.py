"""Logistic regression of each model, and of the null, on the encoder's vectors."""

import numpy as np
import torch
from scipy import special
from torch import nn

from racer.estimate import Estimate
from racer.router.heads import Head
from racer.router.search import log_loss, scaling

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C of scikit-learn: less is more regularised


class LinearHead(Head):
    """One linear layer (B, C) -> (B, M+1) of logits, fitted by scikit-learn."""

    name, learns_null = "linear", True

    def __init__(self, width: int, models: int):
        super().__init__()
        self.options = {}
        self.layer = nn.Linear(width, models + 1)

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray,
            seed: int) -> tuple["LinearHead", float]:
        """Return the head of train vectors (n, C) and 0/1 labels (n, M+1), and its log loss on the held-out rows.

        The held-out rows, those of validation, choose the regularisation, one for all columns.
        """
        mean, scale = scaling(vectors)
        z, z_held_out = (((v - mean) / scale).astype(np.float32) for v in (vectors, held_out))
        columns = [np.array([_regression(z, y, strength) for y in labels.T]) for strength in STRENGTHS]  # (M+1, C+1)
        losses = [log_loss(special.expit(z_held_out @ w[:, :-1].T + w[:, -1]), held_out_labels) for w in columns]
        best = int(np.argmin(losses))
        weights = columns[best][:, :-1] / scale  # back to vectors as they come
        bias = columns[best][:, -1] - weights @ mean
        head = cls(vectors.shape[1], labels.shape[1] - 1)
        head.layer.load_state_dict({"weight": torch.from_numpy(weights), "bias": torch.from_numpy(bias)})
        return head, losses[best]

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.layer(vectors)

    def estimate(self, outputs: np.ndarray) -> Estimate:
        return Estimate.of_columns(special.expit(outputs.astype(np.float64)))


def _regression(z: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """Return the weights and, last, the intercept (C+1,); where all labels agree, their smoothed rate."""
    from sklearn.linear_model import LogisticRegression

    if y.min() == y.max():
        rate = (y.sum() + 0.5) / (len(y) + 1)
        return np.append(np.zeros(z.shape[1]), special.logit(rate))
    fitted = LogisticRegression(C=strength, max_iter=1000).fit(z, y > 0.5)
    return np.append(fitted.coef_[0], fitted.intercept_[0])
