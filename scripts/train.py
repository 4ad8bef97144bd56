"""The main job: table, router, scores, calibration, report. `python scripts/train.py [key=value ...]`"""

from dataclasses import replace

import hydra
from omegaconf import DictConfig

from racer import cli, config, pipeline, show

config.register()


@cli.clear_errors()
@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(cfg: DictConfig) -> None:
    with cli.clear_errors():
        cli.hush()
        evaluation = pipeline.run(replace(config.plain(cfg), run_dir=str(cli.run_folder())))
        if evaluation is not None:
            show.report(evaluation.report, evaluation.figures)


if __name__ == "__main__":
    main()
