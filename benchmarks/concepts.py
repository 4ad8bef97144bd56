"""The picture of docs/concepts.md: how one cut, taken from calibration queries, makes the set of a new query.

    make demo
    python benchmarks/concepts.py

Reads `outputs/demo/scores.npz`, writes `docs/figures/concepts.png`, in seconds.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from racer import cli, conformal, scores, sets
from racer.figures import BLUE, GREY, ORANGE
from racer.losses import least_cut
from racer.scores import Scores

ROOT = Path(__file__).parents[1]
ALPHA, DELTA = 0.1, 0.1


def main(run: Path = ROOT / "outputs" / "demo", out: Path = ROOT / "docs" / "figures" / "concepts.png") -> None:
    rows = scores.load(run / "scores.npz").with_null("free")
    calibration, new = rows.of_split("calibration"), rows.of_split("test")
    served = least_cut(distance(calibration), calibration.outcomes, "misrouting")
    draw(served, conformal.calibrate(served, ALPHA, "pac", DELTA), new).savefig(out, dpi=140)


def distance(rows: Scores) -> np.ndarray:
    """Return s (n, M+1) of the plainest family: one minus the probability that the model is right."""
    return sets.distance(rows.probabilities, "probability", "free")


def examples(new: Scores, cut: float) -> np.ndarray:
    """Return three queries with sets of one, three and six models, each the first of its size."""
    size = sets.select(distance(new), cut)[:, :-1].sum(axis=1)
    return np.array([np.flatnonzero(size == wanted)[0] for wanted in (1, 3, 6)])


def draw(served: np.ndarray, calibration: conformal.Calibration, new: Scores) -> Figure:
    """Above the share of calibration queries that a cut leaves unserved; below the models of three new queries."""
    figure = Figure(figsize=(8.6, 6.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.1))
    cuts = np.linspace(0, 1, 1001)
    above.plot(cuts, (served[None, :] > cuts[:, None]).mean(axis=1), color=BLUE)
    above.axhline(ALPHA, color=ORANGE, linestyle="--", linewidth=1)
    above.text(0.01, ALPHA + 0.02, f"alpha = {ALPHA:g}", color=ORANGE)
    above.set(ylim=(0, 1), ylabel="share misrouted: some model is\nright and none in the set is",
              title=f"calibrate: {calibration.n} queries whose outcomes are known")
    above.annotate(f"the smallest cut that misroutes no more than\n{calibration.allowed} of them: "
                   f"{calibration.cut:.3f}", (calibration.cut, calibration.unserved / calibration.n),
                   (calibration.cut + 0.06, 0.55), arrowprops={"arrowstyle": "->", "color": GREY})
    queries(below, calibration.cut, new)
    for axis in (above, below):
        axis.axvline(calibration.cut, color="#444", linewidth=1.2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    return figure


def queries(axis, cut: float, new: Scores) -> None:
    """A row per query, a dot per model; the set is what lies left of the cut."""
    chosen = examples(new, cut)
    axis.axvspan(0, cut, color=BLUE, alpha=0.08, linewidth=0)
    s, right = distance(new)[chosen, :-1], new.outcomes[chosen]  # (3, M)
    height = np.repeat(np.arange(3)[::-1], s.shape[1]).reshape(s.shape)
    for kind, face, name in ((right, BLUE, "right on this query"), (~right, "white", "wrong on this query")):
        axis.plot(s[kind], height[kind], "o", color=BLUE, markerfacecolor=face, markersize=8, label=name)
    members = (s <= cut).sum(axis=1)
    axis.set(xlim=(0, 1), ylim=(-0.6, 2.6), yticks=[2, 1, 0], xlabel="s of a model, here 1 - p(it is right)",
             yticklabels=[f"asks {k}" for k in members], title="route: three new queries, a dot for each model")
    axis.text(0.01, 2.42, "in the set: s <= cut", color=BLUE)
    axis.text(0.99, 2.42, "not asked", color=GREY, ha="right")
    axis.legend(frameon=False, fontsize=8, loc="lower left")


if __name__ == "__main__":
    with cli.clear_errors():
        main()
