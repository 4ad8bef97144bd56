"""RouterDC: each model is a vector in the encoder's own space, learned by dual contrast.

Chen et al., "RouterDC: Query-Based Router by Dual Contrastive Learning", arXiv 2409.19886. Query against models: each
right model is pulled to the query, the wrong ones pushed away (their top and bottom models by score; with 0/1 outcomes
these are the right and the wrong). Query against queries: those of the same cluster lie close, others far; this term
moves the encoder only, so it takes part when the encoder is fine-tuned. Their fixed temperature is learned here.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special
from torch import nn

from racer.estimate import Estimate
from racer.router.heads import TrainedHead

NOTHING = -1e4  # log of a weight of 0: e to it is 0, and the gradient of a sum over nothing is finite
TINY = 1e-12


class ContrastiveHead(TrainedHead):
    """Cosine similarities of the query to M model vectors. Labels may carry a last column, the query's cluster."""

    name, grows = "routerdc", False

    def __init__(self, width: int, models: int):
        super().__init__()
        self.options = {}
        self.models = nn.Parameter(torch.randn(models, width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return (B, M + C): scaled similarities to the models, then the vectors, for the contrast of queries."""
        unit = F.normalize(vectors.float(), dim=1)
        similar = self.log_scale.clamp(max=math.log(100)).exp() * unit @ F.normalize(self.models, dim=1).T
        return torch.cat([similar, unit], dim=1)

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row (B,), from outputs and labels (B, M+1), or (B, M+2) with clusters."""
        m = len(self.models)
        outputs = outputs.float()
        loss = against_models(outputs[:, :m], labels[:, :m])
        if self.training and labels.shape[1] > m + 1:
            loss = loss + against_queries(outputs[:, m:], labels[:, -1])
        return loss

    def estimate(self, outputs: np.ndarray) -> Estimate:
        """Return a softmax over the M similarities (n, M)."""
        return Estimate(special.softmax(outputs[:, :len(self.models)].astype(np.float64), axis=1))


def against_models(similar: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return (B,): mean over right models of -log e^s / (e^s + sum of e^s of the wrong ones); 0 without a contrast.

    A fractional label counts as right with its weight, and as wrong with the rest.
    """
    wrong = torch.logsumexp(similar + _log(1 - labels), dim=1, keepdim=True)  # (B, 1)
    each = torch.logaddexp(similar, wrong) - similar  # (B, M)
    return (labels * each).sum(dim=1) / labels.sum(dim=1).clamp(min=TINY)


def against_queries(unit: torch.Tensor, cluster: torch.Tensor) -> torch.Tensor:
    """Return (B,): mean over the batch's queries of the same cluster of -log e^s / (e^s + sum of e^s of the others).

    `unit` (B, C) are unit vectors, s their cosines. 0 for a query that is alone in its cluster.
    """
    similar = unit @ unit.T  # (B, B)
    same = (cluster[:, None] == cluster).float()
    positive = same - torch.eye(len(unit), device=unit.device)
    others = torch.logsumexp(similar + _log(1 - same), dim=1, keepdim=True)
    each = torch.logaddexp(similar, others) - similar
    return (positive * each).sum(dim=1) / positive.sum(dim=1).clamp(min=1)


def _log(weight: torch.Tensor) -> torch.Tensor:
    return torch.where(weight > 0, weight.clamp(min=TINY).log(), NOTHING)
