"""Certify the answers of a run: `python scripts/certify.py run=DIR promises.error_among_answered=0.2 risk.delta=0.1`,
with any of promises.over_abstention, promises.cost, promises.harm beside it or instead. Seconds, without torch."""

from pathlib import Path

from omegaconf import DictConfig

from racer import cli, config, show, stages


@cli.script("certify")
def main(cfg: DictConfig) -> None:
    settings = config.plain(cfg)
    run = Path(settings.run)
    trained = cli.saved_settings(run)
    certificate = stages.certify_run(run, trained.sets, trained.risk, settings)
    show.certificate(certificate, run)


if __name__ == "__main__":
    main()
