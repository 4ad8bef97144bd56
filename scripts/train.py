"""The main job: table, router, scores, calibration, report. `python scripts/train.py [key=value ...]`; with -m a sweep
over settings, whose numbers `python scripts/gather.py sweep=DIR` puts into one table."""

from dataclasses import replace

from omegaconf import DictConfig

from racer import cli, config, pipeline, show, sweep
from racer.config import Config


@cli.script("train", sweeps=True)
def main(cfg: DictConfig) -> None:
    cli.hush()
    if cli.in_sweep():
        sweep.do(cfg, cli.run_folder(), cli.overrides(), job, cli.job_number())
    else:
        job(replace(config.plain(cfg), run_dir=str(cli.run_folder())))


def job(settings: Config) -> None:
    evaluation = pipeline.run(settings)
    if evaluation is not None:
        show.report(evaluation.report, evaluation.figures)


if __name__ == "__main__":
    main()
