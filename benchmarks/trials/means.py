"""The bounds of a mean by themselves, and crc and pac for losses between 0 and 1."""

import numpy as np

from racer import bounded
from racer.betting import most_log_capital
from racer.bounds import BOUNDS, p_value
from racer.errors import Infeasible
from racer.steps import Steps
from trials.report import DELTA, Cell, Report
from trials.worlds import FALLING, LOSSES, Falling

FRACTIONAL = BOUNDS[1:]
MEANS = (0.005, 0.05, 0.2, 0.5)
SIZES, ALPHAS = (50, 200, 800), (0.02, 0.1, 0.3)  # of crc and pac


def bounds_of_a_mean(report: Report, rng: np.random.Generator) -> None:
    report.say("## The bounds", "",
               "Share of draws in which the level-.1 upper bound lies below the true mean. Each cell is the worst over "
               "means of .005, .05, .2 and .5 and over losses of 0 or 1, of 0 or 0.7, Beta(1/2, .), and rare failures "
               "(nearly all lose a little, few lose all); being the worst of 16, it may lie above .1 by chance where "
               f"the bound is tight. {4 * report.draws} draws, {report.draws} for n = 2000. `binomial` takes losses of "
               "0 or 1 only.")
    sizes = (5, 20, 100, 500, 2000)
    worst = {(n, bound): max(edge_cells(report, bound, tables), key=lambda cell: cell.realised)
             for n in sizes for tables in [edge_tables(report, n, rng)] for bound in BOUNDS}
    report.table(["n", *BOUNDS], [[n, *(worst[n, bound] for bound in BOUNDS)] for n in sizes])
    report.curves["bounds"] = {b: [(n, worst[n, b].realised) for n in sizes] for b in BOUNDS}
    sorted_rows(report, rng)


def edge_tables(report: Report, n: int, rng: np.random.Generator) -> list[tuple[str, float, np.ndarray]]:
    """Return (kind, true mean, losses (n, draws)); fewer draws where n is large."""
    report.bar.update()
    draws = 4 * report.draws // (1 if n < 2000 else 4)
    return [(kind, mean, draw(rng, mean, (n, draws))) for kind, draw in LOSSES.items() for mean in MEANS]


def edge_cells(report: Report, bound: str, tables: list) -> list[Cell]:
    """Return the cells at level .1; the same draws test .01 and .3 too. The bound is below the mean if p <= delta."""
    cells = []
    for kind, mean, losses in tables:
        if bound == "binomial" and kind != "0 or 1":
            continue
        p = p_value(losses, mean, bound)
        cells += [report.test(bound, delta, p <= delta) for delta in (0.01, DELTA, 0.3)]
    return [cell for cell in cells if cell.promised == DELTA]


def sorted_rows(report: Report, rng: np.random.Generator) -> None:
    """Tables come sorted by task: the easy task first, over many n, as wsr promises it on average over its shuffles."""
    tables = [np.concatenate([rng.random((n // 2, report.draws // 40 + 1)) < risk for risk in (0.05, 0.35)])
              for n in range(200, 1000, 20)]
    cells = []
    for bound in FRACTIONAL:
        broken = np.concatenate([p_value(x, 0.2, bound) <= DELTA for x in tables])
        cells.append(f"`{bound}` {report.test(bound, DELTA, broken)}")
        report.bar.update()
    as_they_come = np.mean([most_log_capital(x)(0.2) >= -np.log(DELTA) for x in tables])
    report.say("The same for rows sorted by task, an easy one (risk .05) before a hard one (.35), n from 200 to 980: "
               f"{', '.join(cells)}. Were `wsr` to read the rows as they come: {as_they_come:.3f}.")


# ---------------------------------------------------------------- crc and pac


def fractional(report: Report, rng: np.random.Generator) -> None:
    draws, found = max(report.draws // 7, 20), {}
    for key in ((world, n, alpha) for n in SIZES for alpha in ALPHAS for world in FALLING):
        found[key] = fractional_risks(*key, draws, rng)
        report.bar.update()
    worlds = "; ".join(f"({i + 1}) {world.name}" for i, world in enumerate(FALLING))
    report.say("## crc and pac for losses between 0 and 1", "",
               f"A loss that falls in three random steps from a weight W to 0; {draws} calibration sets per cell; "
               f"`pac` chooses among 26 cuts that are fixed beforehand. Worlds: {worlds}.")
    report.say("### crc: mean true risk, promised at most alpha")
    rows = [[f"({i + 1})", n, *(crc_cell(report, alpha, found[world, n, alpha]["crc"]) for alpha in ALPHAS)]
            for i, world in enumerate(FALLING) for n in SIZES]
    report.table(["world", "n", *(f"alpha {alpha:g}" for alpha in ALPHAS)], rows)
    by_each_bound(report, found)


def crc_cell(report: Report, alpha: float, risks: np.ndarray) -> str:
    return "-" if np.isnan(risks).all() else str(report.test("crc", alpha, np.nan_to_num(risks)))


def by_each_bound(report: Report, found: dict) -> None:
    rows = []
    for bound in FRACTIONAL:
        for n in SIZES:
            cells = [report.test(f"pac, {bound}", DELTA, np.nan_to_num(found[world, n, alpha][bound]) > alpha)
                     for world in FALLING for alpha in ALPHAS]
            shares = [used(found[world, n, 0.1][bound]) for world in FALLING]
            rows.append([bound, n, max(cells, key=lambda cell: cell.realised),
                         *("-" if share is None else f"{share:.2f}" for share in shares)])
            report.curves.setdefault("used", {}).setdefault(bound, []).append((n, shares[1]))
    report.say("### pac by each bound", "",
               "*violated*: share of calibration sets with risk above alpha, promised at most .1, the worst over alpha "
               ".02, .1, .3 and the worlds. *used*: mean true risk over alpha at alpha = .1, by world; a dash where no "
               "cut is ever found.")
    report.table(["bound", "n", "violated", "used (1)", "used (2)", "used (3)"], rows)


def used(risks: np.ndarray) -> float | None:
    """Return the mean of those that are not NaN over alpha = .1; None if all are."""
    return None if np.isnan(risks).all() else float(np.nanmean(risks)) / 0.1


def fractional_risks(world: Falling, n: int, alpha: float, draws: int, rng: np.random.Generator) -> dict:
    """Return the true risks of the cuts of `crc`, and of `pac` by each bound, on the same draws; NaN where refused."""
    cuts = np.append(-np.inf, np.linspace(0, 1, 25))
    risks = {how: np.full(draws, np.nan) for how in ("crc", *FRACTIONAL)}
    for t in range(draws):
        steps = Steps(*world.draw(rng, n))
        for how in risks:
            try:
                c = bounded.crc(steps, alpha) if how == "crc" else bounded.pac(steps, cuts, alpha, DELTA, how)
            except Infeasible:
                continue
            risks[how][t] = world.risk(c.cut)
    return risks
