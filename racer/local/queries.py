"""The queries of the local pool: every fact once, and as many drawn questions per task as asked for."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from racer.collect.queries import Query
from racer.errors import ConfigError
from racer.kitchen.dice import Dice
from racer.local.questions import ALL, DRAWN, HARD, Question

TRIES = 200  # draws in a row without a new text, until a task has no more to ask


def make(drawn: int = 80, seed: int = 0, n: int | None = None) -> list[Query]:
    """Return the queries, all different, in random order: all facts, and `drawn` of each other task (HARD: a quarter).

    With `n` only so many of them, at random. A function of its arguments only. Raises `ConfigError` where there are
    fewer different texts than asked for.
    """
    dice = Dice(np.random.default_rng(seed))
    found = [(task, one) for task, ask in ALL.items() for one in ask(dice)]
    for task, ask in DRAWN.items():
        wanted = -(-drawn // 4) if task in HARD else drawn
        found += [(task, one) for one in _different(task, ask, dice, wanted)]
    if n is not None and n > len(found):
        raise ConfigError(f"n={n}: there are {len(found)} queries with drawn={drawn}: draw more, or take fewer")
    return [Query(f"local-{i:05d}", one.query, one.reference, task, one.grader)
            for i, (task, one) in enumerate(dice.shuffled(found)[:n])]


def write(path: str | Path, queries: list[Query]) -> None:
    """Write the queries as `scripts/collect.py` reads them."""
    lines = [json.dumps(vars(query), ensure_ascii=False) for query in queries]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _different(task: str, ask: Callable[[Dice], Question], dice: Dice, n: int) -> Iterator[Question]:
    seen: set[str] = set()
    while len(seen) < n:
        drawn = (ask(dice) for _ in range(TRIES))
        new = next((one for one in drawn if one.query not in seen), None)
        if new is None:
            raise ConfigError(f"drawn={n}: the task {task} has hardly more than {len(seen)} different questions: ask "
                              "for fewer")
        seen.add(new.query)
        yield new
