"""Say what can be promised on a table, before anything is trained:
`python scripts/plan.py data.path=ANY risk.alpha=0.05 [answer_error=0.1] [out=plan.json]`. Seconds, without torch."""

from pathlib import Path

from omegaconf import DictConfig

from racer import cli, config, data, show
from racer.files import write_json
from racer.plan import plan


@cli.script("plan")
def main(cfg: DictConfig) -> None:
    settings = config.plain(cfg)
    result = plan(data.load(settings.data), settings.risk.alpha, settings.risk.delta, settings.answer_error,
                  settings.data.right_at)
    show.plan(result)
    if settings.out is not None:
        Path(settings.out).parent.mkdir(parents=True, exist_ok=True)
        write_json(settings.out, result)
        print(f"written: {settings.out}")


if __name__ == "__main__":
    main()
