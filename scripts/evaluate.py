"""Judge a run on its test split: `python scripts/evaluate.py run=DIR`. Calibrates again first if `sets.*` or `risk.*`
are given. Seconds, without torch."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from racer import cli, show, stages
from racer.errors import ConfigError


@cli.script("stage")
def main(cfg: DictConfig) -> None:
    if cfg.run is None or cfg.scores is not None:
        raise ConfigError("run=DIR is missing: give the folder of a calibrated run, and no scores=")
    run = Path(cfg.run)
    settings, changed = cli.stage_settings(cfg, run)
    with show.removals(stages.stale(run), run):
        if changed:
            stages.calibrate_run(run, settings.sets, settings.risk)
            stages.save_config(run, **asdict(settings))
        evaluation = stages.evaluate_run(run)
    show.report(evaluation.report, evaluation.figures)


if __name__ == "__main__":
    main()
