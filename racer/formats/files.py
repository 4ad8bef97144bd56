"""How text files become columns of text: CSV and JSON read so that an error can name the line.

Numbers stay the text they are in the file until `racer.assemble` has checked them.
"""

import csv
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from racer.errors import TableError
from racer.table import OutcomeTable

FIELD_LIMIT = 1 << 30  # characters in one CSV cell; the standard library stops at 128 Ki


def csv_header(path: Path) -> list[str]:
    """Return the column names in the first line of a CSV file."""
    with _open_csv(path) as reader:
        names = next(reader, [])
    if len(set(names)) < len(names):
        raise TableError(f"{path.name}, line 1: a column name comes twice in {', '.join(names)}: rename one of the two")
    return names


def csv_rows(path: Path) -> tuple[list[list[str]], list[int]]:
    """Return the cells of every row after the header, and the line on which each row begins."""
    with _open_csv(path) as reader:
        return _rows(path, reader)


@contextmanager
def _open_csv(path: Path):
    usual = csv.field_size_limit(FIELD_LIMIT)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            yield csv.reader(file)
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not a CSV file in UTF-8 ({error}): export it again") from None
    finally:
        csv.field_size_limit(usual)


def _rows(path: Path, reader) -> tuple[list[list[str]], list[int]]:
    width = len(next(reader, []))
    rows, lines, begins = [], [], reader.line_num + 1
    for cells in reader:
        if cells and len(cells) != width:
            raise TableError(f"{path.name}, line {begins}: {len(cells)} cells, expected {width} as in the header: "
                             "quote cells that hold commas or line breaks")
        if cells:
            rows.append(cells)
            lines.append(begins)
        begins = reader.line_num + 1
    return rows, lines


def json_value(text: str, where: str):
    """Return a JSON value, its numbers (and NaN) as the text they are written in."""
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise TableError(f"{where}: not JSON ({error}): mend or export it again") from None


def json_text(value, where: str) -> str | None:
    """Return a plain JSON value as text, true and false as 1 and 0; a list or object is refused."""
    if isinstance(value, list | dict):
        raise TableError(f"{where}: got a {type(value).__name__}, expected text or a number: flatten it")
    return str(int(value)) if isinstance(value, bool) else value


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte-order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not text in UTF-8 ({error}): save it as UTF-8") from None


def without_lone_split(table: OutcomeTable) -> OutcomeTable:
    """Return the table without splits, and a note, if its file names give all rows the same one.

    A table with, say, test rows only could not be trained on; so its splits are drawn, as for one without any.
    """
    names = set(table.split)
    if len(names) != 1 or names == {""}:
        return table
    note = f"all files are of split {names.pop()}: taken as a table without splits, which are drawn"
    return replace(table, split=np.full(len(table.ids), "", dtype=object), notes=(*table.notes, note))


def read_card(folder: Path) -> dict:
    """Return the `card.json` of a folder, or a card with the folder's name where there is none."""
    path = folder / "card.json"
    if not path.exists():
        return {"name": folder.resolve().name}
    try:
        card = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise TableError(f"{path}: not JSON ({error}): mend it, or remove it") from None
    if not isinstance(card, dict):
        raise TableError(f"{path}: got a {type(card).__name__}, expected an object: mend it, or remove it")
    return {"name": folder.resolve().name} | card


def card_models(card: dict, where: str) -> list[str]:
    """Return the names in the card's `models`, a list of {"name": ...}, or [] where it has none."""
    models = card.get("models", [])
    if not isinstance(models, list) or not all(isinstance(m, dict) and isinstance(m.get("name"), str) for m in models):
        raise TableError(f'{where}, models: got {str(models)[:60]}, expected a list of {{"name": ...}}: mend the card')
    names = [m["name"] for m in models]
    if len(set(names)) < len(names):
        raise TableError(f"{where}, models: a name comes twice in {', '.join(names)}: name each model once")
    return names
