"""Read a table of any known format, check it, split it and write it as a folder:
`python scripts/prepare.py data.path=ANY out=FOLDER`."""

from omegaconf import DictConfig

from racer import cli, config, data, show


@cli.script("prepare")
def main(cfg: DictConfig) -> None:
    settings = config.plain(cfg)
    table = data.load(settings.data)
    show.table(table, settings.data.right_at)
    print(f"written: {table.save(settings.out)}")


if __name__ == "__main__":
    main()
