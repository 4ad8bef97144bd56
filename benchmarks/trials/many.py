"""Many configurations, or many alphas: learn then test, and the band over all cuts."""

from collections.abc import Callable

import numpy as np

from racer import band
from racer.bounds import p_value
from racer.conformal import calibrate
from racer.errors import Infeasible
from racer.ltt import choose, order_of
from racer.testing import all_risks, rejected
from trials.report import DELTA, Report
from trials.worlds import WORLDS, Configurations, World, at_the_edge, mixed

PROCEDURES = ("fixed_sequence", "bonferroni", "holm", "pareto")


def learn_then_test(report: Report, rng: np.random.Generator) -> None:
    draws, alphas = max(report.draws // 5, 20), (0.1, 0.15)
    world, edge = mixed(), at_the_edge(alphas[0])
    best = world.cost[(world.risks <= alphas).all(axis=1)].min()
    report.say("## ltt", "",
               "Sixty configurations (20 cuts, three sizes), two risks at once: failures at most .1, abstentions at "
               "most .15. Grid and order are fixed on 300 validation queries; of the configurations that n calibration "
               f"queries certify, the cheapest is deployed; {draws} calibration sets per cell. *any bad*: share of "
               "them in which a configuration that breaks a promise is certified, promised at most .1. *mixed*: many "
               "keep both promises. *edge*: all sixty fail with chance .1, independently; nothing should be certified. "
               "*deployed*, and its mean *cost*, are those of *mixed*, where the cheapest that keeps both promises "
               f"costs {best:.2f}. A fixed sequence begins with what 300 validation queries found most promising and "
               "stops at its first failure, so with many calibration queries Bonferroni may deploy more often.")
    for bound in ("binomial", "wsr"):
        rows = []
        for n in (100, 500, 2000):
            false_at_edge, _ = certified(edge, n, alphas, bound, draws, rng)
            false, costs = certified(world, n, alphas, bound, draws, rng)
            for procedure in PROCEDURES:
                cells = [report.test(f"ltt, {procedure}", DELTA, bad[procedure]) for bad in (false, false_at_edge)]
                paid = costs[procedure][np.isfinite(costs[procedure])]
                cost = f"{paid.mean():.2f}" if len(paid) else "-"
                rows.append([procedure, n, *cells, f"{len(paid) / draws:.2f}", cost])
            report.bar.update()
        report.say(f"p-values by `{bound}`:")
        report.table(["procedure", "n", "any bad, mixed", "any bad, edge", "deployed", "cost"], rows)


def certified(world: Configurations, n: int, alphas: tuple[float, float], bound: str, draws: int,
              rng: np.random.Generator) -> tuple[dict, dict]:
    """Return, by procedure, whether any bad configuration was certified (draws,), and what the deployed one costs."""
    bad = (world.risks >= np.array(alphas) - 1e-12).any(axis=1)  # (K,); a risk of exactly alpha is not below it
    false = {procedure: np.zeros(draws, dtype=bool) for procedure in PROCEDURES}
    costs = {procedure: np.full(draws, np.nan) for procedure in PROCEDURES}
    for t in range(draws):
        before, now = world.draw(rng, 300), world.draw(rng, n)
        means = np.column_stack([losses.mean(axis=0) for losses in before])
        guess, p = joint_p(before, alphas, bound), joint_p(now, alphas, bound)
        for procedure in PROCEDURES:
            order = order_of(means, guess, world.cost, procedure)
            passed = rejected(p[order], DELTA, "fixed_sequence" if procedure == "pareto" else procedure)
            false[procedure][t] = bad[order[passed]].any()
            best, _ = choose(p, order, world.cost, DELTA, procedure)
            costs[procedure][t] = np.nan if best is None else world.cost[best]
    return false, costs


def joint_p(losses: tuple[np.ndarray, ...], alphas: tuple[float, ...], bound: str) -> np.ndarray:
    return all_risks(np.column_stack([p_value(x, alpha, bound) for x, alpha in zip(losses, alphas, strict=True)]))


def alpha_afterwards(report: Report, rng: np.random.Generator) -> None:
    alphas, draws, rows = np.linspace(0.02, 0.6, 15), max(report.draws // 4, 20), []
    for world in WORLDS[:2]:
        for n in (100, 500, 2000):
            broken = {method: np.zeros(draws, dtype=bool) for method in ("dkw", "pac")}
            for t in range(draws):
                served = world.draw(rng, n)
                broken["dkw"][t] = any_above(world, lambda a, s=served: band.calibrate(s, a, DELTA), alphas)
                broken["pac"][t] = any_above(world, lambda a, s=served: calibrate(s, a, "pac", DELTA), alphas)
            rows.append([world.name, n, report.test("dkw", DELTA, broken["dkw"]), f"{broken['pac'].mean():.3f}"])
            report.bar.update()
    report.say("## dkw: alpha chosen after looking", "",
               f"Share of {draws} calibration sets in which, among 15 alphas from .02 to .6, *any* has a cut with true "
               "risk above it; promised at most .1 by `dkw`. `pac` promises it for one alpha that is fixed beforehand, "
               "and is shown for what happens when it is not.")
    report.table(["world", "n", "dkw", "pac, misused"], rows)


def any_above(world: World, calibration: Callable, alphas: np.ndarray) -> bool:
    for alpha in alphas.tolist():
        try:
            if world.risk(calibration(alpha).cut) > alpha + 1e-12:
                return True
        except Infeasible:
            continue
    return False
