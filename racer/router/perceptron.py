"""A multi-layer perceptron on frozen vectors, as scikit-learn trains it: the plain opponent of our own heads."""

import itertools

import numpy as np
import torch
from scipy import special
from torch import nn
from tqdm import tqdm

from racer.estimate import Estimate
from racer.router.heads import Head
from racer.router.search import log_loss, scaling

HIDDEN, DECAYS = (64, 256), (1e-4, 1e-1)  # width, L2 penalty: chosen on the validation rows
EPOCHS, PATIENCE = 40, 4


class PerceptronHead(Head):
    """One hidden layer of ReLU, then logits (B, M+1)."""

    name, learns_null = "mlp", True

    def __init__(self, width: int, models: int, hidden: int):
        super().__init__()
        self.options = {"hidden": hidden}
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, models + 1))

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray,
            seed: int) -> tuple["PerceptronHead", float]:
        """Return the head of train vectors (n, C) and 0/1 labels (n, M+1), and its log loss on the held-out rows.

        The held-out rows, those of validation, choose width, penalty and the number of epochs.
        """
        mean, scale = scaling(vectors)
        z, z_held_out = (((v - mean) / scale).astype(np.float32) for v in (vectors, held_out))
        grid = tqdm(list(itertools.product(HIDDEN, DECAYS)), desc="mlp", unit="setting")
        fits = [_perceptron(z, labels, z_held_out, held_out_labels, hidden, decay, seed) for hidden, decay in grid]
        loss, (first, second) = min(fits, key=lambda fit: fit[0])
        head = cls(vectors.shape[1], labels.shape[1] - 1, first[0].shape[1])
        weight = first[0].T / scale
        layers = {"0.weight": weight, "0.bias": first[1] - weight @ mean, "2.weight": second[0].T, "2.bias": second[1]}
        head.layers.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in layers.items()})
        return head, loss

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.layers(vectors)

    def estimate(self, outputs: np.ndarray) -> Estimate:
        return Estimate.of_columns(special.expit(outputs.astype(np.float64)))


def _perceptron(z: np.ndarray, labels: np.ndarray, z_held_out: np.ndarray, held_out_labels: np.ndarray, hidden: int,
                decay: float, seed: int) -> tuple[float, tuple]:
    """Return the least validation log loss over the epochs, and the weights and bias of both layers there."""
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier((hidden,), alpha=decay, random_state=seed)
    best, best_epoch, layers = np.inf, 0, ()
    for epoch in range(EPOCHS):
        network.partial_fit(z, labels.astype(int), **({"classes": np.arange(labels.shape[1])} if epoch == 0 else {}))
        loss = log_loss(network.predict_proba(z_held_out), held_out_labels)
        if loss < best:
            best, best_epoch = loss, epoch
            layers = tuple((w.copy(), b.copy()) for w, b in zip(network.coefs_, network.intercepts_, strict=True))
        elif epoch - best_epoch >= PATIENCE:
            break
    return best, layers
