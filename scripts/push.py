"""Put a run on the Hugging Face hub with its model card: `python scripts/push.py run=DIR repo=OWNER/NAME`.
`folder=DIR` instead, or beside it, writes to a folder what would be put there."""

from omegaconf import DictConfig

from racer import Router, cli, config


@cli.script("push")
def main(cfg: DictConfig) -> None:
    cli.hush()
    settings = config.plain(cfg)
    router = Router.load(settings.run)
    if settings.folder is not None:
        print(f"written: {router.save(settings.folder, settings.repo)}")
    else:
        print(f"put at: {router.push_to_hub(settings.repo, settings.private, settings.revision)}")


if __name__ == "__main__":
    main()
