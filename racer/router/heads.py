"""From a vector to one number per model, how it is trained, and what probability it means."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special
from torch import nn


class Head(nn.Module):
    """A small network from vectors (B, C) to logits (B, outputs)."""

    def __init__(self, width: int, outputs: int, hidden: int, dropout: float):
        super().__init__()
        layers = [nn.LayerNorm(width), nn.Dropout(dropout)]
        if hidden:
            layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden or width, outputs))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.layers(vectors)

    def start_at(self, bias: np.ndarray) -> None:
        """Set the last bias (outputs,): what the head says before it has learned anything of the text."""
        with torch.no_grad():
            self.layers[-1].bias.copy_(torch.from_numpy(bias))


class MultilabelHead(Head):
    """One sigmoid per model, and one for the null: binary cross-entropy on the M + 1 columns."""

    def __init__(self, width: int, models: int, hidden: int, dropout: float):
        super().__init__(width, models + 1, hidden, dropout)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row (B,), from logits and labels (B, M+1), labels in [0, 1]."""
        return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none").mean(dim=1)

    @staticmethod
    def base_rates(labels: np.ndarray) -> np.ndarray:
        """Return the logits (M+1,) of how often each model, and nobody, is right in labels (n, M+1)."""
        return special.logit(np.clip(labels.mean(axis=0), 0.01, 0.99))

    @staticmethod
    def probabilities(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the models' probabilities (n, M) and the learned null (n,), float64, from logits (n, M+1)."""
        p = special.expit(logits.astype(np.float64))
        return p[:, :-1], p[:, -1]


class SoftmaxHead(Head):
    """A softmax over the M models, fitted to the normalised outcome row; rows that nobody solves say nothing."""

    def __init__(self, width: int, models: int, hidden: int, dropout: float):
        super().__init__(width, models, hidden, dropout)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of each row (B,), from logits (B, M) and labels (B, M+1); the null is not used."""
        total = labels[:, :-1].sum(dim=1, keepdim=True)
        target = labels[:, :-1] / total.clamp(min=1e-12)  # zero rows stay zero: no loss
        return -(target * F.log_softmax(logits.float(), dim=1)).sum(dim=1)

    @staticmethod
    def base_rates(labels: np.ndarray) -> np.ndarray:
        """Return the log of each model's share of the right answers (M,), from labels (n, M+1)."""
        return np.log(np.maximum(labels[:, :-1].mean(axis=0), 0.01))

    @staticmethod
    def probabilities(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the models' probabilities (n, M), float64, rows summing to 1; there is no learned null."""
        return special.softmax(logits.astype(np.float64), axis=1), None


HEADS = {"multilabel": MultilabelHead, "softmax": SoftmaxHead}


def labels_of(targets: np.ndarray) -> np.ndarray:
    """Return training labels (n, M+1) float32: targets (n, M) in [0, 1], and the null's, prod_m (1 - target).

    For 0/1 targets the null is 1 exactly where nobody is right; for fractions it is the chance of that.
    """
    return np.column_stack([targets, np.prod(1 - targets, axis=1)]).astype(np.float32)
