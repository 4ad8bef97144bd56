"""The pictures of a run: risk and size against alpha, set sizes, reliability, accuracy against cost."""

from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from racer.artifact import Artifact
from racer.evaluate import alpha_curve, reliability
from racer.scores import Scores

BLUE, ORANGE, GREY, GREEN = "#0b5fa5", "#d1690e", "#8a8f98", "#2a7f4f"
STYLE = {"fmt": "o-", "capsize": 2, "markersize": 3.5, "linewidth": 1.4}
BASELINES = {"random": "random", "best_single": "best single", "best_per_task": "best per task", "top2": "top 2",
             "all": "ask all", "oracle": "oracle"}


def draw_all(scores: Scores, artifact: Artifact, report: dict, folder: Path) -> list[Path]:
    """Write the four figures of the test split as PNG files into `folder`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    curve = alpha_curve(scores, artifact)
    figures = {"risk_and_size": risk_and_size(curve, report), "set_size_histogram": set_size_histogram(report),
               "reliability": reliability_diagram(scores, report), "accuracy_cost": accuracy_cost(curve, report)}
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=140)
    return [folder / f"{name}.png" for name in figures]


def risk_and_size(curve: dict, report: dict) -> Figure:
    figure, (left, right) = _figure(report, "risk and set size against alpha", panels=2)
    alphas = list(curve)
    left.plot([0, max(alphas, default=1)], [0, max(alphas, default=1)], color=GREY, linestyle="--",
              label="promised")
    _errorbar(left, alphas, [m["risk"][report["loss"]] for m in curve.values()], BLUE, "observed on test")
    labels(left, "risk level alpha", f"{report['loss']} risk")
    _errorbar(right, alphas, [m["set_size"] for m in curve.values()], BLUE, "models called")
    labels(right, "risk level alpha", f"set size (of {len(report['models'])})")
    share = right.twinx()
    _errorbar(share, alphas, [m["abstention"] for m in curve.values()], ORANGE, "abstained")
    share.set(ylim=(0, 1), ylabel="share abstained")
    share.spines["top"].set_visible(False)
    left.legend(frameon=False)
    right.legend(*_merged(right, share), frameon=False, loc="upper right")
    return figure


def set_size_histogram(report: dict) -> Figure:
    figure, (axis,) = _figure(report, f"set sizes at alpha = {report['alpha']:g}")
    shares = list(report["set_size_histogram"].values())  # of the sizes 0, 1, ... M
    axis.bar(range(len(shares)), [share["value"] for share in shares], yerr=bars(shares), capsize=2,
             color=[ORANGE] + [BLUE] * (len(shares) - 1), error_kw={"elinewidth": 1})
    labels(axis, "models in the set (0: abstained)", "share of test queries")
    return figure


def reliability_diagram(scores: Scores, report: dict) -> Figure:
    figure, (axis,) = _figure(report, "reliability of the probabilities, all models pooled")
    points = reliability(scores.of_split("test"))
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfect")
    _errorbar(axis, [p["predicted"] for p in points], [p["observed"] for p in points], BLUE, "observed on test")
    labels(axis, "predicted probability of being right", "share right")
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.legend(frameon=False)
    return figure


def accuracy_cost(curve: dict, report: dict) -> Figure:
    """Share of queries with a right model among those called, against what calling them costs."""
    figure, (axis,) = _figure(report, "accuracy against cost")
    priced = report["cost"]["usd"] is not None
    for measured in curve.values():
        x = measured["cost"]["usd"] if priced else measured["set_size"]
        axis.errorbar(1000 * x["value"] if priced else x["value"], measured["set_accuracy"]["value"],
                      yerr=bars([measured["set_accuracy"]]), color=BLUE, fmt="o", markersize=3.5, capsize=2,
                      label="RACER sets, one point per alpha" if measured is next(iter(curve.values())) else None)
    for (x, y), names in _places(report["baselines"], priced).items():
        axis.plot(x, y, "s", color=GREEN if "oracle" in names else GREY, markersize=5)
        axis.annotate(", ".join(names), (x, y), xytext=(5, -9), textcoords="offset points", fontsize=8, color="#444")
    labels(axis, "USD per 1000 queries, every call billed" if priced else "models called per query",
            "a right model was called", from_zero=False)
    axis.margins(x=0.12)
    if curve:
        axis.legend(frameon=False, loc="lower right")
    return figure


def _places(baselines: dict, priced: bool) -> dict[tuple[float, float], list[str]]:
    """Return the names of the baselines at each point; two that make the same choices share one."""
    places = {}
    for name, baseline in baselines.items():
        if baseline:
            x = 1000 * baseline["cost"]["value"] if priced else baseline["size"]["value"]
            places.setdefault((x, baseline["accuracy"]["value"]), []).append(BASELINES[name])
    return places


def _figure(report: dict, title: str, panels: int = 1):
    figure = Figure(figsize=(5.2 * panels + 0.4, 3.9), layout="constrained")
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    figure.suptitle(f"{report['table']}: {title}\n{report['family']} sets, null {report['null']}, {report['method']}, "
                    f"{report['n']['test']} test queries, 95 % intervals", fontsize=9.5)
    return figure, axes


def labels(axis, x: str, y: str, from_zero: bool = True) -> None:
    """Name the axes and give the panel the looks that all share."""
    axis.set(xlabel=x, ylabel=y)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if from_zero:
        axis.set_ylim(bottom=0)


def bars(measured: list[dict]) -> list[list[float]]:
    """Return how far the intervals reach below and above the values, as errorbar takes them."""
    return [[m["value"] - m["low"] for m in measured], [m["high"] - m["value"] for m in measured]]


def _errorbar(axis, x: list[float], measured: list[dict], color: str, label: str) -> None:
    axis.errorbar(x, [m["value"] for m in measured], yerr=bars(measured), color=color, label=label, **STYLE)


def _merged(*axes) -> tuple[list, list]:
    handles, labels = zip(*(axis.get_legend_handles_labels() for axis in axes), strict=True)
    return list(chain(*handles)), list(chain(*labels))
