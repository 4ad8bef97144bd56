"""How RouterBench's own CSV files are read: one row per query, three columns per model."""

import ast
import re
from pathlib import Path

import pyarrow as pa

from racer.assemble import Entries, assemble
from racer.errors import TableError
from racer.formats import files
from racer.formats.routerdc import is_multiple_choice, task_and_split
from racer.table import OutcomeTable

KEYS = ("sample_id", "prompt", "eval_name")
LETTER = re.compile(r"\s*\(?([A-J])[ \t]*(?:$|[\n).:,])")


def recognises(path: Path) -> bool:
    """Return whether a CSV file has RouterBench's columns."""
    return set(KEYS) <= set(files.csv_header(path))


def read(path: Path, missing: str) -> OutcomeTable:
    """Return the table of one RouterBench CSV, or of all `*.csv` in a folder.

    The id is `sample_id`, the task `eval_name`, the split the file name's `_train` or `_test`.
    A question that the file splits over rows, each with other models, is put together.
    `answer` is the letter of a multiple-choice reply (see `letter`); other tasks have none.
    """
    paths = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    queries, outcomes = zip(*map(_file, paths), strict=True)
    name = path.resolve().name if path.is_dir() else path.stem
    table = assemble(Entries.join(queries), Entries.join(outcomes), card={"name": name}, missing=missing)
    return files.without_lone_split(table)


def letter(reply: str) -> str | None:
    """Return the letter that opens a reply and stands alone ("B", "B) foo"), None for "A chart"."""
    found = LETTER.match(reply)
    return found and found[1]


def _file(path: Path) -> tuple[Entries, Entries]:
    """Return the queries (one per row) and the outcomes (one per row and model) of one file."""
    names = files.csv_header(path)
    rows, lines = files.csv_rows(path)
    column = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    models = _models(path, names)
    split = task_and_split(path)[1]
    places = [f"{path.name}, line {i}" for i in lines]
    texts = [_unlist(cell, f"{place}, column prompt") for cell, place in zip(column["prompt"], places, strict=True)]
    queries = {"id": column["sample_id"], "query": texts, "task": column["eval_name"], "split": [split] * len(rows)}
    outcomes = [pa.table(_of_model(column, model, places)) for model in models]
    return (Entries.of({k: pa.array(v, pa.string()) for k, v in queries.items()}, path.name, lines, "line"),
            Entries.of(pa.concat_tables(outcomes), path.name, lines * len(models), "line"))


def _models(path: Path, names: list[str]) -> list[str]:
    absent = [key for key in KEYS if key not in names]
    models = [name for name in names if f"{name}|total_cost" in names or f"{name}|model_response" in names]
    if absent or not models:
        raise TableError(f"{path.name}: expected the columns {', '.join(KEYS)} and, per model, <model>, "
                         f"<model>|model_response, <model>|total_cost; found {', '.join(names)}: "
                         "is this a RouterBench file?")
    return models


def _of_model(column: dict, model: str, places: list[str]) -> dict[str, pa.Array]:
    k = len(places)
    replies = column.get(f"{model}|model_response", [""] * k)
    answers = [letter(_unlist(reply, f"{place}, column {model}|model_response")) if is_multiple_choice(task) else None
               for task, reply, place in zip(column["eval_name"], replies, places, strict=True)]
    cells = {"id": column["sample_id"], "model": [model] * k, "score": column[model], "answer": answers,
             "cost": column.get(f"{model}|total_cost", [""] * k)}
    return {name: pa.array(values, pa.string()) for name, values in cells.items()}


def _unlist(cell: str, where: str) -> str:
    """Return the text in a cell that holds a Python list of texts; a text that is repeated is taken once."""
    if not cell.startswith("["):
        return cell
    try:
        texts = ast.literal_eval(cell)
        return texts[0] if len(set(texts)) == 1 else "\n".join(texts)
    except (ValueError, SyntaxError, TypeError):
        raise TableError(f"{where}: got {cell[:60]!r}, expected a text or a Python list of texts: "
                         "mend the cell") from None
