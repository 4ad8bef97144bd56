"""Add a model to a finished run, from some hundred outcomes: `python scripts/add_model.py run=DIR data.path=TABLE
run_dir=NEW`. TABLE has the run's queries and models, and one more model; NEW is a run like any other."""

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from racer import add_model, cli, config, show
from racer.config import AddModelConfig, Config

MAY_CHANGE = ("data", "tracking", "cache_dir")


@cli.script("add_model")
def main(cfg: DictConfig) -> None:
    cli.hush()
    own = config.plain(cfg)
    evaluation = add_model.run(_settings(cfg, own), Path(own.run), own.model, own.outcomes)
    show.report(evaluation.report, evaluation.figures)


def _settings(cfg: DictConfig, own: AddModelConfig) -> Config:
    """Return the run's settings with what was given now: all models of the table, and a wandb run of its own."""
    settings, _ = cli.stage_settings(cfg, Path(own.run), MAY_CHANGE)
    return replace(settings, run_dir=own.run_dir, data=replace(settings.data, models=own.data.models),
                   tracking=replace(settings.tracking, id=own.tracking.id, name=own.tracking.name))


if __name__ == "__main__":
    main()
