"""What the train queries were like, and who was right on them: a memory that routers ask for neighbours."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SCALES = ((8, 5.0), (32, 15.0), (128, 15.0))  # k and sharpness of `features`: a neighbour weighs exp(sharpness cosine)
PRIOR = 1.0  # neighbours' worth of the base rates, so that no probability is exactly 0 or 1


class Bank(nn.Module):
    """The unit vectors (n, C) and labels (n, M+1) of the train queries."""

    def __init__(self, rows: int, width: int, columns: int):
        super().__init__()
        self.register_buffer("vectors", torch.empty(rows, width))
        self.register_buffer("labels", torch.empty(rows, columns))

    def remember(self, vectors: np.ndarray, labels: np.ndarray) -> "Bank":
        """Take in the train queries' vectors (n, C) and labels (n, M+1); return itself."""
        self.vectors.copy_(F.normalize(torch.from_numpy(vectors), dim=1))
        self.labels.copy_(torch.from_numpy(labels))
        return self

    def mean_label(self, vectors: torch.Tensor, settings: Sequence[tuple[int, float]],
                   own: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return the weighted mean label (B, M+1) of the k nearest, in [0, 1], for each (k, sharpness).

        `own` (B,) are the places of these very queries in the bank: none is its own neighbour. A k beyond the bank
        means all of it.
        """
        likeness = F.normalize(vectors.float(), dim=1) @ self.vectors.T  # (B, rows)
        if own is not None:
            likeness.scatter_(1, own.unsqueeze(1), -2.0)  # below every cosine
        most = max(k for k, _ in settings)
        likeness, nearest = likeness.topk(min(most, likeness.shape[1] - (own is not None)), dim=1)
        base, labels = self.labels.mean(dim=0), self.labels[nearest]  # (B, most, M+1)
        means = []
        for k, sharpness in settings:
            weight = torch.softmax(sharpness * likeness[:, :k], dim=1)
            k = weight.shape[1]
            mean = (k * torch.einsum("bk,bkm->bm", weight, labels[:, :k]) + PRIOR * base) / (k + PRIOR)
            means.append(mean.clamp(max=1))  # the weights sum to 1 up to rounding, and all labels may be 1
        return means

    def features(self, vectors: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        """Return (B, 3 (M+1)): logits of the mean labels at three scales."""
        return torch.cat([torch.logit(p, eps=0.01) for p in self.mean_label(vectors, SCALES, own)], dim=1)
