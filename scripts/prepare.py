"""Read a table of any known format, check it, split it and write it as a folder:
`python scripts/prepare.py data.path=ANY out=FOLDER`."""

import hydra
from omegaconf import DictConfig

from racer import cli, config, data, show

config.register()


@cli.clear_errors()
@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare")
def main(cfg: DictConfig) -> None:
    with cli.clear_errors():
        cli.refuse_sweep()
        settings = config.plain(cfg)
        table = data.load(settings.data)
        show.table(table, settings.data.right_at)
        print(f"written: {table.save(settings.out)}")


if __name__ == "__main__":
    main()
