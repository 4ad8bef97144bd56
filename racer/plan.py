"""What can be promised on a table, before anything is trained or paid for.

Outcomes are read on train and validation rows only; calibration and test rows are counted and not looked at, so that
what one decides here spoils no promise. Where train is not exchangeable with calibration, shares are a guide.
"""

import numpy as np

from racer import band, bounded, conformal
from racer.bounds import BOUNDS, dkw_width
from racer.intervals import mean, share
from racer.table import OOD, SPLITS, OutcomeTable


def plan(table: OutcomeTable, alpha: float, delta: float, answer_error: float | None = None,
         right_at: float = 0.5) -> dict:
    """Return the feasibility report: what is solvable, what must be abstained on, and the queries that methods need.

    `answer_error` is the wanted error among answered queries, None: `alpha`. Shares are {"value", "low", "high"}, 95 %.
    """
    error, seen = alpha if answer_error is None else answer_error, np.isin(table.split, ("train", "validation"))
    right = table.outcomes(right_at)
    have = int(np.count_nonzero(table.split == "calibration"))
    tasks = np.unique(table.task[table.split != OOD].astype(str)).tolist()
    return {
        "table": table.title, "models": list(table.models), "alpha": alpha, "delta": delta, "answer_error": error,
        "n": {s: int(np.count_nonzero(table.split == s)) for s in (*SPLITS, OOD)},
        **_shares(right[seen], alpha, error), "context": _context(table, right), "calibration": have,
        "methods": methods(have, alpha, delta),
        "tasks": {t: _task(table, right, t, alpha, delta, error) for t in tasks},
    }


def least_abstention(wrong: float, error: float) -> float:
    """Return the least share of queries to abstain on for an error of at most `error` < 1 among the answered.

    `wrong` is the share that cannot be answered right. Abstaining on t of these alone leaves (wrong - t) / (1 - t).
    """
    return max(wrong - error, 0.0) / (1 - error)


def methods(n: int, alpha: float, delta: float) -> list[dict]:
    """Return for each method, and bound, the fewest calibration queries, and the smallest alpha of the `n` there are.

    `ltt` with a fixed sequence needs what `pac` does; `group` needs it in each group.
    """
    rows = [("crc", "any loss", conformal.least_n(alpha, "crc"), conformal.least_alpha(n, "crc")),
            ("pac, ltt", "0 or 1: binomial", conformal.least_n(alpha, "pac", delta),
             conformal.least_alpha(n, "pac", delta))]
    if delta <= 0.5:
        rows.append(("dkw", "0 or 1", band.least_n(alpha, delta), dkw_width(n, delta)))
    for bound in (b for b in BOUNDS if b != "binomial"):
        rows.append(("pac, ltt", f"between: {bound}", bounded.least_n(alpha, delta, bound),
                     bounded.least_alpha(n, delta, bound) if n else 1.0))
    return [{"method": method, "loss": loss, "needed": needed, "feasible": needed <= n, "least_alpha": float(least)}
            for method, loss, needed, least in rows]


def _shares(right: np.ndarray, alpha: float, error: float) -> dict:
    """What these rows (n, M) say of the world: None where there are none."""
    unsolvable = share(~right.any(axis=1))
    if unsolvable is None:
        return {"queries": 0, "unsolvable": None, "least_abstention": None, "miss_given_solvable": None}
    solvable = 1 - unsolvable["value"]
    return {"queries": len(right), "unsolvable": unsolvable,
            "least_abstention": {k: least_abstention(v, error) for k, v in unsolvable.items()},
            "miss_given_solvable": min(alpha / solvable, 1.0) if solvable else None}


def _context(table: OutcomeTable, right: np.ndarray) -> dict:
    """Single best (chosen on train), everyone and the cheapest right model, on validation rows: accuracy and cost."""
    train, rows = right[table.split == "train"], table.split == "validation"
    if not len(train) or not rows.any():
        return {}
    best, everyone = int(train.mean(axis=0).argmax()), np.ones(right[rows].shape, dtype=bool)
    cost = table.complete_cost()
    cost = None if cost is None else cost[rows]
    price = np.ones(everyone.shape) if cost is None else cost
    cheapest = np.where(right[rows], price, np.inf).argmin(axis=1)[:, None] == np.arange(right.shape[1])
    asked = {f"best single ({table.models[best]})": everyone & (np.arange(right.shape[1]) == best), "all": everyone,
             "oracle": cheapest & right[rows]}
    return {name: {"accuracy": share((who & right[rows]).any(axis=1)),
                   "cost": None if cost is None else mean((who * cost).sum(axis=1))} for name, who in asked.items()}


def _task(table: OutcomeTable, right: np.ndarray, task: str, alpha: float, delta: float, error: float) -> dict:
    """One task: its shares, and whether it has enough calibration queries for a cut of its own (`group`, by pac)."""
    rows = table.task == task
    have = int(np.count_nonzero(rows & (table.split == "calibration")))
    needed = conformal.least_n(alpha, "pac", delta)
    return {**_shares(right[rows & np.isin(table.split, ("train", "validation"))], alpha, error), "calibration": have,
            "needed": needed, "own_cut": have >= needed}
