"""Which part of the work a query is used for: train, validation, calibration, test or ood.

A drawn share is stratified by task and depends on the seed and the ids alone, not on the order
of the rows: within its task every row has a place given by a hash of (seed, split, id), and the
tasks, by name, are laid end to end. Of the places 0, 1, 2, ... those are drawn at which
`floor(place * share + 1/2)` steps up. So every task gives its share to within one row, and the
whole gives `share` of all rows, rounded.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from racer.errors import TableError
from racer.table import OOD, SPLITS, OutcomeTable

VALIDATION_OF_TRAIN = 0.15
CALIBRATION_OF_TEST = 0.5
OF_ALL = {"test": 0.2, "calibration": 0.2, "validation": 0.1}  # the rest is train


def assign(table: OutcomeTable, *, tasks: Sequence[str] | None = None, seed: int = 0) -> OutcomeTable:
    """Return the table with every row in one of train, validation, calibration, test and ood.

    Splits that the table has are kept. Missing validation is 15 % of train, missing
    calibration half of test (which it is exchangeable with; train is not), and a table
    without splits is cut 50 / 10 / 20 / 20. Rows of tasks outside `tasks` (default: the card's
    `tasks`, else all) become ood if they are test data, and are left out, and counted in the
    notes, if not; where such a task has neither train nor test rows, all of its rows are ood.
    """
    if (blank := table.split == "").any() and not blank.all():
        i = int(np.flatnonzero(blank)[0])
        raise TableError(f"{blank.sum()} of {len(blank)} rows have no split, the first is query {table.ids[i]!r}: "
                         "name the split of every row, or of none")
    split, notes = _set_apart(table, _in_distribution(table, tasks))
    inside = ~np.isin(split, (OOD, "left out"))
    split[inside], made = _complete(table.ids[inside], table.task[inside], split[inside], seed)
    kept = split != "left out"
    return replace(replace(table, split=split).take(kept), notes=(*table.notes, *notes, *made))


def _in_distribution(table: OutcomeTable, tasks: Sequence[str] | None) -> set[str]:
    """Return the tasks that the promise is about."""
    present = set(table.task)
    if tasks is None:
        return present & set(table.card.get("tasks") or present)
    if unknown := [t for t in tasks if t not in present]:
        raise TableError(f"tasks {', '.join(unknown)} are not in the table {table.name!r}, which has "
                         f"{', '.join(sorted(present))}: choose among these")
    return set(tasks)


def _set_apart(table: OutcomeTable, tasks: set[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return splits (n,) in which rows of other tasks are ood or "left out", and a note on the latter."""
    split = table.split.copy()
    for task in sorted(set(table.task) - tasks):
        rows = np.flatnonzero(table.task == task)
        wanted = ("test", OOD) if np.isin(split[rows], ("train", "test")).any() else set(split[rows])
        split[rows] = np.where(np.isin(split[rows], list(wanted)), OOD, "left out")
    gone = split == "left out"
    if not gone.any():
        return split, ()
    names = ", ".join(sorted(set(table.task[gone])))
    return split, (f"{gone.sum()} rows left out: not test data, of tasks that are not in distribution ({names})",)


def _complete(ids: np.ndarray, task: np.ndarray, split: np.ndarray, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return splits (n,) of in-distribution rows with none missing, and notes on those that were drawn."""
    split, notes = split.copy(), []

    def draw(new: str, source: str, share: float):
        rows = np.flatnonzero(split == source)
        chosen = rows[drawn(ids[rows], task[rows], share, f"{seed} {new}")]
        split[chosen] = new
        notes.append(f"{new}: {len(chosen)} of {len(rows)} {source or 'unsplit'} rows, drawn with seed {seed}")

    if (split == "").all():
        rest = 1.0
        for new, share in OF_ALL.items():
            draw(new, "", share / rest)
            rest -= share
        split[split == ""] = "train"
    _require(split, "train", "training data cannot be made from the others: name some rows train")
    _require(split, "test", "calibration and test must be exchangeable, and train is neither: name some rows test")
    if not (split == "validation").any():
        draw("validation", "train", VALIDATION_OF_TRAIN)
    if not (split == "calibration").any():
        draw("calibration", "test", CALIBRATION_OF_TEST)
    for name in SPLITS:
        _require(split, name, "there are too few rows to draw it from: bring more, or name the splits yourself")
    return split, notes


def drawn(ids: np.ndarray, task: np.ndarray, share: float, salt: str) -> np.ndarray:
    """Return which rows are drawn, (n,) bool: `share` of every task, as the head of this file says."""
    place_in_task = [hashlib.blake2b(f"{salt} {i}".encode(), digest_size=8).digest() for i in ids]
    order = sorted(range(len(ids)), key=lambda i: (task[i], place_in_task[i]))
    steps = np.diff(np.floor(np.arange(len(ids) + 1) * share + 0.5))  # (n,) 1 where a place is drawn
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[order] = steps > 0
    return chosen


def _require(split: np.ndarray, name: str, remedy: str) -> None:
    if not (split == name).any():
        counts = ", ".join(f"{(split == s).sum()} {s}" for s in (*SPLITS, OOD) if (split == s).any())
        raise TableError(f"no {name} rows among the tasks in distribution ({counts or 'no rows'}): {remedy}")
