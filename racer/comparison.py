"""The pictures of sweeps and experiments: risk, set size and cost or abstention, against alpha where that varies."""

from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure

from racer.figures import GREY, STYLE, bars, labels
from racer.findings import Finding
from racer.gather import Job, varied

MEASURED = (("risk", "risk on test rows"), ("size", "models asked"), ("abstention", "share abstained"))
LINES = ("-", "--", "-.", ":")


def draw(found: list[Job], path: Path) -> Path | None:
    """Write the figure of the jobs that are done, against alpha or, if all share one, a row a job; None if none is."""
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
        axis.set(yticks=at, yticklabels=[_short(name) for name in names] if axis is axes[0] else [], xlim=(0, None))
        axis.tick_params(axis="y", labelsize=8)
    axes[0].axvline(done[0].report["alpha"], color=GREY, linestyle="--", linewidth=1)
    return figure


def _short(name: str, most: int = 48) -> str:
    """Return a name that leaves room for its numbers: of a long one the ends, which tell it apart."""
    return name if len(name) <= most else f"{name[:most // 2 - 2]} ... {name[-most // 2 + 3:]} ({name.count(',') + 1})"


def _colour(line: int, lines: int):
    return colormaps["tab10" if lines <= 10 else "tab20"](line % 20)


def _figure(done: list[Job], height: float):
    figure = Figure(figsize=(12.5, height), layout="constrained")
    tables = ", ".join(sorted({f"{job.report['table']} ({job.report['n']['test']} test queries)" for job in done}))
    figure.suptitle(f"{tables}: {len(done)} jobs, 95 % intervals over test queries", fontsize=9.5)
    return figure, figure.subplots(1, 3)


def draw_findings(found: list[Finding], path: Path) -> Path:
    """Write the figure of an experiment: for each ground, risk, size and abstention; a colour a variant.

    Against alpha; against the number of calibration queries where that varies within a ground. What else varies has
    lines of its own kind.
    """
    grounds = list(dict.fromkeys(f.ground for f in found))
    sizes = max(len({f.calibration for f in found if f.ground == ground}) for ground in grounds)
    x, label = (("calibration", "calibration queries") if sizes > 1 else ("alpha", "risk level alpha"))
    figure = Figure(figsize=(12.5, 1 + 3.1 * len(grounds)), layout="constrained")
    axes = figure.subplots(len(grounds), 3, squeeze=False)
    for row, ground in zip(axes, grounds, strict=True):
        _ground(row, [f for f in found if f.ground == ground], x)
        row[0].set_title(ground, fontsize=9.5, loc="left")
        for axis, (_, name) in zip(row, MEASURED, strict=True):
            axis.set_xscale("log" if x == "calibration" else "linear")
            labels(axis, label, name)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False,
                  fontsize=8)
    figure.savefig(path, dpi=110)
    return path


def _ground(row, found: list[Finding], x: str) -> None:
    lines, variants, kinds = {}, [], []
    for f in found:
        if f.numbers["risk"]:
            lines.setdefault((f.variant, f"{f.method}, alpha {f.alpha:g}" if x != "alpha" else f.method), []).append(f)
    for variant, kind in lines:
        variants += [variant] * (variant not in variants)
        kinds += [kind] * (kind not in kinds)
    for (variant, kind), points in lines.items():
        look = STYLE | {"color": _colour(variants.index(variant), len(variants)), "label": f"{variant}, {kind}",
                        "linestyle": LINES[kinds.index(kind) % len(LINES)], "fmt": "o"}
        for axis, (measure, _) in zip(row, MEASURED, strict=True):
            numbers = [f.numbers[measure] for f in points]
            axis.errorbar([getattr(f, x) for f in points], [m["value"] for m in numbers], yerr=bars(numbers), **look)
    alphas = sorted({f.alpha for f in found})
    if x == "alpha":
        row[0].plot([0, alphas[-1]], [0, alphas[-1]], color=GREY, linestyle=":", label="promised", zorder=1)
    for alpha in alphas if x != "alpha" else []:
        row[0].axhline(alpha, color=GREY, linestyle=":", linewidth=1)
