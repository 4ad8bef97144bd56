"""Ask a trained router who should answer: `python scripts/route.py run=DIR query="What is 2+2?"`, or input=FILE."""

import hydra
from omegaconf import DictConfig

from racer import Router, cli, config, routing, show

config.register()


@cli.clear_errors()
@hydra.main(version_base="1.3", config_path="../conf", config_name="route")
def main(cfg: DictConfig) -> None:
    with cli.clear_errors():
        cli.refuse_sweep()
        cli.hush()
        settings = config.plain(cfg)
        texts, records = routing.queries(settings)
        router = Router.load(settings.run, settings.allow_uncertified)
        decisions = router.route(texts, progress=len(texts) > 100, known=routing.known(records))
        if settings.output is None:
            show.decisions(texts, decisions, router.artifact, router.settings.trained_on)
        else:
            print(f"written: {routing.write(settings.output, records, decisions)}")


if __name__ == "__main__":
    cli.keep_verbatim("query")
    main()
