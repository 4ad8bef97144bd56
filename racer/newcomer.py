"""A finished run meets a table with one more model: who is new, and which rows of the table are which of the run.

Queries are known by their ids. Each keeps the split that it has in the run: a train row never becomes a calibration
row, nor the other way round.
"""

from dataclasses import replace

import numpy as np

from racer.errors import ConfigError, TableError
from racer.scores import Scores
from racer.table import OOD, SPLITS, OutcomeTable

LEARNED_FROM = ("train", "validation")  # rows that may lack the new model: it is fitted to those that it has


def newcomer(table: OutcomeTable, known: tuple[str, ...], wanted: str | None = None) -> str:
    """Return the one model of the table that is not in `known`, or the one that is `wanted` of several."""
    if lost := [name for name in known if name not in table.models]:
        raise TableError(f"the table {table.name!r} has no outcomes of {', '.join(lost)}, which the run's router "
                         "knows: give the table of the run with one more model, its rows need the outcomes of all")
    new = [name for name in table.models if name not in known]
    if not new:
        raise TableError(f"the table {table.name!r} has no model that the run lacks; both have {', '.join(known)}: add "
                         "outcomes of another one (scripts/collect.py with one more entry in the pool)")
    if wanted is not None and wanted not in new:
        raise ConfigError(f"model={wanted}: expected one that the table has and the run lacks, {', '.join(new)}")
    if wanted is None and len(new) > 1:
        raise ConfigError(f"the run lacks {len(new)} models of the table, {', '.join(new)}: say which one joins by "
                          "model=NAME; the others can join the new run")
    return wanted or new[0]


def joined(table: OutcomeTable, scores: Scores, name: str, right_at: float, missing: str = "error") -> OutcomeTable:
    """Return the rows that run and table share, as the run splits them, with the run's models and last the new one.

    A row that lacks an outcome of one of these models is as if the table did not hold it; what others lack is no
    matter. Calibration, test and ood rows of the run that are not in it are an error, or left out and counted with
    `missing="drop"`; train and validation rows are left out and counted, and so are queries that the run has never
    seen.
    """
    table = table.of_models([*scores.models, name])
    table = table.take(~np.isnan(table.scores).any(axis=1))
    place = {query: row for row, query in enumerate(table.ids.tolist())}
    at = np.array([place.get(query, -1) for query in scores.ids.tolist()])  # (n of the run,)
    lacking = {split: int(((at < 0) & (scores.split == split)).sum()) for split in (*SPLITS, OOD)}
    judged = {split: count for split, count in lacking.items() if count and split not in LEARNED_FROM}
    if judged and missing == "error":
        raise TableError(f"{_counted(judged)} rows of the run have no outcome of {name} (or of another model) in the "
                         f"table {table.name!r}: collect them, a promise is about all of them; or set "
                         "data.missing=drop to leave them out, which makes it a promise about what is left")
    kept = at >= 0
    of_run, rows = scores.take(kept), table.take(at[kept])
    _check_same(of_run, rows, right_at)
    notes = [f"{_counted(counts)} rows of the run left out: no outcome of {name} (or of another model)"
             for counts in [{split: count for split, count in lacking.items() if count}] if counts]
    if strangers := len(table.ids) - int(kept.sum()):
        notes.append(f"{strangers} queries left out: the run has never seen them")
    return replace(rows, split=of_run.split.astype(object), notes=(*table.notes, *notes))


def at_most(table: OutcomeTable, outcomes: int | None, seed: int) -> OutcomeTable:
    """Return the table with at most so many of its train rows, drawn with `seed`; None: all."""
    train = table.rows("train")
    if outcomes is None or outcomes >= len(train):
        return table
    gone = np.random.default_rng(seed).permutation(train)[outcomes:]
    return table.take(np.setdiff1d(np.arange(len(table.ids)), gone))


def _check_same(scores: Scores, table: OutcomeTable, right_at: float) -> None:
    """Raise `TableError` if the outcomes of the run's own models are not those it was made with."""
    other = table.outcomes(right_at)[:, :-1] != scores.outcomes
    if other.any():
        row, column = np.argwhere(other)[0]
        raise TableError(f"{other.sum()} outcomes of the run's models are others in the table {table.name!r} than when "
                         f"the router was trained, the first is query {table.ids[row]!r}, model "
                         f"{table.models[column]}: give the run's table with one more model, or train again")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())
