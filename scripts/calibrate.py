"""Calibrate a run again, or anyone's scores: `python scripts/calibrate.py run=DIR risk.alpha=0.05`,
`python scripts/calibrate.py scores=FILE.npz run_dir=DIR`. Seconds, without torch."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from racer import cli, config, show, stages
from racer.artifact import Artifact
from racer.errors import ConfigError

config.register()


@cli.clear_errors()
@hydra.main(version_base="1.3", config_path="../conf", config_name="stage")
def main(cfg: DictConfig) -> Artifact:
    if (cfg.run is None) == (cfg.scores is None):
        raise ConfigError("give either run=DIR, the folder of a run, or scores=FILE.npz run_dir=DIR")
    if cfg.run is not None:
        run, foreign = Path(cfg.run), None
        settings, _ = cli.stage_settings(cfg, run)
    else:
        run, foreign, settings = Path(cfg.run_dir), Path(cfg.scores), cli.as_config(cfg)
    artifact = stages.calibrate_run(run, settings.sets, settings.risk, foreign)
    stages.save_config(run, settings)
    show.calibration(artifact, run / "calibration.json")
    return artifact


if __name__ == "__main__":
    main()
