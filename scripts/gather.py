"""Put every number of a sweep into one table: `python scripts/gather.py sweep=DIR [against=sets.family=probability]`.
Writes DIR/table.csv and DIR/comparison.png; over several seeds DIR/seeds.csv; with `against` DIR/differences.csv."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from racer import cli, comparison, config, gather


@cli.script("gather")
def main(cfg: DictConfig) -> None:
    settings = config.plain(cfg)
    sweep = Path(settings.sweep)
    found = gather.jobs(sweep)
    tables = {"table": gather.rows(found), "seeds": gather.over_seeds(found)}
    if settings.against is not None:
        tables["differences"] = gather.differences(found, settings.against, np.random.default_rng(0))
    for name, rows in tables.items():
        (sweep / f"{name}.csv").unlink(missing_ok=True)
        if rows:
            gather.write_csv(sweep / f"{name}.csv", rows)
            print(f"written: {sweep / name}.csv ({len(rows)} rows)")
    for job in found:
        if job.report is None:
            print(f"{job.record.state}: {' '.join(job.record.overrides)}: {job.record.reason}")
    if path := comparison.draw(found, sweep / "comparison.png"):
        print(f"figure: {path}")


if __name__ == "__main__":
    cli.keep_verbatim("against")
    main()
