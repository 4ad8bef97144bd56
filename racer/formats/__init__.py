"""Which public record formats can be read: one small reader each, all checked by `racer.assemble`."""

import os
from pathlib import Path

from racer.errors import TableError
from racer.formats import canonical, long, routerbench, routerdc
from racer.table import OutcomeTable

ACCEPTED = """accepted are
  a folder with queries.parquet and outcomes.parquet (card.json beside them)
  a RouterDC .json file, or a folder of them: lists of {"question": ..., "scores": {model: number}}
  a RouterBench .csv file, or a folder of them: sample_id, prompt, eval_name, <model>, <model>|total_cost
  a .jsonl, .csv or .parquet file with a row per query and model: id, query, model, score"""


def read(path: str | os.PathLike, *, missing: str = "error") -> OutcomeTable:
    """Return the outcome table in a folder or file; its format is told from names and columns.

    `missing="error"` refuses a table where some model has no score for some query;
    `missing="drop"` leaves such queries out and counts them in the notes; `missing="keep"`
    has NaN for such scores. The split
    `calib` is read as `calibration`, a row without a task has the task `all`.
    """
    path = Path(path)
    if not path.exists():
        raise TableError(f"{path}: no such file or folder; {ACCEPTED}")
    try:
        return _reader(path)(path, missing)
    except UnicodeEncodeError as error:
        raise TableError(f"{path}: a text holds half a character ({error.object[error.start:error.end]!a}, half "
                         "of a surrogate pair): cut it whole or remove it") from None


def _reader(path: Path):
    if path.is_dir():
        return _folder_reader(path)
    readers = {".json": routerdc.read, ".jsonl": long.read, ".parquet": long.read}
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return routerbench.read if routerbench.recognises(path) else long.read
    if suffix not in readers:
        raise TableError(f"{path}: unknown kind of file {path.suffix!r}; {ACCEPTED}")
    return readers[suffix]


def _folder_reader(path: Path):
    if any((path / name).exists() for name in canonical.FILES):
        return canonical.read
    if routerdc.files(path):
        return routerdc.read
    if any(path.glob("*.csv")):
        return routerbench.read
    raise TableError(f"{path}: the folder has no queries.parquet with outcomes.parquet, no RouterDC *.json and no "
                     f"RouterBench *.csv; {ACCEPTED}")
