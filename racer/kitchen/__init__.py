"""The kitchen: a practice pool that the project makes itself.

Real sentences with computed gold answers, and seven simulated models, the chefs, that
err on them. Nothing in it was said by a model: it is for learning the tool, for tests
and for speed, and everything made from it is labelled as simulated.
"""

import numpy as np

from racer.errors import ConfigError
from racer.kitchen.chefs import CHEFS, outcomes, replies, reply_lengths
from racer.kitchen.menu import TASK_OF_SKILL, TASKS, write
from racer.kitchen.question import MISTAKES
from racer.table import SPLITS, OutcomeTable

__all__ = ["CHEFS", "TASKS", "generate"]

SHARES = (0.5, 0.1, 0.2, 0.2)  # of SPLITS: train, validation, calibration, test
TEXTS, OUTCOMES, DEALING = range(3)  # independent streams of one seed
DESCRIPTION = ("Simulated practice pool: the queries are sentences from grammars with computed gold answers, the seven "
               "models are simulated (a 2-parameter item response model), so its numbers say nothing about any real "
               "model. Made for trying the tool without data, keys or downloads.")


def generate(n: int = 6000, seed: int = 0) -> OutcomeTable:
    """Return n simulated queries, all texts different, answered by the seven CHEFS; a function of (n, seed) only.

    Rows are i.i.d. but for the exclusion of repeated texts: skill, level, outcome and split are drawn per row. Every
    column is filled; scores are 0 or 1, and `answers` equals `reference` exactly where the score is 1. Some 16 % of
    the queries are beyond every chef.
    """
    if n < 1 or seed < 0:
        raise ConfigError(f"n is {n} and seed is {seed}, expected n >= 1 and seed >= 0: set data.n and data.seed")
    questions, skill, level = write(np.random.default_rng([seed, TEXTS]), n)
    queries, gold, wrong = _columns(questions)
    rng = np.random.default_rng([seed, OUTCOMES])
    correct = outcomes(rng, skill, level)  # (n, M)
    answers = replies(rng, correct, gold, wrong)
    output_tokens = reply_lengths(rng, level)
    return OutcomeTable(
        ids=np.array([f"kitchen-{i:06d}" for i in range(n)], dtype=object), queries=queries, task=TASK_OF_SKILL[skill],
        split=np.random.default_rng([seed, DEALING]).choice(np.array(SPLITS, dtype=object), n, p=SHARES),
        models=tuple(chef.name for chef in CHEFS), scores=correct.astype(np.float64), answers=answers, reference=gold,
        cost=_cost(queries, output_tokens), output_tokens=output_tokens, kinds=dict.fromkeys(TASKS, "binary"),
        card=_card(n, seed))


def _columns(questions: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return texts (n,), gold answers (n,) and mistakes (n, MISTAKES), padded with None."""
    padding = (None,) * MISTAKES
    rows = [(q.text, q.gold, *(q.wrong + padding)[:MISTAKES]) for q in questions]
    table = np.array(rows, dtype=object)
    return table[:, 0], table[:, 1], table[:, 2:]


def _cost(queries: np.ndarray, output_tokens: np.ndarray) -> np.ndarray:
    """Return USD per call, (n, M): four characters to an input token, list prices per million."""
    input_tokens = np.array([-(-len(text) // 4) for text in queries], dtype=np.float64)  # (n,) rounded up
    price_in, price_out = np.array([(c.usd_per_1m_input, c.usd_per_1m_output) for c in CHEFS]).T  # (M,) each
    return (input_tokens[:, None] * price_in + output_tokens * price_out) / 1e6


def _card(n: int, seed: int) -> dict:
    models = [{"name": c.name, "usd_per_1m_input": c.usd_per_1m_input, "usd_per_1m_output": c.usd_per_1m_output}
              for c in CHEFS]
    return {"name": "kitchen", "simulated": True, "description": DESCRIPTION, "n": n, "seed": seed, "models": models,
            "tasks": {task: [grammar.__name__ for grammar in grammars] for task, grammars in TASKS.items()},
            "tokens": "input ceil(characters / 4); output simulated"}
