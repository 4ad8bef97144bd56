"""What a run says on the terminal: tables a person can read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


def added(numbers: dict) -> None:
    """Print how well an added model is known, beside knowing nothing but how often it is right."""
    console().print("added {added}, from {train_outcomes} train outcomes: log loss {validation_loss:.4f} on "
                    "{validation_outcomes} validation rows (by its rate alone {rate_loss:.4f})".format(**numbers),
                    highlight=False, markup=False)


def report(result: dict, figures: list[Path]) -> None:
    """Print the report on the test split, and where its figures are."""
    out = console()
    out.print(_promise(result), highlight=False)
    out.print(_policies(result))
    out.print(_quality(result))
    for line in _beside(result):
        out.print(line, highlight=False)
    if result["tasks"] or result["ood"]:
        out.print(_groups(result))
    for path in figures:
        out.print(f"figure: {path}", highlight=False, soft_wrap=True)


@contextmanager
def removals(stale: list[Path], run: Path) -> Iterator[None]:
    """Print which of the `stale` files are no more afterwards, also where it fails, and how they are made again."""
    try:
        yield
    finally:
        if gone := [str(path) for path in stale if not path.exists()]:
            console().print(f"removed, of the calibration before: {', '.join(gone)}\nonce calibrated, the report and "
                            f"its figures are made again by: python scripts/evaluate.py run={run}", highlight=False,
                            markup=False, soft_wrap=True)


def calibration(artifact: Artifact, path: Path) -> None:
    """Print the cut and the promise it keeps."""
    c, out = artifact.calibration, console()
    for loss, alpha in artifact.risk.promises:
        out.print(f"{artifact.rule.family} sets, null {artifact.rule.null}: {loss} risk <= {alpha:g} "
                  f"{_confidence(c.method, c.delta)} ({c.method})", highlight=False)
    for line in artifact.lines():
        out.print(line, highlight=False, markup=False)
    out.print(f"written: {path}", highlight=False, soft_wrap=True)


def certificate(result: dict, run: Path) -> None:
    """Print whether the answers are certified, by which policy, and what it gives on the test split."""
    out, sure = console(), f"with confidence {result['confidence']:g}"
    asked = ", ".join(f"{_words(name)} <= {level:g}" for name, level in result["promises"].items())
    out.print(f"promise: {asked}, {sure}, on {result['n']['calibration']} calibration queries; "
              f"{len(result['tested'])} of {result['policies']} policies tested", highlight=False)
    if result["status"] == "certified":
        out.print(f"certified: {result['policy']['text']}", highlight=False, markup=False)
        out.print(_answers_table(result))
    else:
        for line in _nothing_certified(result):
            out.print(line, highlight=False)
    for name in ("certificate.json", "answers.parquet"):
        out.print(f"written: {run / name}", highlight=False, soft_wrap=True)


def _answers_table(result: dict) -> Table:
    grid = Table("quantity", "promised", "on test, value [95 % interval]", "above by chance, at most",
                 title=f"the answers, on {result['n']['test']} test queries")
    for name, measured in result["test"].items():
        level, chance = result["promises"].get(name), result["above_by_chance"].get(name)
        value = _thousand(measured) if name == "usd" else _with_interval(measured)
        grid.add_row("USD per 1000 queries" if name == "usd" else _words(name), "" if level is None else f"{level:g}",
                     value, "" if chance is None else _percent(chance))
    if best := result["best_single"]:
        grid.add_row(f"{escape(best['model'])} alone: accuracy", "", _with_interval(best["accuracy"]), "")
        grid.add_row(f"{escape(best['model'])} alone: USD per 1000 queries", "", _thousand(best["usd"]), "")
    return grid


def _nothing_certified(result: dict) -> list[str]:
    """What is said where no policy is certified."""
    lines = ["certified: none; no query is answered"]
    if result["reachable"]:
        levels = ", ".join(f"{_words(name)} <= {level:g}" for name, level in result["reachable"].items())
        lines.append(f"these calibration queries could certify, all at once: {levels}")
    else:
        lines.append("these calibration queries could certify nothing of the kind, at any level")
    if len(result["promises"]) > 1:
        lines += [f"alone: {_words(name)} <= {level:g}" if level is not None else f"alone: {_words(name)} at no level"
                  for name, level in result["reachable_alone"].items()]
    return [*lines, "(found by these queries: to promise it with the same confidence takes new ones)"]


def _words(name: str) -> str:
    return name.replace("_", " ")


def plan(result: dict) -> None:
    """Print what can be promised on a table."""
    out = console()
    out.print(f"[bold]{escape(result['table'])}[/bold]: {result['calibration']} calibration queries; outcomes below "
              f"are those of {result['queries']} train and validation queries", highlight=False)
    grid = Table("method", "loss", "calibration queries needed", "enough", "least alpha of those at hand",
                 title=f"risk <= {result['alpha']:g}, delta {result['delta']:g}")
    for row in result["methods"]:
        grid.add_row(row["method"], row["loss"], str(row["needed"]), "yes" if row["feasible"] else "no",
                     f"{row['least_alpha']:.4f}")
    out.print(grid)
    out.print(_planned_tasks(result))
    grid = Table("policy", "right", "USD per 1000 queries", title="context, on validation (chosen on train)")
    for name, policy in result["context"].items():
        grid.add_row(escape(name), _with_interval(policy["accuracy"]), _thousand(policy["cost"]))
    if result["context"]:
        out.print(grid)


def _planned_tasks(result: dict) -> Table:
    grid = Table("task", "nobody right", f"least abstention for {result['answer_error']:g} wrong among answers",
                 "miss where solvable, null free", "calibration", "own cut (group)", box=box.SIMPLE_HEAD)
    grid.columns[0].overflow = "fold"
    for name, row in {"all": result, **result["tasks"]}.items():
        own = "" if name == "all" else "yes" if row["own_cut"] else f"no, needs {row['needed']}"
        most = row["miss_given_solvable"]
        grid.add_row(escape(name), _with_interval(row["unsolvable"]), _with_interval(row["least_abstention"]),
                     "-" if most is None else f"at most {most:.3f}", str(row["calibration"]), own)
    return grid


def decisions(texts: list[str], found: list[Decision], artifact: Artifact, trained_on: str) -> None:
    """Print the set of each query, with every model's probability."""
    out, free = console(), artifact.rule.null == "free"
    out.print(f"router trained on {trained_on}", highlight=False, markup=False)
    for text, decision in zip(texts, found, strict=True):
        out.print(f"[bold]{_short(text)}[/bold]", highlight=False)
        names = ", ".join(decision.members) or "nobody (abstain)"
        cost = "" if decision.expected_cost is None else f", about {decision.expected_cost:.6f} USD"
        uncertified = "" if decision.certified else " (uncertified: nothing is promised)"
        out.print(f"  ask: {names}{cost}{uncertified}", highlight=False, markup=False)
        if not decision.certified and artifact.calibration.only:
            out.print(f"  {artifact.calibration.only}", highlight=False, markup=False)
        grid = Table("model", "probability of being right", "in the set", box=None, padding=(0, 2))
        for name, p in zip(artifact.models, decision.probabilities, strict=False):
            grid.add_row(escape(name), f"{p:.3f}", "yes" if name in decision.members else "")
        grid.add_row("none of them", "-" if free else f"{decision.probabilities[-1]:.3f}",
                     "always" if free else "yes" if decision.null_admitted else "")
        out.print(grid)


