"""crc and pac where one number per query says all: ties, imbalance, too few queries, both ends."""

import numpy as np
from scipy import special, stats

from racer.conformal import allowed_unserved, calibrate, check_feasible
from racer.errors import Infeasible
from trials.report import DELTA, Report
from trials.worlds import ALL_SAFE, NONE_SAFE, WORLDS, World

ALPHAS = (0.005, 0.02, 0.1, 0.3, 0.5)
SIZES = (20, 100, 500, 2000)


def counts(report: Report, rng: np.random.Generator) -> None:
    report.say("## crc and pac for losses of 0 or 1", "",
               "`crc` promises the mean of the true risk over calibration sets, `pac` the share of calibration sets "
               "whose true risk exceeds alpha. A dash: too few queries, refused by a line that names the n needed. "
               "*refused*: the hard limits put alpha out of reach in every draw; a refused draw deploys nothing and "
               "counts as risk 0.")
    for method, title in (("crc", "### crc: mean true risk, promised at most alpha"),
                          ("pac", "### pac: share of calibration sets with risk above alpha, promised at most .1")):
        report.say(title)
        rows = [[world.name, n, *(one_count(report, world, n, alpha, method, rng) for alpha in ALPHAS)]
                for world in WORLDS for n in SIZES]
        report.table(["world", "n", *(f"alpha {alpha:g}" for alpha in ALPHAS)], rows)
    exact_laws(report, rng)
    ends(report, rng)


def one_count(report: Report, world: World, n: int, alpha: float, method: str, rng: np.random.Generator) -> str:
    risks = deployed_risks(world, n, alpha, method, DELTA, report.draws, rng)
    report.bar.update()
    if risks is None:
        return "-"
    if np.isnan(risks).all():
        return "refused"
    risks = np.nan_to_num(risks)
    return str(report.test(method, *((alpha, risks) if method == "crc" else (DELTA, risks > alpha))))


def deployed_risks(world: World, n: int, alpha: float, method: str, delta: float, draws: int,
                   rng: np.random.Generator) -> np.ndarray | None:
    """Return the true risk of each calibrated cut (draws,), NaN where refused; None if n is too small."""
    try:
        check_feasible(n, alpha, method, delta)
    except Infeasible:
        return None
    risks = np.full(draws, np.nan)
    for t in range(draws):
        try:
            risks[t] = world.risk(calibrate(world.draw(rng, n), alpha, method, delta).cut)
        except Infeasible:
            continue
    return risks


def exact_laws(report: Report, rng: np.random.Generator) -> None:
    """Without ties the true risk is Beta(j + 1, n - j): simulated against exact violations, other deltas too."""
    rows = []
    for delta in (0.01, 0.05, 0.1, 0.3):
        for n in (100, 500):
            risks = deployed_risks(WORLDS[0], n, 0.1, "pac", delta, report.draws, rng)
            report.bar.update()
            j = allowed_unserved(n, 0.1, "pac", delta)
            exact = float(special.bdtr(j, n, 0.1))
            cell = report.test("pac", delta, risks > 0.1)
            law = stats.kstest(risks, stats.beta(j + 1, n - j).cdf).pvalue
            rows.append([f"{delta:g}", n, cell, f"{exact:.4f}", f"{law:.2f}"])
    report.say("### pac against its exact law", "",
               "Without ties the true risk of the cut is Beta(j + 1, n - j) with j queries allowed unserved, and the "
               "promise is broken with probability BinCDF(j; n, alpha), as near below delta as a count allows. Alpha "
               ".1; the last column is the p-value of a Kolmogorov-Smirnov test of that law.")
    report.table(["delta", "n", "realised", "exact", "p of the law"], rows)


def ends(report: Report, rng: np.random.Generator) -> None:
    rows = []
    for world in (ALL_SAFE, NONE_SAFE):
        for method in ("crc", "pac"):
            risks = deployed_risks(world, 500, 0.1, method, DELTA, 200, rng)
            refused = f"{np.isnan(risks).sum()} of 200"
            rows.append([world.name, method, refused, "-" if np.isnan(risks).all() else f"{np.nanmax(risks):g}"])
    report.say("### Both ends", "",
               "n = 500, alpha .1: a table that is safe everywhere is not mistaken for one that is safe nowhere.")
    report.table(["world", "method", "refused", "largest true risk"], rows)
