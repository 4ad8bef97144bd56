"""Clusters: k-means of the train queries, and how often each model was right in each cluster.

Zhang et al., "The Avengers", arXiv 2505.19797: nothing is trained but the centres. The number of clusters is chosen on
the validation rows.
"""

import numpy as np
import torch
import torch.nn.functional as F

from racer.estimate import Estimate
from racer.router.heads import Head
from racer.router.search import log_loss

COUNTS = (4, 8, 16, 32, 64, 128)  # as far as there are ten train rows for each
PRIOR = 4.0  # queries' worth of the base rates in each cluster


class ClusterHead(Head):
    """The rates of the nearest centre; the null is one more column of the labels."""

    name, learns_null = "clusters", True

    def __init__(self, width: int, models: int, count: int):
        super().__init__()
        self.options = {"count": count}
        self.register_buffer("centres", torch.empty(count, width))
        self.register_buffer("rates", torch.empty(count, models + 1))

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray,
            seed: int) -> tuple["ClusterHead", float]:
        """Return the head of train vectors (n, C) and labels (n, M+1), and its log loss on the held-out rows."""
        counts = [c for c in COUNTS if 10 * c <= len(vectors)] or [1]
        heads = [cls._of(count, vectors, labels, seed) for count in counts]
        queries = torch.from_numpy(held_out)
        losses = [log_loss(head(queries).numpy(), held_out_labels) for head in heads]
        best = int(np.argmin(losses))
        return heads[best], losses[best]

    @classmethod
    def _of(cls, count: int, vectors: np.ndarray, labels: np.ndarray, seed: int) -> "ClusterHead":
        from sklearn.cluster import KMeans

        unit = F.normalize(torch.from_numpy(vectors), dim=1).numpy()
        means = KMeans(count, n_init=4, random_state=seed).fit(unit)
        member = np.eye(count)[means.labels_]  # (n, count)
        rates = (member.T @ labels + PRIOR * labels.mean(axis=0)) / (member.sum(axis=0)[:, None] + PRIOR)
        head = cls(vectors.shape[1], labels.shape[1] - 1, count)
        head.centres.copy_(torch.from_numpy(means.cluster_centers_))
        head.rates.copy_(torch.from_numpy(rates))
        return head

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        unit = F.normalize(vectors.float(), dim=1)
        distance = torch.cdist(unit, self.centres, compute_mode="donot_use_mm_for_euclid_dist")  # (B, count), exact
        return self.rates[distance.argmin(dim=1)]

    def estimate(self, outputs: np.ndarray) -> Estimate:
        return Estimate.of_columns(outputs.astype(np.float64))
