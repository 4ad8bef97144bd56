"""Whether a promise is kept: the losses of the sets, and what the report adds for each kind of calibration."""

from collections.abc import Callable

import numpy as np

from racer.artifact import Artifact
from racer.intervals import mean, share
from racer.losses import least_cut, loss
from racer.problem import context_of, truth_of
from racer.scores import Scores
from racer.sets import select
from racer.table import OOD
from racer.traffic import fitting_half


def sets_of(rows: Scores, artifact: Artifact) -> np.ndarray:
    """Return the artifact's sets (n, M+1) bool, the null last."""
    return select(artifact.rule.of_scores(rows), artifact.calibration.cut_of(context_of(rows)))


def losses_of(chosen: np.ndarray, rows: Scores, artifact: Artifact) -> dict[str, np.ndarray]:
    """Return the losses (n,) of sets `chosen` (n, M+1) by name: those that can be told here, and those promised."""
    names = ["misrouting", "miss", "over_abstention"]
    names += ["regret"] * (rows.graded is not None) + ["harm"] * (artifact.reference is not None)
    truth = truth_of(rows, artifact.reference)
    return {name: loss(chosen, truth, name) for name in dict.fromkeys([*names, *dict(artifact.risk.promises)])}


def measured(losses: np.ndarray) -> dict | None:
    """Return the mean loss: with its exact interval where losses are 0 or 1 by name, a normal one where between."""
    return share(losses) if losses.dtype == bool else mean(losses)


def beside(scores: Scores, artifact: Artifact) -> dict:
    """Return what the report of this kind of calibration holds beside the common numbers, on the test split."""
    return BESIDE.get(artifact.calibration.kind, lambda *_: {})(scores, artifact)


def _groups(scores: Scores, artifact: Artifact) -> dict:
    """For each group of the test split: the risk, and where it should lie if the group's own promise holds."""
    c, test = artifact.calibration, scores.of_split("test")
    labels, losses = context_of(test).known[c.by], losses_of(sets_of(test, artifact), test, artifact)[artifact.loss]
    groups = {}
    for name in np.unique(labels.astype(str)).tolist():
        hit, own = losses[labels == name], c.own.get(name)
        groups[name] = {"queries": len(hit), "risk": measured(hit), "own_cut": own is not None,
                        "expected": None if own is None or c.floor else own.expected(len(hit))}
    return {"groups": groups}


def _promises(scores: Scores, artifact: Artifact) -> dict:
    """Each promised risk beside the one observed on test."""
    test = scores.of_split("test")
    losses = losses_of(sets_of(test, artifact), test, artifact)
    return {"promises": [{"loss": name, "alpha": alpha, "observed": measured(losses[name])}
                         for name, alpha in artifact.risk.promises]}


def _traffic(scores: Scores, artifact: Artifact) -> dict:
    """The risk on new traffic, two ways: test losses weighted, and losses on the ood rows no weight was fitted on."""
    c, test, ood = artifact.calibration, scores.of_split("test"), scores.of_split(OOD)
    losses, w = losses_of(sets_of(test, artifact), test, artifact)[artifact.loss], c.weights_of(context_of(test))
    found = {"weighted_test_risk": float(w @ losses / w.sum()) if w.sum() > 0 else None, "n_eff": c.n_eff, "ood": None}
    if artifact.risk.weights == OOD:
        fresh = ood.take(~fitting_half(ood))
        found["ood"] = measured(losses_of(sets_of(fresh, artifact), fresh, artifact)[artifact.loss])
    return {"traffic": found}


def _stream(scores: Scores, artifact: Artifact) -> dict:
    """The test split as a stream, in the order of the file: its mean loss with moving cuts, beside the bound.

    `lost` is the share that the hard limits leave unserved at every cut: part of the bound, which knows no limits.
    """
    test, level = scores.of_split("test"), artifact.calibration.level
    s = artifact.rule.of_scores(test)
    served = least_cut(s, truth_of(test, artifact.reference), artifact.loss)
    n, lost, explore = len(test.ids), float(np.isposinf(served).mean()), level.tracker.explore
    asked = None if explore == 1 else np.random.default_rng(0).random(n) < explore
    risk, bound = float(level.run(served, asked).losses.mean()), level.tracker.alpha + level.tracker.bound(n) + lost
    return {"stream": {"queries": n, "risk": risk, "lost": lost, "explore": explore, "bound": bound}}


BESIDE: dict[str, Callable[[Scores, Artifact], dict]] = {
    "group": _groups, "certified": _promises, "weight": _traffic, "online": _stream}
