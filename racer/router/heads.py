"""From a vector to one number per model, how it is trained, and what probability it means."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special
from torch import nn

from racer.estimate import Estimate, Joint, quadrature
from racer.router.bank import SCALES, Bank


class Head(nn.Module):
    """What turns vectors (B, C) into numbers (B, outputs), and these into what a router says (`estimate`).

    `options` rebuild it: `type(head)(width, models, **head.options)`, then its state is loaded.
    """

    name: str
    learns_null = has_joint = False
    grows = True  # each model's number is a chance of its own, so that another can stand beside it
    options: dict

    def of_train(self, vectors: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return `forward` of train queries (B, C), none being its own neighbour; `own` (B,) are their places there."""
        return self(vectors)

    def estimate(self, outputs: np.ndarray) -> Estimate:
        """Return what the router says, float64, from outputs (n, outputs) of `forward`."""
        raise NotImplementedError


class TrainedHead(Head):
    """A head that gradients train, by its own loss."""

    def start(self, labels: np.ndarray) -> None:
        """Begin at the rates of the train labels (n, M+1): what is known before any text is read. Optional."""

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row (B,), from outputs and labels (B, M+1), labels in [0, 1]."""
        raise NotImplementedError


class NetworkHead(TrainedHead):
    """Small networks from vectors (B, C) to logits (B, outputs), averaged.

    Each of `members` networks starts elsewhere and is trained by its own loss. With `rows` train queries in its bank,
    a head also reads how the models did on the queries' neighbours (`racer.router.bank`).
    """

    def __init__(self, width: int, models: int, outputs: int, hidden: int, dropout: float, members: int = 1,
                 rows: int = 0):
        super().__init__()
        self.options = {"hidden": hidden, "dropout": dropout, "members": members, "rows": rows}
        self.bank = Bank(rows, width, models + 1) if rows else None
        width += len(SCALES) * (models + 1) if rows else 0
        self.networks = nn.ModuleList(_network(width, outputs, hidden, dropout) for _ in range(members))

    def read(self, vectors: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        """Return the networks' inputs (B, C'), of vectors (B, C); `own` as in `Bank.mean_label`."""
        if self.bank is None:
            return vectors
        unit = F.normalize(vectors.float(), dim=1) * vectors.shape[1] ** 0.5  # on the scale of the features
        return torch.cat([unit, self.bank.features(vectors, own)], dim=1)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return logits (B, outputs); in training (B, members, outputs), and the inputs are those of `read`."""
        if self.training:
            return self._members(vectors)
        return self._members(self.read(vectors)).mean(dim=1)

    def of_train(self, vectors: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return self._members(self.read(vectors, own)).mean(dim=1)

    def _members(self, inputs: torch.Tensor) -> torch.Tensor:  # (B, members, outputs)
        return torch.stack([network(inputs) for network in self.networks], dim=1)

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row (B,): in training the mean of the members' own, else that of their average."""
        if outputs.ndim == 2:
            return self.row_loss(outputs, labels)
        return torch.stack([self.row_loss(each, labels) for each in outputs.unbind(dim=1)]).mean(dim=0)

    def row_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row (B,), from logits (B, outputs) and labels (B, M+1)."""
        raise NotImplementedError

    def start(self, labels: np.ndarray) -> None:
        with torch.no_grad():
            for network in self.networks:
                network[-1].bias.copy_(torch.from_numpy(self.base_rates(labels)))

    @staticmethod
    def base_rates(labels: np.ndarray) -> np.ndarray:
        """Return the outputs (outputs,) that say what the labels (n, M+1) say on average."""
        raise NotImplementedError


def _network(width: int, outputs: int, hidden: int, dropout: float) -> nn.Sequential:
    layers = [nn.LayerNorm(width), nn.Dropout(dropout)]
    if hidden:
        layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden or width, outputs))


class MultilabelHead(NetworkHead):
    """One sigmoid per model, and one for the null: binary cross-entropy on the M + 1 columns."""

    name, learns_null = "multilabel", True

    def __init__(self, width: int, models: int, **options):
        super().__init__(width, models, models + 1, **options)

    def row_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row (B,), from logits and labels (B, M+1), labels in [0, 1]."""
        return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none").mean(dim=1)

    @staticmethod
    def base_rates(labels: np.ndarray) -> np.ndarray:
        """Return the logits (M+1,) of how often each model, and nobody, is right in labels (n, M+1)."""
        return special.logit(np.clip(labels.mean(axis=0), 0.01, 0.99))

    @staticmethod
    def estimate(logits: np.ndarray) -> Estimate:
        """Return the models' probabilities (n, M) and the learned null (n,), float64, from logits (n, M+1)."""
        return Estimate.of_columns(special.expit(logits.astype(np.float64)))


class SoftmaxHead(NetworkHead):
    """A softmax over the M models, fitted to the normalised outcome row; rows that nobody solves say nothing."""

    name, grows = "softmax", False

    def __init__(self, width: int, models: int, **options):
        super().__init__(width, models, models, **options)

    def row_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of each row (B,), from logits (B, M) and labels (B, M+1); the null is not used."""
        total = labels[:, :-1].sum(dim=1, keepdim=True)
        target = labels[:, :-1] / total.clamp(min=1e-12)  # zero rows stay zero: no loss
        return -(target * F.log_softmax(logits.float(), dim=1)).sum(dim=1)

    @staticmethod
    def base_rates(labels: np.ndarray) -> np.ndarray:
        """Return the log of each model's share of the right answers (M,), from labels (n, M+1)."""
        return np.log(np.maximum(labels[:, :-1].mean(axis=0), 0.01))

    @staticmethod
    def estimate(logits: np.ndarray) -> Estimate:
        """Return the models' probabilities (n, M), float64, rows summing to 1; there is no learned null."""
        return Estimate(special.softmax(logits.astype(np.float64), axis=1))


class LatentHead(NetworkHead):
    """A joint: logits a and loadings b per model, coupled by a hidden difficulty z ~ N(0, 1) of each query.

    The row likelihood is E_z prod_m P(y_m | z) with P(y_m = 1 | z) = sigmoid(a_m + b_m z), by Gauss-Hermite
    quadrature; `MAX_LOADING` keeps |b| where `NODES` nodes are accurate to 1e-3. A 2-parameter item response model
    (Birnbaum 1968) whose parameters the encoder predicts.
    """

    name, has_joint = "latent", True
    MAX_LOADING, NODES = 3.0, 32

    def __init__(self, width: int, models: int, **options):
        super().__init__(width, models, 2 * models, **options)
        nodes, weights = (torch.from_numpy(x).float() for x in quadrature(self.NODES))
        self.register_buffer("nodes", nodes, persistent=False)
        self.register_buffer("log_weights", weights.log(), persistent=False)

    def row_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return minus the log-likelihood of each row per model (B,), from logits (B, 2M) and labels (B, M+1).

        The null column of the labels is not used: the joint has its own. Fractions weigh both outcomes.
        """
        a, raw = logits.float().chunk(2, dim=1)
        y = labels[:, :-1].unsqueeze(2)  # (B, M, 1)
        given_z = a.unsqueeze(2) + self.bounded(raw).unsqueeze(2) * self.nodes  # (B, M, Q)
        log_likelihood = (y * F.logsigmoid(given_z) + (1 - y) * F.logsigmoid(-given_z)).sum(dim=1)  # (B, Q)
        return -torch.logsumexp(log_likelihood + self.log_weights, dim=1) / a.shape[1]

    @classmethod
    def bounded(cls, raw):
        """Return loadings in (-MAX_LOADING, MAX_LOADING), of a tensor or an array."""
        tanh = torch.tanh if isinstance(raw, torch.Tensor) else np.tanh
        return cls.MAX_LOADING * tanh(raw / cls.MAX_LOADING)

    @classmethod
    def base_rates(cls, labels: np.ndarray) -> np.ndarray:
        """Return logits (2M,) at which every loading is 1 and the marginals are about each model's rate in `labels`."""
        rates = np.clip(labels[:, :-1].mean(axis=0), 0.01, 0.99)
        a = special.logit(rates) * np.sqrt(1 + np.pi / 8)  # the usual probit approximation of E_z sigmoid(a + z)
        return np.concatenate([a, np.full(len(a), cls.MAX_LOADING * np.arctanh(1 / cls.MAX_LOADING))])

    @classmethod
    def estimate(cls, logits: np.ndarray) -> Estimate:
        """Return the joint and its marginals (n, M), float64, from logits (n, 2M)."""
        a, raw = np.split(logits.astype(np.float64), 2, axis=1)
        joint = Joint(a, cls.bounded(raw), *quadrature(cls.NODES))
        return Estimate(joint.marginals(), joint=joint)


def labels_of(targets: np.ndarray) -> np.ndarray:
    """Return training labels (n, M+1) float32: targets (n, M) in [0, 1], and the null's, prod_m (1 - target).

    For 0/1 targets the null is 1 exactly where nobody is right; for fractions it is the chance of that.
    """
    return np.column_stack([targets, np.prod(1 - targets, axis=1)]).astype(np.float32)
