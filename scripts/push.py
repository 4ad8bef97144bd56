"""Put a run on the Hugging Face hub with its model card: `python scripts/push.py run=DIR repo=OWNER/NAME`.
`folder=DIR` writes to a folder what would be put there."""

import hydra
from omegaconf import DictConfig

from racer import Router, cli, config

config.register()


@cli.clear_errors()
@hydra.main(version_base="1.3", config_path="../conf", config_name="push")
def main(cfg: DictConfig) -> None:
    with cli.clear_errors():
        cli.refuse_sweep()
        cli.hush()
        settings = config.plain(cfg)
        router = Router.load(settings.run)
        if settings.folder is not None:
            print(f"written: {router.save(settings.folder, settings.repo)}")
        else:
            print(f"put at: {router.push_to_hub(settings.repo, settings.private, settings.revision)}")


if __name__ == "__main__":
    main()
