"""Serve local models over the OpenAI protocol, a small LLM and programs: `python scripts/local_pool.py port=8090`.

With a GGUF file of your own as one more: `'+more.mine={kind: llm, weights: model.gguf, prompt: mine.txt}'`."""

from omegaconf import DictConfig

from racer import cli, config
from racer.local import app, members
from racer.serve import server


@cli.script("local_pool")
def main(cfg: DictConfig) -> None:
    settings = config.plain(cfg)
    listening = server.listen(settings.host, settings.port)  # first: it is what fails soonest
    cli.hush()
    pool = members.build(settings)
    host, port = listening.getsockname()[:2]
    print(f"serving {', '.join(pool)} at http://{host}:{port}/v1; stop with Ctrl-C", flush=True)
    server.run(app.build(pool), listening, deadline=5)


if __name__ == "__main__":
    main()
