"""Nearest neighbours: a model is right about as often as it was on the train queries most like this one."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from racer.estimate import Estimate
from racer.router.heads import Head
from racer.router.search import best_of

SIZES = (8, 16, 32, 64, 128, 256)  # k, as far as there are train rows
SHARPNESS = (0.0, 5.0, 15.0)  # weight of a neighbour: exp(sharpness * cosine)
PRIOR = 1.0  # neighbours' worth of the base rates, so that no probability is exactly 0 or 1


class NeighbourHead(Head):
    """The k nearest train queries by cosine, weighted by likeness; the null is one more column of their labels."""

    name, learns_null = "knn", True

    def __init__(self, width: int, models: int, rows: int, k: int = 1, sharpness: float = 0.0):
        super().__init__()
        self.options = {"rows": rows, "k": k, "sharpness": sharpness}
        self.register_buffer("vectors", torch.empty(rows, width))
        self.register_buffer("labels", torch.empty(rows, models + 1))

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray,
            seed: int) -> tuple["NeighbourHead", float]:
        """Return the router of train vectors (n, C) and labels (n, M+1), and its validation log loss."""
        head = cls(vectors.shape[1], labels.shape[1] - 1, len(vectors))
        head.vectors.copy_(F.normalize(torch.from_numpy(vectors), dim=1))
        head.labels.copy_(torch.from_numpy(labels))
        sizes = [k for k in SIZES if k <= len(vectors)] or [len(vectors)]
        grid = ({"k": k, "sharpness": s} for k, s in itertools.product(sizes, SHARPNESS))
        queries = torch.from_numpy(held_out)
        best, loss = best_of(grid, lambda **options: head.among(queries, **options).numpy(), held_out_labels)
        head.options |= best
        return head, loss

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.among(vectors, self.options["k"], self.options["sharpness"])

    def among(self, vectors: torch.Tensor, k: int, sharpness: float) -> torch.Tensor:
        """Return the weighted mean label (B, M+1) of the k nearest."""
        likeness, nearest = (F.normalize(vectors.float(), dim=1) @ self.vectors.T).topk(k, dim=1)  # (B, k)
        weight = torch.softmax(sharpness * likeness, dim=1) * k
        total = (weight.unsqueeze(2) * self.labels[nearest]).sum(dim=1)
        return (total + PRIOR * self.labels.mean(dim=0)) / (k + PRIOR)

    def estimate(self, outputs: np.ndarray) -> Estimate:
        return Estimate.of_columns(outputs.astype(np.float64))