def _confidence(method: str, delta: float | None) -> str:
    sense = {"online": "in the long run of any stream", "weighted": "on average over new traffic",
             "group": "in each group with a cut of its own"}.get(method)
    sure = "on average" if delta is None else f"with confidence {1 - delta:g}"
    return sense if sense and delta is None and method != "group" else f"{sense} {sure}" if sense else sure


def _promise(result: dict) -> str:
    observed, expected = result["risk"][result["loss"]], result["expected"]
    band = "" if expected is None else (
        f"\n(a kept promise shows {expected['low']:.3f} to {expected['high']:.3f} in 95 % of splits, and more than "
        f"{result['alpha']:g} in {_percent(expected['above_alpha'])} of them)")
    sure = _confidence(result["method"], result["delta"])
    return (f"\n[bold]{escape(result['table'])}[/bold]: {result['family']} sets, null {result['null']}, "
            f"{result['method']} on {result['n']['calibration']} calibration queries\n"
            f"promise: {result['loss']} risk <= {result['alpha']:g} {sure}; observed on "
            f"{result['n']['test']} test queries: {_with_interval(observed)}{band}")


def _beside(result: dict) -> list[str]:
    """What the kind of calibration adds, a line each."""
    lines = [f"promise: {p['loss']} <= {p['alpha']:g}; observed {_with_interval(p['observed'])}"
             for p in result.get("promises", [])]
    for name, g in result.get("groups", {}).items():
        expected = "own cut" if g["own_cut"] else "pooled cut, no promise for this group"
        if g["expected"]:
            expected = "a kept promise shows {low:.3f} to {high:.3f} in 95 % of splits".format(**g["expected"])
        lines.append(f"{escape(name)}: {result['loss']} {_with_interval(g['risk'])} on {g['queries']} queries "
                     f"({expected})")
    if stream := result.get("stream"):
        lines.append(f"as a stream of {stream['queries']} queries with a moving cut: {result['loss']} "
                     f"{stream['risk']:.3f}, {'' if stream['explore'] == 1 else 'expected to be '}at most "
                     f"{stream['bound']:.3f} whatever the stream"
                     + (f" ({stream['lost']:.3f} of it lost to the hard limits)" if stream["lost"] else ""))
    if traffic := result.get("traffic"):
        fresh = f"; on ood rows that no weight was fitted on {_with_interval(traffic['ood'])}" if traffic["ood"] else ""
        lines.append(f"on new traffic: {result['loss']} {traffic['weighted_test_risk']:.3f} by weighted test rows "
                     f"(effective calibration size {traffic['n_eff']:.0f}){fresh}")
    return lines


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
            "abstained, where some model is right": result["risk"]["over_abstention"],
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
