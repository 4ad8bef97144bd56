"""What a certified policy gives on the test split: every number of the certificate, and the answers themselves."""

import os

import numpy as np

from racer.certificate import brief
from racer.certify import Design, Trial, Verdict, reachable
from racer.files import whole
from racer.intervals import mean, share
from racer.policy import Played
from racer.promises import ERROR, Tally, above_by_chance
from racer.recorded import Recorded


def measure(played: Played, rows: Recorded) -> dict:
    """Return what one policy did on these rows, each number as value, low, high (95 %); None where it is of no query.

    `accuracy` is over all queries, an abstention counted as not right. `cost` is spend over the cost of asking all,
    `usd` and `calls` are per query.
    """
    losses, answered = played.losses(rows), played.answered[:, 0]
    priced = rows.scores.cost is not None
    return {"accuracy": share(played.right[:, 0]), "answered": share(answered),
            "error_among_answered": share(losses["wrong"][answered, 0]),
            "over_abstention": share(losses["over_abstention"][:, 0]),
            "cost": mean(played.share[:, 0]) if priced else None,
            "harm": share(losses["harm"][:, 0]) if "harm" in losses else None,
            "usd": mean(played.spend[:, 0]) if priced else None, "calls": mean(played.calls[:, 0].astype(float))}


def nobody(rows: Recorded) -> Played:
    """Return what is done where nothing is certified: nobody is called, nothing answered."""
    n = len(rows.scores.ids)
    zero, none = np.zeros((n, 1)), np.zeros((n, 1), dtype=bool)
    return Played(zero.astype(int), np.full((n, 1), -1), zero, none, none, zero, zero)


def beside(rows: Recorded) -> dict:
    """Return accuracy and USD per query of the best single model (None without train rows), whatever it is sure of."""
    if rows.reference is None:
        return {"best_single": None}
    right, cost = rows.scores.outcomes[:, rows.reference], rows.scores.cost
    return {"best_single": {"model": rows.scores.models[rows.reference], "accuracy": share(right),
                            "usd": None if cost is None else mean(cost[:, rows.reference])}}


def record(design: Design, trial: Trial, verdict: Verdict, test: Trial, delta: float) -> dict:
    """Return what stands beside policy and promises in `certificate.json`."""
    k, rows = verdict.chosen, test.rows
    played = nobody(rows) if k is None else test.play(k)
    found = {}
    if k is None:
        found = {"reachable": reachable(design, trial, verdict.promises, delta),
                 "reachable_alone": {name: (reachable(design, trial, {name: level}, delta) or {}).get(name)
                                     for name, level in verdict.promises.items()}}
    return {**found, "test": measure(played, rows), "above_by_chance": chances(verdict, delta, played), **beside(rows),
            "n": {"validation": design.tally.n, "calibration": verdict.tally.n, "test": len(rows.scores.ids)},
            "policies": len(design.policies), "preferred": design.preferred(verdict.promises),
            "tested": tested(design, verdict, rows.scores.models)}


def tested(design: Design, verdict: Verdict, models: tuple[str, ...]) -> list[dict]:
    """Return every tested policy, in the order of the test, with its p-values and what was observed."""
    validation = [_observed(design.tally, verdict.promises, int(k)) for k in verdict.order]
    names = list(verdict.promises)
    return [brief(design.policies[k], models) | {
        "p_values": dict(zip(names, p.tolist(), strict=True)), "p_value": float(p.max()), "certified": bool(passed),
        "calibration": _observed(verdict.tally, verdict.promises, i), "validation": validation[i]}
        for i, (k, p, passed) in enumerate(zip(verdict.order, verdict.p, verdict.certified, strict=True))]


def _observed(tally: Tally, promises: dict[str, float], k: int) -> dict:
    """What a policy did: risks, and how much it answered and spent; NaN is None."""
    risks = {name: float(tally.observed(name)[k]) for name in promises}
    return {"queries": tally.n, "answered": int(tally.answered[k]), "spend": float(tally.spend[k]),
            "calls": float(tally.calls[k]), **{name: None if np.isnan(v) else v for name, v in risks.items()}}


def chances(verdict: Verdict, delta: float, played: Played) -> dict:
    """Return for each promise of 0 or 1 how often the observed test number would exceed it by chance alone, at most.

    It is that of a policy that was only just certified (`racer.promises.above_by_chance`).
    """
    if verdict.chosen is None:
        return {}
    one = verdict.tally.take(np.flatnonzero(verdict.order == verdict.chosen))
    n, answered = len(played.answered), int(played.answered.sum())
    return {name: above_by_chance(one, name, level, delta, answered if name == ERROR else n)
            for name, level in verdict.promises.items()}


def write_answers(path: str | os.PathLike, played: Played, order: np.ndarray | None, rows: Recorded) -> None:
    """Write one row per query: `id, answer` (verbatim, null when abstained), `confidence, members, calls, cost` (USD).

    `members` are the models called, first to last (`order` (n, M), columns; None: nobody is), those whose answers were
    lost too.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    models, calls = rows.scores.models, played.calls[:, 0]
    order = np.zeros((len(calls), 0), dtype=int) if order is None else order
    texts = rows.answers.texts[np.arange(len(calls)), np.maximum(played.model[:, 0], 0)]
    answer = [text if given else None for text, given in zip(texts.tolist(), played.answered[:, 0], strict=True)]
    members = [[models[m] for m in row[:k]] for row, k in zip(order.tolist(), calls.tolist(), strict=True)]
    cost = played.spend[:, 0] if rows.scores.cost is not None else np.full(len(calls), np.nan)
    table = pa.table({"id": pa.array(rows.scores.ids.tolist(), pa.string()), "answer": pa.array(answer, pa.string()),
                      "confidence": pa.array(played.confidence[:, 0], pa.float64()),
                      "members": pa.array(members, pa.list_(pa.string())), "calls": pa.array(calls, pa.int64()),
                      "cost": pa.array(cost, pa.float64(), from_pandas=True)})
    with whole(path) as partial:
        pq.write_table(table, partial, compression="zstd")
