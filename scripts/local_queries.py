"""Write queries for the local pool, as scripts/collect.py reads them:
`python scripts/local_queries.py out=queries.jsonl [n=1000]`."""

from omegaconf import DictConfig

from racer import cli, config
from racer.local import queries


@cli.script("local_queries")
def main(cfg: DictConfig) -> None:
    settings = config.plain(cfg)
    found = queries.make(settings.drawn, settings.seed, settings.n)
    queries.write(settings.out, found)
    print(f"written: {settings.out}, {len(found)} queries of {len({one.task for one in found})} tasks")


if __name__ == "__main__":
    main()
