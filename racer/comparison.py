"""The picture of a sweep: risk, set size and cost of its jobs, against alpha where that varies, else a row a job."""

from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure

from racer.figures import GREY, STYLE, bars, labels
from racer.gather import Job, varied


def draw(found: list[Job], path: Path) -> Path | None:
    """Write the figure of the jobs that are done; None if none is."""
    done = [job for job in found if job.report]
    if not done:
        return None
    keys = [key for key in varied(found) if key != "seed"]
    against_alpha = len({job.report["alpha"] for job in done}) > 1
    figure = _against_alpha(done, [k for k in keys if k != "risk.alpha"]) if against_alpha else _rows(done, keys)
    figure.savefig(path, dpi=140)
    return path


def _panels(done: list[Job]) -> list[tuple[str, list[dict]]]:
    """Return what each panel shows: its label, and a number with its interval for each job."""
    losses, reports = sorted({job.report["loss"] for job in done}), [job.report for job in done]
    panels = [(f"{' or '.join(losses)} risk on test", [r["risk"][r["loss"]] for r in reports]),
              ("models asked", [r["set_size"] for r in reports])]
    if all(r["cost"]["usd"] for r in reports):
        return [*panels, ("USD per 1000 queries", [{k: 1000 * v for k, v in r["cost"]["usd"].items()}
                                                   for r in reports])]
    return [*panels, ("share abstained", [r["abstention"] for r in reports])]


def _against_alpha(done: list[Job], keys: list[str]) -> Figure:
    names, most = list(dict.fromkeys(job.named(keys) for job in done)), max(job.report["alpha"] for job in done)
    figure, axes = _figure(done, height=3.9 + 0.17 * ((len(names) + 2) // 3))
    for axis, (label, numbers) in zip(axes, _panels(done), strict=True):
        for line, name in enumerate(names):
            of = [i for i, job in enumerate(done) if job.named(keys) == name]
            shift = 0.004 * (line - (len(names) - 1) / 2) * most / max(len(names) / 6, 1)  # bars do not hide each other
            _lines(axis, [done[i] for i in of], [numbers[i] for i in of], _colour(line, len(names)), name, shift)
        labels(axis, "risk level alpha", label)
    axes[0].plot([0, most], [0, most], color=GREY, linestyle="--", label="promised", zorder=1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _lines(axis, same: list[Job], numbers: list[dict], colour, name: str, shift: float) -> None:
    """Draw one line per seed, all of one name and colour."""
    for seed in dict.fromkeys(job.given.get("seed") for job in same):
        points = sorted((job.report["alpha"], i) for i, job in enumerate(same) if job.given.get("seed") == seed)
        those = [numbers[i] for _, i in points]
        axis.errorbar([alpha + shift for alpha, _ in points], [n["value"] for n in those], yerr=bars(those),
                      color=colour, label=name if seed == same[0].given.get("seed") else None, **STYLE)


def _rows(done: list[Job], keys: list[str]) -> Figure:
    names = [job.named([*keys, "seed"] if "seed" in varied(done) else keys) or job.record.name for job in done]
    figure, axes = _figure(done, height=1.6 + 0.24 * len(done))
    at = list(range(len(done)))[::-1]  # the first job on top
    for axis, (label, numbers) in zip(axes, _panels(done), strict=True):
        axis.errorbar([n["value"] for n in numbers], at, xerr=bars(numbers), fmt="o", markersize=3.5, capsize=2,
                      color=_colour(0, 1))
        labels(axis, label, "", from_zero=False)
        axis.set(yticks=at, yticklabels=names if axis is axes[0] else [], xlim=(0, None))
        axis.tick_params(axis="y", labelsize=8)
    axes[0].axvline(done[0].report["alpha"], color=GREY, linestyle="--", linewidth=1)
    return figure


def _colour(line: int, lines: int):
    return colormaps["tab10" if lines <= 10 else "tab20"](line % 20)


def _figure(done: list[Job], height: float):
    figure = Figure(figsize=(12.5, height), layout="constrained")
    tables = ", ".join(sorted({f"{job.report['table']} ({job.report['n']['test']} test queries)" for job in done}))
    figure.suptitle(f"{tables}: {len(done)} jobs, 95 % intervals over test queries", fontsize=9.5)
    return figure, figure.subplots(1, 3)
