"""What a call will cost, read from the query: long questions cost more, and some kinds of question make models talk."""

import numpy as np
import torch
from torch import nn

PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)  # of the ridge, on standardised features


class Spend(nn.Module):
    """Log cost of each model, linear in the query's vector and the logarithm of its length in characters."""

    def __init__(self, width: int, models: int):
        super().__init__()
        self.layer = nn.Linear(width + 1, models, dtype=torch.float64)

    @classmethod
    def fit(cls, vectors: np.ndarray, lengths: np.ndarray, cost: np.ndarray) -> "Spend":
        """Return the spend of train vectors (n, C), lengths (n,) and costs (n, M) in USD, n >= 2.

        Ridge regression of the log, its penalty by leave-one-out; each model's mean prediction is its mean cost, so a
        model that is free is said to be free.
        """
        from sklearn.linear_model import RidgeCV

        x = _features(vectors, lengths)
        mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-8
        least = np.min(cost, axis=0, where=cost > 0, initial=np.inf)  # (M,) a call that was free counts as this
        y = np.log(np.maximum(cost, np.where(np.isfinite(least), least, 1.0)))
        ridge = RidgeCV(PENALTIES).fit((x - mean) / scale, y)
        weights = ridge.coef_.reshape(y.shape[1], -1) / scale  # (M, C+1)
        bias = ridge.intercept_ - weights @ mean
        with np.errstate(divide="ignore"):  # a free model: the logarithm of 0, and exp gives 0 back
            bias += np.log(cost.mean(axis=0)) - np.log(np.exp(x @ weights.T + bias).mean(axis=0))
        spend = cls(vectors.shape[1], cost.shape[1])
        spend.layer.load_state_dict({"weight": torch.from_numpy(weights), "bias": torch.from_numpy(bias)})
        return spend

    def joined(self, other: "Spend") -> "Spend":
        """Return the spend of these models and then the other's, each as it was."""
        spend = Spend(self.layer.in_features - 1, self.layer.out_features + other.layer.out_features)
        parts = [s.layer.state_dict() for s in (self, other)]
        spend.layer.load_state_dict({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        return spend

    @torch.inference_mode()
    def usd(self, vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the expected cost of each call (n, M), USD, of vectors (n, C) and lengths (n,) in characters."""
        return self.layer(torch.from_numpy(_features(vectors, lengths))).exp().numpy()


def _features(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.column_stack([vectors, np.log1p(lengths)]).astype(np.float64)  # (n, C+1)
