"""The main job on the real tables: every set variant that it offers, at one risk level.

    RACER_DATA=FOLDER python benchmarks/main_job.py [tuned=true]

Writes `docs/main_job.md`. The first run embeds every query (about a quarter of an hour on two cores), later ones reuse
the cache. `tuned=true` adds the encoder fine-tuned on RouterDC for three epochs (most of an hour on two cores).
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir

from racer import cli, config, pipeline, stages
from racer.config import SetsConfig

ROOT = Path(__file__).parents[1]
FROZEN = {"routerdc": [], "routerbench": ["encoder.truncation_side=left"], "mmlupro": []}
TUNED = {"routerdc": ["encoder.freeze=false", "train.epochs=3", "train.batch_size=32"]}
VARIANTS = {"multilabel": [("gap", "free"), ("probability", "learned"), ("gap", "learned"),
                           ("probability", "one_minus_max")],
            "softmax": [("probability", "one_minus_max"), ("gap", "one_minus_max")]}
COLUMNS = ("head", "family", "null", "misrouting", "kept promise shows", "models asked", "abstained",
           "a right model asked", "USD per 1000", "top-1 right")


def main() -> None:
    config.register()
    parts = [section(name, extra) for name, extra in FROZEN.items()]
    if "tuned=true" in sys.argv[1:]:
        parts += [section(name, extra, heads=("multilabel",)) for name, extra in TUNED.items()]
    command = " ".join(["python benchmarks/main_job.py", *sys.argv[1:]])
    head = ["# The main job on real tables", "", f"Made by `{command}` with `$RACER_DATA` set; one split, seed 0, "
            "misrouting risk <= 0.1 by pac with confidence 0.9, 95 % intervals.", ""]
    (ROOT / "docs" / "main_job.md").write_text("\n".join([*head, *parts]))


def section(name: str, extra: list[str], heads: tuple[str, ...] = tuple(VARIANTS)) -> str:
    """Return the Markdown table of one data set."""
    overrides = [f"data={name}", "tracking.wandb=off", *extra]
    rows, lines = [], []
    for head in heads:
        run = ROOT / "outputs" / "main_job" / "-".join([name, head, *extra])
        started = time.perf_counter()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            settings = config.plain(compose("train", overrides=[*overrides, f"head={head}"]))
        pipeline.run(replace(settings, run_dir=str(run)))
        seconds = time.perf_counter() - started
        for family, null in VARIANTS[head]:
            stages.calibrate_run(run, SetsConfig(family, null), settings.risk)
            report = stages.evaluate_run(run).report
            rows.append([head, family, null, *numbers(report)])
        lines.append(f"{head}: {seconds:.0f} s for the whole job with what the cache held.")
    command = f"`python scripts/train.py {' '.join([f'data={name}', *extra])} head=... sets.family=... sets.null=...`"
    return "\n".join([f"## {report['table']}", "", f"{command}; {counts(report)}", "", *lines, "", *markdown(rows), "",
                      *baselines(report), ""])


def numbers(report: dict) -> list[str]:
    expected, usd = report["expected"], report["cost"]["usd"]
    return [shown(report["risk"]["misrouting"]), f"{expected['low']:.3f} to {expected['high']:.3f}",
            shown(report["set_size"], 2), shown(report["abstention"]), shown(report["set_accuracy"]),
            "-" if usd is None else f"{1000 * usd['value']:.3f}", shown(report["top1_accuracy"])]


def baselines(report: dict) -> list[str]:
    rows = [[name.replace("_", " "), shown(b["accuracy"]), f"{b['size']['value']:.2f}",
             "-" if b["cost"] is None else f"{1000 * b['cost']['value']:.3f}"]
            for name, b in report["baselines"].items()]
    return markdown(rows, ("baseline", "a right model asked", "models asked", "USD per 1000"))


def counts(report: dict) -> str:
    return ", ".join(f"{n} {split}" for split, n in report["n"].items() if n) + " queries."


def shown(measured: dict, digits: int = 3) -> str:
    return f"{measured['value']:.{digits}f} [{measured['low']:.{digits}f}, {measured['high']:.{digits}f}]"


def markdown(rows: list[list[str]], columns: tuple[str, ...] = COLUMNS) -> list[str]:
    return [" | ".join(["", *row, ""]).strip() for row in (columns, ["---"] * len(columns), *rows)]


if __name__ == "__main__":
    with cli.clear_errors():
        main()
