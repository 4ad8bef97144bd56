"""A head with models that were added after it was trained: it stays as it was, they stand beside it."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special

from racer.estimate import Estimate, Joint
from racer.linking import Item
from racer.router.heads import Head

PARTS = ("on_logits", "on_vectors", "intercept", "loading", "still_none")


class GrownHead(Head):
    """The head `base`, and beside it `added` models, each linear in the logits that the base gives and in the vector.

    What is said of the base's models is what the base says, to the bit. Where it has a joint, the added ones are in it,
    each with one loading. A null that the base learned becomes the chance that nobody of the base is right, times the
    share of such train queries on which nobody of those added was.
    """

    name = "grown"

    def __init__(self, base: Head, width: int, models: int, added: int):
        super().__init__()
        self.base, self.learns_null, self.has_joint = base, base.learns_null, base.has_joint
        self.options = {"base": {"name": base.name, **base.options}, "added": added}
        shapes = ((added, models - added), (added, width), (added,), (added,), (added,))
        for name, shape in zip(PARTS, shapes, strict=True):
            self.register_buffer(name, torch.empty(shape))

    @classmethod
    def of(cls, head: Head, item: Item, width: int, still_none: float) -> "GrownHead":
        """Return the head with one more model: `item` reads the logits of `logits_of`, then the vector."""
        base = head.base if isinstance(head, cls) else head
        before = len(head.intercept) if isinstance(head, cls) else 0
        m = len(item.weights) - width  # the base's models
        grown = cls(base, width, m + before + 1, before + 1)
        new = (item.weights[:m], item.weights[m:], item.intercept, item.loading, still_none)
        for name, value in zip(PARTS, new, strict=True):
            buffer = getattr(grown, name)
            if before:
                buffer[:before] = getattr(head, name)
            buffer[before] = torch.as_tensor(value)
        return grown

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return what the base returns, and then (B, added) what the vectors say of the added models."""
        return self._beside(self.base(vectors), vectors)

    def of_train(self, vectors: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return self._beside(self.base.of_train(vectors, own), vectors)

    def _beside(self, outputs: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return torch.cat([outputs, F.linear(vectors.float(), self.on_vectors)], dim=1)

    def estimate(self, outputs: np.ndarray) -> Estimate:
        on_logits, intercept, loading, still_none = (getattr(self, name).cpu().double().numpy() for name in
                                                     ("on_logits", "intercept", "loading", "still_none"))
        k = len(intercept)
        base = self.base.estimate(outputs[:, :-k])
        a = outputs[:, -k:] + logits_of(base) @ on_logits.T + intercept  # (n, k)
        if base.joint is None:
            null = None if base.learned_null is None else base.learned_null * still_none.prod()
            return Estimate(np.column_stack([base.models, special.expit(a)]), null)
        joint, b = base.joint, np.broadcast_to(loading, a.shape)
        added = Joint(a, b, joint.nodes, joint.weights).marginals()
        whole = Joint(np.column_stack([joint.logits, a]), np.column_stack([joint.loadings, b]), joint.nodes,
                      joint.weights)
        return Estimate(np.column_stack([base.models, added]), joint=whole)


def base_of(head: Head) -> Head:
    """Return the head as it was trained, before any model was added."""
    return head.base if isinstance(head, GrownHead) else head


def logits_of(base: Estimate) -> np.ndarray:
    """Return what an added model reads of a base's estimate (n, M): the joint's logits, else those of the models."""
    return special.logit(np.clip(base.models, 0.01, 0.99)) if base.joint is None else base.joint.logits
