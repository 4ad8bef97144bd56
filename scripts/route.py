"""Ask a trained router who should answer: `python scripts/route.py run=DIR query="What is 2+2?"`, or input=FILE
output=FILE, which goes on where it was when it was killed; or two folders, with engine=ray by many workers."""

from pathlib import Path

from omegaconf import DictConfig

from racer import Router, cli, config, parts, routing, show


@cli.script("route")
def main(cfg: DictConfig) -> None:
    cli.hush()
    settings = config.plain(cfg)
    if settings.engine == "ray" or parts.is_folder(settings):
        for path in parts.route_folder(settings):
            print(f"written: {path}")
        return
    source = routing.source_of(settings)
    router = Router.load(settings.run, settings.allow_uncertified)
    if settings.output is None:
        for texts, decisions in routing.routed(router, source):
            show.decisions(texts, decisions, router.artifact, router.settings.trained_on)
    else:
        instead = ", in place of the one that was there" if Path(settings.output).exists() else ""
        path = routing.route_rows(router, source, settings.output, progress=settings.query is None)
        print(f"written: {path}{instead}")


if __name__ == "__main__":
    cli.keep_verbatim("query")
    main()
