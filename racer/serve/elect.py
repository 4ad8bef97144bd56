"""Whose reply of a set is returned, where no certificate says it."""

import numpy as np

from racer.answers import codes_of
from racer.estimate import Estimate
from racer.pool.final import final_answer
from racer.pool.panel import Panel
from racer.votes import Best, Majority

VOTES = {"best": Best(), "majority": Majority()}


def elect(aggregator: str, panel: Panel, models: tuple[str, ...], estimate: Estimate, kind: str | None,
          options: int) -> tuple[str | None, float, str | None]:
    """Return whose reply wins (None: nobody gave an answer), the confidence, and the answer that was compared.

    `best`: of those that replied the one with the highest router probability, which is the confidence. `majority`:
    the answer of most of those asked, by their final answers of this `kind`; the confidence is its share of them.
    """
    texts = np.full((1, len(models)), None, dtype=object)
    for name, reply in panel.replies.items():
        pattern = panel.pool.members[name].endpoint.extract
        found = "replied" if kind is None else final_answer(reply.text, kind, pattern, reply.finish_reason)
        texts[0, models.index(name)] = found
    asked = np.isin(models, panel.called)[None]  # (1, M)
    vote = VOTES[aggregator].vote(asked, codes_of(texts, [kind or "text"]), np.array([options]), estimate)
    if (column := int(vote.model[0])) < 0:
        return None, 0.0, None
    return models[column], float(vote.confidence[0]), texts[0, column] if kind is not None else None
