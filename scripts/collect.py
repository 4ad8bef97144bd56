"""Ask every model of a pool every query, grade the answers and write an outcome table:
`python scripts/collect.py pool=FILE.yaml queries=FILE.jsonl out=FOLDER budget_usd=1`."""

import hydra
from omegaconf import DictConfig

from racer import cli, config
from racer.collect import run

config.register()


@cli.clear_errors()
@hydra.main(version_base="1.3", config_path="../conf", config_name="collect")
def main(cfg: DictConfig) -> None:
    with cli.clear_errors():
        cli.refuse_sweep()
        if not run.collect(config.plain(cfg)):
            raise SystemExit(2)


if __name__ == "__main__":
    main()
