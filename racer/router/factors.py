"""Matrix factorisation: each model is a vector, and so is each query, read off its text.

p_m(x) = sigmoid(w . (v_m * (W x)) + b_m): the query's vector, projected to `rank` dimensions, meets the model's own
element by element, and one direction w reads the product. Zhuang et al., "EmbedLLM", arXiv 2410.02223; Ong et al.,
"RouteLLM", arXiv 2406.18665. The null is one more model.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special
from torch import nn

from racer.estimate import Estimate
from racer.router.heads import TrainedHead


class FactorHead(TrainedHead):
    """Logits (B, M+1), the null last, of M + 1 model vectors (M+1, rank)."""

    name, learns_null = "mf", True

    def __init__(self, width: int, models: int, rank: int, dropout: float):
        super().__init__()
        self.options = {"rank": rank, "dropout": dropout}
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, rank))
        self.models = nn.Parameter(torch.randn(models + 1, rank))
        self.read = nn.Linear(rank, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(models + 1))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        products = self.project(vectors).unsqueeze(1) * self.models  # (B, M+1, rank)
        return self.read(products).squeeze(2) + self.bias

    def start(self, labels: np.ndarray) -> None:
        with torch.no_grad():
            self.bias.copy_(torch.from_numpy(special.logit(np.clip(labels.mean(axis=0), 0.01, 0.99))))

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean binary cross-entropy of each row (B,) over its M + 1 columns."""
        return F.binary_cross_entropy_with_logits(outputs.float(), labels, reduction="none").mean(dim=1)

    def estimate(self, outputs: np.ndarray) -> Estimate:
        return Estimate.of_columns(special.expit(outputs.astype(np.float64)))
