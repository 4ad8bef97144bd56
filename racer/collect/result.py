"""From outcomes to an outcome table: what is missing stays missing."""

import numpy as np

from racer.collect.collector import Collected
from racer.collect.graders import KIND_OF
from racer.collect.queries import Query
from racer.pool import Endpoint
from racer.table import OutcomeTable


def table(collected: Collected, queries: list[Query], pool: list[Endpoint], card: dict) -> OutcomeTable:
    """Return the table (n, M): NaN scores where an outcome is missing, never 0.

    Tokens are those that the endpoint counted, costs are those tokens at the prices of the pool; where it counts none
    they are empty. The cost is that of the answer and of the model's word on it, the tokens those of the answer. The
    kind of a task's answers is noted if one kind of grader graded all of it, else it is text.
    """
    cells = np.array([[collected.outcomes.get((q.id, one.name)) for one in pool] for q in queries], dtype=object)
    kinds: dict[str, set[str]] = {}
    for query in queries:
        kinds.setdefault(query.task, set()).add(KIND_OF[query.grader])
    card = card | {"models": [{"name": one.name, "model": one.model, "usd_per_1m_input": one.price_in,
                               "usd_per_1m_output": one.price_out, "confidence": one.confidence} for one in pool],
                   "answer_kinds": {task: found.pop() if len(found) == 1 else "text" for task, found in kinds.items()}}
    return OutcomeTable(
        ids=_texts([q.id for q in queries]), queries=_texts([q.query for q in queries]),
        task=_texts([q.task for q in queries]), split=_texts([""] * len(queries)),
        models=tuple(one.name for one in pool), scores=_numbers(cells, lambda c: c.grade.score),
        answers=_over(cells, lambda c: c.grade.answer), reference=_texts([q.reference or None for q in queries]),
        cost=_numbers(cells, lambda c: c.usd),
        output_tokens=_numbers(cells, lambda c: c.said.tokens_out if c.said.stated else None),
        confidence=_numbers(cells, lambda c: c.confidence), card=card)


def _texts(values: list) -> np.ndarray:
    return np.array(values, dtype=object)


def _over(cells: np.ndarray, of) -> np.ndarray:  # (n, M) object
    found = [None if cell is None else of(cell) for cell in cells.ravel()]
    return np.array([*found, None], dtype=object)[:-1].reshape(cells.shape)


def _numbers(cells: np.ndarray, of) -> np.ndarray:  # (n, M) float64, NaN where unknown
    return _over(cells, of).astype(np.float64)
