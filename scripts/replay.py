"""Serve a table's recorded answers as if its models were live: `python scripts/replay.py data=kitchen port=8090`."""

from omegaconf import DictConfig

from racer import cli, config, data
from racer.serve import replay, server


@cli.script("replay")
def main(cfg: DictConfig) -> None:
    settings = config.plain(cfg)
    table = data.read(settings.data)
    app, listening = replay.build(table), server.listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    print(f"replaying {table.name} at http://{host}:{port}/v1; stop with Ctrl-C. Models: {', '.join(table.models)}",
          flush=True)
    server.run(app, listening, deadline=5)


if __name__ == "__main__":
    main()
