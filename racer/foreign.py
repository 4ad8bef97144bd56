"""Anyone's router by its probabilities alone: a file that says, for each query of the table, what it thinks."""

import os

import numpy as np

from racer import hashing
from racer.errors import TableError
from racer.estimate import Estimate
from racer.scores import Scores, arrays_of, check_range, numbers_of
from racer.table import OutcomeTable

NEEDED = ("ids", "models", "probabilities")


def scores_of(path: str | os.PathLike, table: OutcomeTable, right_at: float) -> Scores:
    """Return the scores of a table by the router whose probabilities are in the .npz file at `path`.

    `ids` (k,) str, `models` (M,) str and `probabilities` (k, M), or (k, M+1) with the router's own null last; every id
    and every model of the table must be there, in any order; more ids may be, more models not: the null would be
    another. Raises `TableError`.
    """
    arrays = arrays_of(path, "router.path must name the .npz file with the router's probabilities")
    if missing := [name for name in NEEDED if name not in arrays]:
        raise TableError(f"{path} lacks {', '.join(missing)}: needed are {', '.join(NEEDED)}")
    ids, models = (arrays[name].astype(str).ravel() for name in ("ids", "models"))
    p = numbers_of(arrays, "probabilities", path)
    k, m = len(ids), len(models)
    if p.shape not in ((k, m), (k, m + 1)):
        raise TableError(f"{path}: probabilities have shape {p.shape}, expected {(k, m)}, or {(k, m + 1)} with the "
                         f"null last, for {k} ids and {m} models")
    check_range(p, 1, "probabilities", ids, path)
    rows = _places(ids, table.ids.astype(str), "id", path)
    columns = _places(models, np.array(table.models), "model", path)
    if len(columns) < m:
        raise TableError(f"{path} has {m} models, the table {len(columns)}: take probabilities of the table's models "
                         f"only, {', '.join(table.models)}")
    own = Estimate(p[np.ix_(rows, columns)], p[rows, m] if p.shape[1] > m else None)
    return Scores.of_table(table, right_at, own, {"router": hashing.of_file(path), "table": table.fingerprint()})


def _places(names: np.ndarray, wanted: np.ndarray, what: str, path) -> np.ndarray:
    """Return where each wanted name is; raise unless all are there, and all names differ."""
    order = np.argsort(names, kind="stable")
    ordered = names[order]
    if twice := ordered[1:][ordered[1:] == ordered[:-1]].tolist():
        raise TableError(f"{path}: the {what} {twice[0]!r} is there more than once: each must occur once")
    at = np.searchsorted(ordered, wanted).clip(max=max(len(names) - 1, 0))
    if lost := (wanted[ordered[at] != wanted] if len(names) else wanted).tolist():
        raise TableError(f"{path} lacks {len(lost)} of the table's {len(wanted)} {what}s, the first is {lost[0]!r}: "
                         "score them too, under the table's own names")
    return order[at]
