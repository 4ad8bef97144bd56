"""The main job on the real tables: every set variant that it offers, at one risk level.

    RACER_DATA=FOLDER python benchmarks/main_job.py [tuned=true]

Writes `docs/main_job.md`. The first run embeds every query (about a quarter of an hour on two cores), later ones reuse
the cache. `tuned=true` adds the encoder fine-tuned on RouterDC for three epochs (most of an hour on two cores).
"""

import sys
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir

from racer import cli, config, pipeline, stages
from racer.config import SetsConfig

ROOT = Path(__file__).parents[1]
FROZEN = {"routerdc": [], "routerbench": ["encoder.truncation_side=left"], "mmlupro": []}
TUNED = {"routerdc": ["encoder.freeze=false", "train.epochs=3", "train.batch_size=32"]}
VARIANTS = {  # head: (family, null, cost_power)
    "latent": [("coverage", "free", 0.0), ("coverage", "free", 0.5), ("coverage", "free", 1.0),
               ("coverage", "joint", 0.5), ("gap", "free", 0.0)],
    "multilabel": [("coverage", "free", 0.5), ("gap", "free", 0.0), ("probability", "learned", 0.0),
                   ("gap", "learned", 0.0), ("probability", "one_minus_max", 0.0)],
    "softmax": [("probability", "one_minus_max", 0.0), ("gap", "one_minus_max", 0.0)]}
COLUMNS = ("head", "family", "null", "cost power", "misrouting", "models asked", "abstained", "a right model asked",
           "USD per 1000", "top-1 right")


def main() -> None:
    config.register()
    parts = [section(name, extra) for name, extra in FROZEN.items()]
    if "tuned=true" in sys.argv[1:]:
        parts += [section(name, extra, heads=("latent",)) for name, extra in TUNED.items()]
    command = " ".join(["python benchmarks/main_job.py", *sys.argv[1:]])
    head = ["# The main job on real tables", "", f"Made by `{command}` with `$RACER_DATA` set; one split, seed 0, "
            "misrouting risk <= 0.1 by pac with confidence 0.9, 95 % intervals. "
            "The baseline top2 is that of the last head of each table.", ""]
    (ROOT / "docs" / "main_job.md").write_text("\n".join([*head, *parts]))


def section(name: str, extra: list[str], heads: tuple[str, ...] = tuple(VARIANTS)) -> str:
    """Return the Markdown table of one data set."""
    overrides = [f"data={name}", "tracking.wandb=off", *extra]
    rows = []
    for head in heads:
        run = ROOT / "outputs" / "main_job" / "-".join([name, head, *extra])
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            settings = config.plain(compose("train", overrides=[*overrides, f"head={head}"]))
        pipeline.run(replace(settings, run_dir=str(run)))
        for family, null, power in VARIANTS[head]:
            stages.calibrate_run(run, SetsConfig(family, null, cost_power=power), settings.risk)
            report = stages.evaluate_run(run).report
            rows.append([head, family, null, f"{power:g}" if family == "coverage" else "-", *numbers(report)])
    tuned = ", encoder fine-tuned" if extra == TUNED.get(name) else ""
    command = " ".join(["python scripts/train.py", f"data={name}", *extra, "head=... sets.family=... sets.null=..."])
    band = "a kept promise shows a misrouting of {low:.3f} to {high:.3f} in 95 % of splits".format(**report["expected"])
    return "\n".join([f"## {report['table']}{tuned}", "", f"`{command}`; {counts(report)}; {band}.", "",
                      *markdown(rows), "", *baselines(report), ""])


def numbers(report: dict) -> list[str]:
    return [shown(report["risk"]["misrouting"]), shown(report["set_size"], 2), shown(report["abstention"]),
            shown(report["set_accuracy"]), thousand(report["cost"]["usd"]), shown(report["top1_accuracy"])]


def baselines(report: dict) -> list[str]:
    rows = [[name.replace("_", " "), shown(b["accuracy"]), f"{b['size']['value']:.2f}", thousand(b["cost"])]
            for name, b in report["baselines"].items()]
    return markdown(rows, ("baseline", "a right model asked", "models asked", "USD per 1000"))


def counts(report: dict) -> str:
    return ", ".join(f"{n} {split}" for split, n in report["n"].items() if n) + " queries"


def shown(measured: dict, digits: int = 3) -> str:
    return f"{measured['value']:.{digits}f} [{measured['low']:.{digits}f}, {measured['high']:.{digits}f}]"


def thousand(cost: dict | None) -> str:
    return "-" if cost is None else shown({key: 1000 * value for key, value in cost.items()})


def markdown(rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> list[str]:
    return [" | ".join(["", *row, ""]).strip() for row in (columns, ["---"] * len(columns), *rows)]


if __name__ == "__main__":
    with cli.clear_errors():
        main()
