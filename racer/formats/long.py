"""How a file with one row per (query, model) is read: JSONL, CSV or Parquet."""

from pathlib import Path

import pyarrow as pa

from racer.assemble import Entries, assemble
from racer.errors import TableError
from racer.formats import files
from racer.formats.canonical import parquet
from racer.table import OutcomeTable

REQUIRED = ("id", "query", "model", "score")


def read(path: Path, missing: str) -> OutcomeTable:
    """Return the table of a file with columns `id`, `query`, `model`, `score`.

    Optional columns: `task`, `split`, `reference`, `answer`, `cost` (USD), `output_tokens`, `confidence`.
    Other columns are ignored. What a query says must be the same in all of its rows.
    """
    entries = {".jsonl": _jsonl, ".csv": _csv, ".parquet": parquet}[path.suffix.lower()](path)
    entries.require(REQUIRED)
    return assemble(entries, entries, card={"name": path.stem}, missing=missing)


def _csv(path: Path) -> Entries:
    names = files.csv_header(path)
    rows, lines = files.csv_rows(path)
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    columns = {name: pa.array(cells, pa.large_string()) for name, cells in zip(names, columns, strict=True)}
    return Entries.of(columns, path.name, lines, "line")


def _jsonl(path: Path) -> Entries:
    lines = [(i, text) for i, text in enumerate(files.read_text(path).split("\n"), start=1) if text.strip()]
    records = [_record(text, f"{path.name}, line {i}") for i, text in lines]
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: pa.array([record.get(name) for record in records], pa.large_string()) for name in names}
    return Entries.of(columns, path.name, [i for i, _ in lines], "line")


def _record(text: str, where: str) -> dict[str, str | None]:
    record = files.json_value(text, where)
    if not isinstance(record, dict):
        raise TableError(f"{where}: got a {type(record).__name__}, expected an object with {', '.join(REQUIRED)}")
    return {name: files.json_text(value, f"{where}, column {name}") for name, value in record.items()}
