"""How each `risk.method` gets from a router's scores to a calibration: what it needs, and whether it can."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from racer import band, bounded, conformal
from racer.calibrations import ByGroup, ByWeight, Calibration, Online
from racer.errors import TableError
from racer.group import calibrate_groups
from racer.losses import SERVED
from racer.ltt import CertifiedCalibration, learn_then_test
from racer.online import online_level
from racer.problem import Problem, context_of
from racer.risk import Risk
from racer.rule import SetRule
from racer.scores import Scores
from racer.traffic import estimated, known
from racer.weighted import calibrate_weighted


def _crc(problem: Problem) -> Calibration:
    risk = problem.risk
    if risk.loss in SERVED:
        return conformal.calibrate(problem.served, risk.alpha, "crc")
    return bounded.crc(problem.steps, risk.alpha)


def _pac(problem: Problem) -> Calibration:
    risk = problem.risk
    if risk.bound_used() == "binomial":
        return conformal.calibrate(problem.served, risk.alpha, "pac", risk.delta)
    return bounded.pac(problem.steps, problem.grid, risk.alpha, risk.delta, risk.bound_used())


def _dkw(problem: Problem) -> Calibration:
    return band.calibrate(problem.served, problem.risk.alpha, problem.risk.delta)


def _group(problem: Problem) -> Calibration:
    risk, known = problem.risk, context_of(problem.rows).known
    if risk.by not in known:
        raise TableError(f"risk.by={risk.by}, but these scores have no column {risk.by}: they have "
                         f"{', '.join(sorted(known))}; write it into scores.npz, a text (n,) for every query")
    found = calibrate_groups(problem.served, known[risk.by].astype(str), risk.alpha, risk.within, risk.delta,
                             risk.least, risk.floor)
    return ByGroup.of(found, risk.by)


def _weighted(problem: Problem) -> Calibration:
    weights, ratio, rows = (known if problem.risk.weights == "known" else estimated)(problem)
    return ByWeight.of(calibrate_weighted(problem.served[rows], weights, problem.risk.alpha), ratio)


def _online(problem: Problem) -> Calibration:
    risk = problem.risk
    return Online.of(online_level(problem.served, risk.alpha, risk.step, risk.decay, risk.explore))


METHODS: dict[str, Callable[[Problem], Calibration]] = {
    "crc": _crc, "pac": _pac, "dkw": _dkw, "ltt": learn_then_test, "group": _group, "weighted": _weighted,
    "online": _online}


def calibrate(scores: Scores, rule: SetRule, risk: Risk) -> Calibration:
    """Return the calibration of the sets that `rule` makes of `scores`, on their calibration rows.

    Raises `Infeasible` if those rows cannot promise the level, `ConfigError` if the method is not for this loss.
    """
    check_feasible(int(np.count_nonzero(scores.split == "calibration")), risk)
    return METHODS[risk.method](Problem(scores, rule, risk))


def at_level(scores: Scores, rule: SetRule, risk: Risk, before: Calibration) -> Calibration:
    """Return what `before` would be at the level of `risk`, all else equal; estimated weights are kept as they are."""
    if not isinstance(before, ByWeight):
        return calibrate(scores, rule, risk)
    return before.at(risk.alpha)


def deployed(rule: SetRule, calibration: Calibration) -> SetRule:
    """Return the rule that the calibration is for: `ltt` may have chosen another most number of models."""
    return replace(rule, max_size=calibration.size) if isinstance(calibration, CertifiedCalibration) else rule


def check_feasible(n: int, risk: Risk) -> None:
    """Raise `Infeasible` if `n` calibration queries cannot promise `risk`, naming the n needed."""
    FEASIBLE[risk.method](n, risk)


def _counts(n: int, risk: Risk) -> None:
    within = risk.within if risk.method == "group" else "crc"
    conformal.check_feasible(n, risk.alpha, within, risk.delta)


def _bounds(n: int, risk: Risk) -> None:
    for loss, alpha in risk.promises:
        bound = risk.bound_used(loss)
        if bound == "binomial":
            conformal.check_feasible(n, alpha, "pac", risk.delta)
        elif (needed := bounded.least_n(alpha, risk.delta, bound)) > n:
            how = f"{risk.method} with the bound {bound} at delta={risk.delta:g}"
            raise conformal.too_few(n, needed, alpha, how, bounded.least_alpha(n, risk.delta, bound))


FEASIBLE: dict[str, Callable[[int, Risk], None]] = {
    "crc": _counts, "group": _counts, "weighted": _counts, "online": _counts, "pac": _bounds, "ltt": _bounds,
    "dkw": lambda n, risk: band.check_feasible(n, risk.alpha, risk.delta)}
