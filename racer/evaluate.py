"""How good are the sets: every number of `report.json`, each with its interval."""

from contextlib import suppress
from dataclasses import replace

import numpy as np

from racer.artifact import Artifact
from racer.baselines import all_baselines
from racer.errors import Infeasible
from racer.intervals import mean, share
from racer.kept import beside, losses_of, measured, sets_of
from racer.methods import at_level, deployed
from racer.scores import Scores
from racer.table import OOD, SPLITS

ALPHAS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4)  # of the figures


def report(scores: Scores, artifact: Artifact) -> dict:
    """Return the report on the test split: sets, losses, costs and baselines, by task, and `ood` apart.

    `scores` carries the null that the artifact names. `expected` is where the observed calibrated loss
    should lie if the promise holds (None where no law is known). The promise is for the mixture of
    tasks, not for each task, and not for `ood`.
    """
    c = artifact.calibration
    test, train = scores.of_split("test"), scores.of_split("train")
    counts = {split: int(np.count_nonzero(scores.split == split)) for split in (*SPLITS, OOD)}
    return {
        "table": scores.table, "models": list(scores.models), "n": counts,
        "family": artifact.rule.family, "null": artifact.rule.null, "loss": artifact.loss, "method": c.method,
        "alpha": c.alpha, "delta": c.delta, "cut": "-inf" if (cut := getattr(c, "cut", None)) == -np.inf else cut,
        "expected": c.expected(len(test.ids)), **beside(scores, artifact),
        **measure(test, artifact), "baselines": all_baselines(train, test),
        "tasks": {str(t): measure(test.take(test.task == t), artifact) for t in np.unique(test.task)},
        "ood": {str(t): measure(rows.take(rows.task == t), artifact)
                for rows in [scores.of_split(OOD)] for t in np.unique(rows.task)},
        "fingerprint": artifact.fingerprint,
    }


def measure(rows: Scores, artifact: Artifact) -> dict:
    """Return what the artifact's sets do on these rows (n >= 1).

    `abstention`: no real model in the set. `set_size` counts real models over all queries,
    `set_size_answered` over those not abstained on. `set_accuracy`: a right model is in the set.
    """
    n, m = rows.outcomes.shape
    chosen = sets_of(rows, artifact)  # (n, M+1)
    members, solvable = chosen[:, :-1], rows.outcomes.any(axis=1)
    size = members.sum(axis=1)
    best = rows.probabilities[:, :-1].argmax(axis=1)
    losses = losses_of(chosen, rows, artifact)
    return {
        "queries": n,
        "risk": {**{name: measured(values) for name, values in losses.items()},
                 "miss_given_solvable": share(losses["miss"][solvable])},
        "set_size": mean(size), "set_size_answered": mean(size[size > 0]),
        "set_size_histogram": {str(k): share(size == k) for k in range(m + 1)},
        "null_admitted": share(chosen[:, -1]), "abstention": share(size == 0), "unsolvable": share(~solvable),
        "cost": _cost(members, rows.cost),
        "top1_accuracy": share(rows.outcomes[np.arange(n), best]),
        "set_accuracy": share((members & rows.outcomes).any(axis=1)),
    }


def _cost(members: np.ndarray, cost: np.ndarray | None) -> dict:
    """USD per query, and the mean over queries of spend over the cost of asking all, where that is not 0."""
    if cost is None:
        return {"usd": None, "share_of_all": None}
    spend, everyone = (members * cost).sum(axis=1), cost.sum(axis=1)
    priced = everyone > 0
    return {"usd": mean(spend), "share_of_all": mean(spend[priced] / everyone[priced])}


def alpha_curve(scores: Scores, artifact: Artifact, alphas: tuple[float, ...] = ALPHAS) -> dict[float, dict]:
    """Return what `measure` says on test at each alpha that can be promised, all else as in the artifact.

    For looking, not for choosing: an alpha picked from this curve has seen the test rows.
    """
    test, curve = scores.of_split("test"), {}
    for alpha in alphas:
        with suppress(Infeasible):
            at_alpha = at_level(scores, artifact.rule, replace(artifact.risk, alpha=alpha), artifact.calibration)
            rule = deployed(artifact.rule, at_alpha)
            curve[alpha] = measure(test, replace(artifact, rule=rule, calibration=at_alpha))
    return curve


def reliability(rows: Scores, bins: int = 10) -> list[dict]:
    """Return, per bin of predicted probability, how often the real models were right, all models pooled.

    Each entry has `predicted` (mean), `observed` (value, low, high) and `count`; empty bins are left out.
    The interval takes the pairs of a query for independent, so it is too narrow: a picture, not a test.
    """
    p, right = rows.probabilities[:, :-1].ravel(), rows.outcomes.ravel()
    bin_of = np.minimum((p * bins).astype(int), bins - 1)
    return [{"predicted": float(p[bin_of == b].mean()), "observed": share(right[bin_of == b]),
             "count": int(np.count_nonzero(bin_of == b))} for b in range(bins) if (bin_of == b).any()]
