"""Judge variants of router and sets on many splits of the same rows: `python scripts/experiment.py
experiment=paper_protocol [key=value ...]`. Writes RUN_DIR/results.csv and RUN_DIR/results.png."""

from omegaconf import DictConfig

from racer import cli, comparison, config, experiment, gather


@cli.script("experiment")
def main(cfg: DictConfig) -> None:
    cli.hush()
    found = experiment.run(config.plain(cfg))
    gather.write_csv(cli.run_folder() / "results.csv", [finding.row() for finding in found])
    print(f"written: {cli.run_folder() / 'results.csv'} ({len(found)} rows)")
    print(f"figure: {comparison.draw_findings(found, cli.run_folder() / 'results.png')}")


if __name__ == "__main__":
    main()
