"""Is every promise kept? The promised level against the realised one, in worlds whose true risk is known.

    python benchmarks/validity.py

Writes `docs/validity.md`, `docs/figures/validity_levels.png` and `docs/figures/validity_bounds.png`, in about four
minutes on one core. Seeds are fixed: the same numbers every time.
"""

from pathlib import Path

import numpy as np
from document import markdown
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from tqdm import tqdm
from trials import counts, many, means, shifts
from trials.report import DELTA, Cell, Report

ROOT = Path(__file__).parents[1]
DRAWS = 2000
STEPS = 222  # of the progress bar
SECTIONS = (counts.counts, means.bounds_of_a_mean, means.fractional, many.learn_then_test, many.alpha_afterwards,
            shifts.groups, shifts.covariate_shift, shifts.online)
COLOURS = {"binomial": "#0b5fa5", "hoeffding": "#8a8f98", "hoeffding_bentkus": "#2a7f4f",
           "empirical_bernstein": "#a33b5b", "wsr": "#d1690e"}


def main(draws: int = DRAWS, root: Path = ROOT) -> None:
    with tqdm(total=STEPS, desc="validity", unit="cell") as bar:
        report = Report(draws, bar)
        for seed, section in enumerate(SECTIONS):
            bar.set_postfix_str(section.__name__)
            section(report, np.random.default_rng(seed))
    folder = root / "docs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    levels(report.cells).savefig(folder / "validity_levels.png", dpi=140)
    bounds(report.curves).savefig(folder / "validity_bounds.png", dpi=140)
    (root / "docs" / "validity.md").write_text("\n".join([*opening(report), *report.parts]), encoding="utf-8")


def opening(report: Report) -> list[str]:
    broken = sum(cell.excess > 3 for cell in report.cells)
    verdict = f"{broken} of the {len(report.cells)} lie more than 3 standard errors beyond it, marked !." if broken \
        else "None lies more than 3 standard errors beyond it (one that did would be marked !)."
    columns = ["promise", "level", "tests", "above level", "largest excess, se"]
    rows = [[method, span([cell.promised for cell in cells]), len(cells), sum(c.realised > c.promised for c in cells),
             "-" if method == "online" else f"{max(c.excess for c in cells):+.1f}"]
            for method, cells in by_method(report.cells).items()]
    return ["# Are the promises kept?", "",
            "Made by `python benchmarks/validity.py`. Calibration sets are drawn from worlds whose true risk is known "
            f"at every cut, {report.draws} sets per cell where nothing else is said, and it is the *true* risk of the "
            "calibrated cut that is judged, not one observed on a test split. Confidence is 1 - delta = .9 where "
            "nothing else is said.", "",
            f"{len(report.cells)} promises were tested. Each is a level that the realised number may exceed by chance "
            f"only. {verdict} A promise that is exact, as `pac` nearly is without ties, comes out above its level in "
            "many simulations; one that is loose hardly ever does. `online` is a bound without chance.", "",
            *markdown(columns, rows), "",
            "![Realised over promised, every test](figures/validity_levels.png)", "",
            "![The bounds against n: violations, and how much of alpha they use](figures/validity_bounds.png)", ""]


def span(levels: list[float]) -> str:
    low, high = min(levels), max(levels)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def by_method(cells: list[Cell]) -> dict[str, list[Cell]]:
    names = dict.fromkeys(cell.method for cell in cells)
    return {name: [cell for cell in cells if cell.method == name] for name in names}


# ---------------------------------------------------------------- figures


def levels(cells: list[Cell]) -> Figure:
    """Realised over promised, every test a point, a row per promise; the largest with 3 standard errors."""
    methods = by_method(cells)
    figure = Figure(figsize=(7.6, 0.27 * len(methods) + 1.0), layout="constrained")
    axis, rng = figure.subplots(), np.random.default_rng(0)
    for y, tests in enumerate(methods.values()):
        ratios = np.array([cell.realised / cell.promised for cell in tests])
        axis.plot(ratios, y + rng.uniform(-0.22, 0.22, len(tests)), "o", color="#0b5fa5", alpha=0.45, markersize=3.5,
                  markeredgewidth=0)
        most = int(ratios.argmax())
        axis.errorbar(ratios[most], y, xerr=3 * tests[most].se / tests[most].promised, color="#d1690e", fmt="o",
                      markersize=3.5, elinewidth=1.2, label="the largest, with 3 standard errors" if y == 0 else None)
    axis.axvline(1, color="#444", linestyle="--", linewidth=1, label="promised")
    axis.set(yticks=range(len(methods)), yticklabels=list(methods), xlabel="realised over promised", xlim=(-0.03, None))
    axis.invert_yaxis()
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    finish(axis)
    return figure


def bounds(curves: dict) -> Figure:
    figure = Figure(figsize=(10.4, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, name in ((left, "bounds"), (right, "used")):
        for bound, points in curves[name].items():
            found = [(n, share) for n, share in points if share is not None]
            axis.plot(*zip(*found, strict=True), "o-", color=COLOURS[bound], label=bound, markersize=4)
        axis.axhline(DELTA if axis is left else 1, color="#444", linestyle="--", linewidth=1, label="promised")
        axis.set(xscale="log", xlabel="n", ylim=(0, None))
        axis.set_xticks([n for n, _ in points], [str(n) for n, _ in points], minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
        finish(axis)
    left.set(ylabel="share of draws below the true mean", title="the bounds at level .1, worst of 16 laws of the loss")
    right.set(ylabel="mean true risk of the cut over alpha",
              title="pac at alpha = .1, weight of the loss Beta(1/2, 1/2)")
    figure.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=6)
    return figure


def finish(axis) -> None:
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.title.set_fontsize(10)


if __name__ == "__main__":
    main()
