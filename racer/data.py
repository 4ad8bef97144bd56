"""From settings to a table that is ready to train on: read or made, split, checked for near duplicates."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

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


def read(config: DataConfig, missing: str | None = None) -> OutcomeTable:
    """Return the table as recorded: of `data.path`, any known format, or the embedded kitchen; `data.models` of it.

    Queries that lack an outcome of one of these models are treated by `missing` (as in `formats.read`), else by
    `data.missing`; what other models of the table lack is no matter.
    """
    missing = missing or config.missing
    if config.path is None:
        table = kitchen.generate(config.n, config.seed)
    else:
        table = formats.read(_expanded(config.path), missing=missing if config.models is None else "keep")
    return table if config.models is None else _complete(table.of_models(config.models), missing)


def _complete(table: OutcomeTable, missing: str) -> OutcomeTable:
    """Return the table without the queries that lack a score; raise `TableError` if there are such and should not."""
    lacking = np.isnan(table.scores)
    gone = lacking.any(axis=1)
    if missing == "keep" or not gone.any():
        return table
    counts = zip(table.models, lacking.sum(axis=0).tolist(), strict=True)
    each = ", ".join(f"{count} lack {name}" for name, count in counts if count)
    if missing == "error" or gone.all():
        remedy = ("no query would be left; choose other data.models" if gone.all() else
                  "complete them, set data.missing=drop to leave these queries out whole, or choose other data.models")
        raise TableError(f"{gone.sum()} of {len(gone)} queries of {table.name!r} lack the score of a model ({each}), "
                         f"the first is {table.ids[gone.argmax()]!r}: {remedy}")
    note = f"{gone.sum()} of {len(gone)} queries dropped for missing outcomes ({each})"
    return replace(table.take(~gone), notes=(*table.notes, note))


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
