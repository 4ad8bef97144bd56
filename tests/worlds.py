"""A small world with answers, for tests of policies: some queries are hard for all models, a router half sees it."""

import numpy as np

from racer.answers import Answers
from racer.recorded import Recorded
from racer.scores import Scores

MODELS = ("small", "middle", "big")
PRICES = np.array([1.0, 2.0, 6.0]) * 1e-4
OPTIONS = 5


def world(n: int, seed: int, skill: tuple[float, ...] = (0.2, 0.5, 1.3), lost: float = 0.1, train: int = 200,
          validation: int = 300, priced: bool = True) -> Recorded:
    """Return n recorded queries of three models, answers A to E, and train and validation rows before them.

    Wrong models often agree on the same wrong option. `lost` of the answers are missing, and then wrong.
    """
    rng, total = np.random.default_rng(seed), train + validation + n
    m, ease = len(skill), rng.normal(0, 1.5, total)
    logits = np.array(skill) + ease[:, None]
    gone = rng.random((total, m)) < lost
    right = (rng.random((total, m)) < 1 / (1 + np.exp(-logits))) & ~gone
    p = 1 / (1 + np.exp(-(logits + rng.normal(0, 1, (total, m)))))
    popular, other = rng.integers(1, OPTIONS, total), rng.integers(1, OPTIONS, (total, m))
    option = np.where(right, 0, np.where(rng.random((total, m)) < 0.5, popular[:, None], other))  # 0 is the right one
    shift = rng.integers(0, OPTIONS, total)[:, None]
    texts = np.array(list("ABCDE"), dtype=object)[(option + shift) % OPTIONS]
    texts[gone] = None
    codes = np.where(gone, -1, _first(option, gone))
    split = np.repeat(["train", "validation", "calibration"], [train, validation, n])
    cost = PRICES[:m] * rng.uniform(0.5, 1.5, (total, m)) if priced else None
    scores = Scores(ids=np.array([f"q{i}" for i in range(total)]), split=split, task=np.full(total, "t"),
                    models=MODELS[:m], probabilities=np.column_stack([p, np.zeros(total)]), outcomes=right, null="free",
                    cost=cost, fingerprint={"router": "r", "table": "t"})
    return Recorded.of(scores, Answers(texts, codes, np.full(total, OPTIONS)))


def _first(option: np.ndarray, gone: np.ndarray) -> np.ndarray:
    same = (option[:, :, None] == option[:, None, :]) & ~gone[:, None, :]
    return same.argmax(axis=2)
