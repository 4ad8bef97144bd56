"""How RACER's own folder is read: `queries.parquet`, `outcomes.parquet`, and `card.json` if there."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from racer.assemble import NO_TASK, Entries, assemble, first_of
from racer.errors import TableError
from racer.formats import files
from racer.table import KINDS, OutcomeTable

FILES = ("queries.parquet", "outcomes.parquet")


def read(folder: Path, missing: str) -> OutcomeTable:
    """Return the table that `OutcomeTable.save` wrote, or any folder of the same form.

    Models have the order of the card's `models`. The card's `score_kinds`, where it maps
    tasks to kinds, says what their scores mean; entries of any other form are ignored.
    """
    queries, outcomes = (parquet(folder / name) for name in FILES)
    queries.require(("id", "query"))
    codes, ids = queries.coded("id")
    again = (codes >= 0) & (first_of(codes, len(ids))[codes] != np.arange(len(codes)))
    queries.refuse(again, "id", "this id already stands in an earlier row; ids must be unique")
    card = files.read_card(folder)
    kinds = _kinds(card, set(queries.text("task", NO_TASK)), folder / "card.json")
    return assemble(queries, outcomes, models=files.card_models(card, str(folder / "card.json")), kinds=kinds,
                    card=card, missing=missing)


def parquet(path: Path) -> Entries:
    """Return the columns of a parquet file, rows counted from 0."""
    if not path.exists():
        raise TableError(f"{path}: no such file; expected {' and '.join(FILES)} side by side: add it")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise TableError(f"{path}: not a parquet file ({error}): write it again") from None
    return Entries.of(table, path.name, np.arange(len(table)), "row")


def _kinds(card: dict, tasks: set[str], path: Path) -> dict[str, str]:
    said = card.get("score_kinds")
    kinds = {t: kind for t, kind in said.items() if t in tasks} if isinstance(said, dict) else {}
    for task, kind in kinds.items():
        if kind not in KINDS:
            raise TableError(f"{path}, score_kinds: task {task!r} has kind {kind!r}, expected one of "
                             f"{', '.join(KINDS)}: mend the card")
    return kinds
