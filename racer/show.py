"""What a run says on the terminal: tables a person can read."""

import os
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from racer.artifact import Artifact
from racer.decision import Decision
from racer.table import OOD, SPLITS, OutcomeTable

WIDTH = 110  # where the output is no terminal and COLUMNS does not say


def console() -> Console:
    plain = Console()
    return plain if plain.is_terminal or "COLUMNS" in os.environ else Console(width=WIDTH)


def table(outcomes: OutcomeTable, right_at: float) -> None:
    """Print what a table holds: queries per split, models, how often they are right, and the notes of its reader."""
    out = console()
    right = outcomes.outcomes(right_at)
    kind = " [bold](simulated: made by this project, no real model was asked)[/bold]" if outcomes.simulated else ""
    counts = ", ".join(f"{n} {s}" for s in (*SPLITS, OOD) if (n := len(outcomes.rows(s))))
    out.print(f"[bold]{escape(outcomes.name)}[/bold]{kind}: {len(outcomes.ids)} queries ({counts}), "
              f"{len(np.unique(outcomes.task.astype(str)))} tasks, {len(outcomes.models)} models, "
              f"nobody right on {_percent(1 - right.any(axis=1).mean())}", highlight=False)
    for note in outcomes.notes:
        out.print(f"  note: {note}", highlight=False, markup=False)


def report(result: dict, figures: list[Path]) -> None:
    """Print the report on the test split, and where its figures are."""
    out = console()
    out.print(_promise(result), highlight=False)
    out.print(_policies(result))
    out.print(_quality(result))
    if result["tasks"] or result["ood"]:
        out.print(_groups(result))
    for path in figures:
        out.print(f"figure: {path}", highlight=False, soft_wrap=True)


def calibration(artifact: Artifact, path: Path) -> None:
    """Print the cut and the promise it keeps."""
    c, out = artifact.calibration, console()
    confidence = "on average" if c.delta is None else f"with confidence {1 - c.delta:g}"
    out.print(f"{artifact.rule.family} sets, null {artifact.rule.null}: {artifact.loss} risk <= {c.alpha:g} "
              f"{confidence} ({c.method})", highlight=False)
    out.print(f"cut {c.cut:.6g}: {c.unserved} of {c.n} calibration queries unserved, {c.allowed} allowed; "
              f"bound {c.bound:.4f}", highlight=False)
    out.print(f"written: {path}", highlight=False, soft_wrap=True)


def decisions(texts: list[str], found: list[Decision], artifact: Artifact, trained_on: str) -> None:
    """Print the set of each query, with every model's probability."""
    out, free = console(), artifact.rule.null == "free"
    out.print(f"router trained on {trained_on}", highlight=False, markup=False)
    for text, decision in zip(texts, found, strict=True):
        out.print(f"[bold]{_short(text)}[/bold]", highlight=False)
        names = ", ".join(decision.members) or "nobody (abstain)"
        cost = "" if decision.expected_cost is None else f", about {decision.expected_cost:.6f} USD"
        out.print(f"  ask: {names}{cost}", highlight=False, markup=False)
        grid = Table("model", "probability of being right", "in the set", box=None, padding=(0, 2))
        for name, p in zip(artifact.models, decision.probabilities, strict=False):
            grid.add_row(escape(name), f"{p:.3f}", "yes" if name in decision.members else "")
        grid.add_row("none of them", "-" if free else f"{decision.probabilities[-1]:.3f}",
                     "always" if free else "yes" if decision.null_admitted else "")
        out.print(grid)


def _promise(result: dict) -> str:
    confidence = f" with confidence {1 - result['delta']:g}" if result["delta"] is not None else " on average"
    observed, expected = result["risk"][result["loss"]], result["expected"]
    return (f"\n[bold]{escape(result['table'])}[/bold]: {result['family']} sets, null {result['null']}, "
            f"{result['method']} on {result['n']['calibration']} calibration queries\n"
            f"promise: {result['loss']} risk <= {result['alpha']:g}{confidence}; observed on "
            f"{result['n']['test']} test queries: {_with_interval(observed)}\n"
            f"(a kept promise shows {expected['low']:.3f} to {expected['high']:.3f} in 95 % of splits, and more than "
            f"{result['alpha']:g} in {_percent(expected['above_alpha'])} of them)")


def _policies(result: dict) -> Table:
    grid = Table("policy", "a right model is asked", "models asked", "USD per 1000 queries",
                 title="who is asked, on test")
    cost = result["cost"]["usd"]
    grid.add_row("RACER", _with_interval(result["set_accuracy"]), _with_interval(result["set_size"], 2),
                 _thousand(cost), style="bold")
    for name, baseline in result["baselines"].items():
        if baseline:
            grid.add_row(name.replace("_", " "), _with_interval(baseline["accuracy"]),
                         _with_interval(baseline["size"], 2), _thousand(baseline["cost"]))
    return grid


def _quality(result: dict) -> Table:
    grid = Table("quantity", "value [95 % interval]", title="the sets, on test")
    rows = {"misrouting": result["risk"]["misrouting"], "miss": result["risk"]["miss"],
            "miss, where some model is right": result["risk"]["miss_given_solvable"],
            "nobody is right": result["unsolvable"], "abstained (no model asked)": result["abstention"],
            "null admitted": result["null_admitted"], "top-scored model is right": result["top1_accuracy"],
            "models asked, where not abstained": result["set_size_answered"],
            "share of the cost of asking all": result["cost"]["share_of_all"]}
    for name, measured in rows.items():
        grid.add_row(name, _with_interval(measured))
    return grid


def _groups(result: dict) -> Table:
    grid = Table("task", "n", "misrouted", "missed", "asked", "abstained", "unsolvable", "top-1", box=box.SIMPLE_HEAD,
                 title="by task (the promise is for the mixture of tasks, not for each; none out of distribution)")
    grid.columns[0].overflow = "fold"  # on a narrow terminal, rather two lines than half a name
    for prefix, groups in (("", result["tasks"]), ("ood: ", result["ood"])):
        for name, g in groups.items():
            numbers = [g["risk"]["misrouting"], g["risk"]["miss"], g["set_size"], g["abstention"], g["unsolvable"],
                       g["top1_accuracy"]]
            grid.add_row(escape(prefix + name), str(g["queries"]), *(f"{x['value']:.3f}" for x in numbers))
    return grid


def _with_interval(measured: dict | None, digits: int = 3) -> str:
    if measured is None:
        return "-"
    return f"{measured['value']:.{digits}f} \\[{measured['low']:.{digits}f}, {measured['high']:.{digits}f}]"


def _thousand(cost: dict | None) -> str:
    return "-" if cost is None else _with_interval({k: 1000 * v for k, v in cost.items()}, 4)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _short(text: str, width: int = 100) -> str:
    line = " ".join(text.split())
    return escape(line if len(line) <= width else line[:width - 1] + "…")
