"""From settings to a table that is ready to train on: read or made, split, checked for near duplicates."""

import os
import re
from pathlib import Path

from racer import formats, kitchen, near_duplicates, splits
from racer.config import DataConfig
from racer.errors import TableError
from racer.table import OutcomeTable

PACKAGE = Path(__file__).parent  # where the tables lie that come with it


def load(config: DataConfig) -> OutcomeTable:
    """Return the table with its four splits (and `ood`). Raises `TableError` with the remedy if it cannot be had."""
    table = splits.assign(read(config), tasks=config.tasks, seed=config.split_seed)
    if config.near_duplicates != "off":
        table = near_duplicates.across_splits(table, mode=config.near_duplicates)
    return table


def read(config: DataConfig) -> OutcomeTable:
    """Return the table as recorded: of `data.path`, any known format, or the embedded kitchen; `data.models` of it."""
    table = (kitchen.generate(config.n, config.seed) if config.path is None
             else formats.read(_expanded(config.path), missing=config.missing))
    return table if config.models is None else table.of_models(config.models)


def _expanded(path: str) -> str:
    """Return the path with $VARIABLES filled in; an unset one is an error, not a folder named so.

    $RACER_PACKAGE is the folder of this package, wherever it is installed.
    """
    path = path.replace("$RACER_PACKAGE", str(PACKAGE))
    expanded = os.path.expanduser(os.path.expandvars(path))
    unset = re.findall(r"\$\{?(\w+)", expanded)
    if unset:
        raise TableError(f"data.path={path} needs the environment variable {unset[0]}, which is not set: "
                         f"export {unset[0]}=FOLDER first")
    return expanded
