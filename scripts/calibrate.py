"""Calibrate a run again, or anyone's scores: `python scripts/calibrate.py run=DIR risk.alpha=0.05`,
`python scripts/calibrate.py scores=FILE.npz run_dir=DIR`. Seconds, without torch."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from racer import cli, config, show, stages
from racer.errors import ConfigError


@cli.script("stage")
def main(cfg: DictConfig) -> None:
    if (cfg.run is None) == (cfg.scores is None):
        raise ConfigError("give either run=DIR, the folder of a run, or scores=FILE.npz run_dir=DIR")
    artifact, path = _run(cfg) if cfg.scores is None else _foreign(cfg)
    show.calibration(artifact, path / "calibration.json")


def _run(cfg: DictConfig):
    run = Path(cfg.run)
    settings, _ = cli.stage_settings(cfg, run)
    with show.removals(stages.stale(run), run):
        artifact = stages.calibrate_run(run, settings.sets, settings.risk)
    stages.save_config(run, **asdict(settings))
    return artifact, run


def _foreign(cfg: DictConfig):
    settings = config.plain(cfg)
    run = Path(settings.run_dir)
    with show.removals(stages.stale(run), run):
        artifact = stages.calibrate_run(run, settings.sets, settings.risk, Path(settings.scores))
    stages.save_config(run, run_dir=settings.run_dir, sets=asdict(settings.sets), risk=asdict(settings.risk))
    return artifact, run


if __name__ == "__main__":
    main()
