"""Ask every model of a pool every query, grade the answers and write an outcome table:
`python scripts/collect.py pool=FILE.yaml queries=FILE.jsonl out=FOLDER budget_usd=1`."""

from omegaconf import DictConfig

from racer import cli, config
from racer.collect import run


@cli.script("collect")
def main(cfg: DictConfig) -> None:
    if not run.collect(config.plain(cfg)):
        raise SystemExit(2)


if __name__ == "__main__":
    main()
