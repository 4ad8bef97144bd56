"""Nearest neighbours: a model is right about as often as it was on the train queries most like this one."""

import itertools

import numpy as np
import torch

from racer.estimate import Estimate
from racer.router.bank import Bank
from racer.router.heads import Head
from racer.router.search import best_of

SIZES = (8, 16, 32, 64, 128, 256)  # k, as far as there are train rows
SHARPNESS = (0.0, 5.0, 15.0)  # weight of a neighbour: exp(sharpness * cosine)


class NeighbourHead(Head):
    """The k nearest train queries by cosine, weighted by likeness; the null is one more column of their labels."""

    name, learns_null = "knn", True

    def __init__(self, width: int, models: int, rows: int, k: int = 1, sharpness: float = 0.0):
        super().__init__()
        self.options = {"rows": rows, "k": k, "sharpness": sharpness}
        self.bank = Bank(rows, width, models + 1)

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray,
            seed: int) -> tuple["NeighbourHead", float]:
        """Return the head of train vectors (n, C) and labels (n, M+1), and its log loss on the held-out rows."""
        head = cls(vectors.shape[1], labels.shape[1] - 1, len(vectors))
        head.bank.remember(vectors, labels)
        sizes = [k for k in SIZES if k <= len(vectors)] or [len(vectors)]
        grid = ({"k": k, "sharpness": s} for k, s in itertools.product(sizes, SHARPNESS))
        queries = torch.from_numpy(held_out)
        best, loss = best_of(grid, lambda k, sharpness: head.bank.mean_label(queries, [(k, sharpness)])[0].numpy(),
                             held_out_labels)
        head.options |= best
        return head, loss

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.of_train(vectors)

    def of_train(self, vectors: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        return self.bank.mean_label(vectors, [(self.options["k"], self.options["sharpness"])], own)[0]

    def estimate(self, outputs: np.ndarray) -> Estimate:
        return Estimate.of_columns(outputs.astype(np.float64))
