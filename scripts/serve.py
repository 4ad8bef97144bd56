"""Serve a run behind the OpenAI protocol: `python scripts/serve.py run=DIR pool=FILE.yaml host=127.0.0.1 port=8080`."""

from omegaconf import DictConfig

from racer import Router, cli, config
from racer.serve import server


@cli.script("serve")
def main(cfg: DictConfig) -> None:
    cli.hush()
    settings = config.plain(cfg)
    app = server.application(Router.load(settings.run, settings.allow_uncertified), settings)
    listening = server.listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    print(f"serving {settings.run} at http://{host}:{port}/v1, model {settings.name}; stop with Ctrl-C", flush=True)
    server.run(app, listening, settings.deadline)


if __name__ == "__main__":
    main()
