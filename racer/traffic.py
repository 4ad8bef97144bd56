"""How much more often the new traffic holds a query like this one: the weights behind `risk.method=weighted`.

`risk.weights` is `known` (the column `weight` of the scores), `ood` (estimated, from half of the ood rows) or a file of
anyone's scores (estimated, from all of its rows; outcomes are not used). An estimate must not have seen the queries it
is used on: it is fitted on one half of the calibration rows, the other half calibrates.
"""

import numpy as np

from racer import scores as scores_file
from racer.context import features
from racer.coupling import Coupling
from racer.errors import ConfigError, TableError
from racer.problem import Problem
from racer.scores import Scores
from racer.splits import drawn
from racer.table import OOD
from racer.weighted import DensityRatio, density_ratio

LEAST = 50  # rows on either side of the classifier


def known(problem: Problem) -> tuple[np.ndarray, None, np.ndarray]:
    """Return the calibration rows' weights (n,), no ratio, and that all rows calibrate (n,)."""
    rows = problem.rows
    if rows.weight is None:
        raise TableError("risk.weights=known, but these scores have no column weight: write it into scores.npz, a "
                         "number >= 0 (n,) for every query, or set risk.weights=ood or a file of scores of new "
                         "traffic")
    return rows.weight, None, np.ones(len(rows.ids), dtype=bool)


def estimated(problem: Problem) -> tuple[np.ndarray, DensityRatio, np.ndarray]:
    """Return the weights of the calibration rows that calibrate, the fitted ratio, and which rows these are (n,)."""
    rows = problem.rows
    fitting, traffic = fitting_half(rows), sample(problem.scores, problem.risk.weights, problem.rule.coupling)
    for name, count in (("calibration", int(fitting.sum())), ("traffic", len(traffic.ids))):
        if count < LEAST:
            raise TableError(f"risk.weights={problem.risk.weights}: {count} {name} rows to estimate weights from, "
                             f"expected at least {LEAST}: bring more, or use risk.weights=known")
    ratio = density_ratio(features(rows.take(fitting).probabilities), features(traffic.probabilities))
    return ratio.weights(features(rows.take(~fitting).probabilities)), ratio, ~fitting


def sample(scores: Scores, source: str, coupling: Coupling | None) -> Scores:
    """Return the rows of new traffic that weights are estimated from; outcomes are not looked at."""
    if source == OOD:
        ood = scores.of_split(OOD)
        return ood.take(fitting_half(ood))
    found = scores_file.load(source).uncoupled()
    if found.models != scores.models:
        raise ConfigError(f"risk.weights={source} has the models {', '.join(found.models)}, the scores have "
                          f"{', '.join(scores.models)}: score the new traffic with the same router")
    return found if coupling is None else found.coupled(coupling)


def fitting_half(rows: Scores) -> np.ndarray:
    """Return which rows (n,) are for estimating: half of every task, by a hash of the ids."""
    return drawn(rows.ids, rows.task, 0.5, "traffic")
