"""Judge a run on its test split: `python scripts/evaluate.py run=DIR`. Calibrates again first if `sets.*` or `risk.*`
are given. Seconds, without torch."""

from dataclasses import asdict
from pathlib import Path

import hydra
from omegaconf import DictConfig

from racer import cli, config, show, stages
from racer.errors import ConfigError

config.register()


@cli.clear_errors()
@hydra.main(version_base="1.3", config_path="../conf", config_name="stage")
def main(cfg: DictConfig) -> None:
    with cli.clear_errors():
        cli.refuse_sweep()
        if cfg.run is None or cfg.scores is not None:
            raise ConfigError("run=DIR is missing: give the folder of a calibrated run, and no scores=")
        run = Path(cfg.run)
        settings, changed = cli.stage_settings(cfg, run)
        if changed:
            stages.calibrate_run(run, settings.sets, settings.risk)
            stages.save_config(run, **asdict(settings))
        evaluation = stages.evaluate_run(run)
        show.report(evaluation.report, evaluation.figures)


if __name__ == "__main__":
    main()
