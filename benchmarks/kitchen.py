"""How near the simulated kitchen is to recorded outcomes of real models.

    RACER_DATA=FOLDER python benchmarks/kitchen.py

Writes `docs/kitchen.md`: the same statistics for the kitchen and for the rows of the real tables outside training.
"""

from pathlib import Path

import numpy as np

from racer import cli, data, kitchen
from racer.config import DataConfig
from racer.table import OutcomeTable

ROOT = Path(__file__).parents[1]
REAL = {"MMLU-Pro": ("mmlupro", None), "RouterDC, 4 tasks": ("routerdc", None), "RouterDC MMLU": ("routerdc", ["mmlu"]),
        "RouterDC CMMLU": ("routerdc", ["cmmlu"]), "RouterDC GSM8K": ("routerdc", ["gsm8k"])}


def main() -> None:
    columns = {"kitchen": statistics(kitchen.generate(20_000, 0))}
    for name, (folder, tasks) in REAL.items():
        table = data.load(DataConfig(path=f"$RACER_DATA/{folder}", tasks=tasks, near_duplicates="off"))
        columns[name] = statistics(table.take(np.isin(table.split, ("calibration", "test"))))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[key, *(column[key] for column in columns.values())] for key in columns["kitchen"]]
    text = ["# The kitchen beside real tables", "", "The embedded pool is simulated. Made by `python "
            "benchmarks/kitchen.py` with `$RACER_DATA` set: 20000 kitchen queries, seed 0, and the calibration and "
            "test rows of the real tables.", "", *("| " + " | ".join(line) + " |" for line in lines), ""]
    (ROOT / "docs" / "kitchen.md").write_text("\n".join(text), encoding="utf-8")


def statistics(table: OutcomeTable) -> dict[str, str]:
    right = table.outcomes()  # (n, M)
    accuracy = right.mean(axis=0)
    phi = np.corrcoef((~right).T)[np.triu_indices(right.shape[1], 1)]  # of the errors of each pair of models
    gain = best_per_task(table, right) - accuracy.max()
    return {
        "queries, models": f"{right.shape[0]}, {right.shape[1]}",
        "accuracy, lowest to highest": f"{accuracy.min():.3f} to {accuracy.max():.3f}",
        "nobody right": f"{1 - right.any(axis=1).mean():.3f}", "everybody right": f"{right.all(axis=1).mean():.3f}",
        "correlation of errors, mean [least, most]": f"{phi.mean():.2f} [{phi.min():.2f}, {phi.max():.2f}]",
        "best per task over best single": f"{gain:+.3f}", "dearest over cheapest model": prices(table),
        "two wrong answers agree": agreement(table, right),
    }


def best_per_task(table: OutcomeTable, right: np.ndarray) -> float:
    tasks = [table.task == task for task in np.unique(table.task.astype(str))]
    return sum(right[rows].mean(axis=0).max() * rows.mean() for rows in tasks)


def prices(table: OutcomeTable) -> str:
    if table.cost is None:
        return "-"
    mean = table.cost.mean(axis=0)
    return f"{mean.max() / mean.min():.0f} x"


def agreement(table: OutcomeTable, right: np.ndarray) -> str:
    """How often two wrong models that answer give the same answer, over all pairs."""
    if table.answers is None:
        return "-"
    wrong = ~right & np.not_equal(table.answers, None)
    same = both = 0
    for a, b in zip(*np.triu_indices(right.shape[1], 1), strict=True):
        pair = wrong[:, a] & wrong[:, b]
        both += pair.sum()
        same += (table.answers[pair, a] == table.answers[pair, b]).sum()
    return f"{same / both:.2f}"


if __name__ == "__main__":
    with cli.clear_errors():
        main()
