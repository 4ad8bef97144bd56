"""How RouterDC's records are read: JSON lists of {"question", "scores"}, one file per task and split."""

import re
from pathlib import Path

import pyarrow as pa

from racer.assemble import Entries, assemble
from racer.errors import TableError
from racer.formats import files as text_files
from racer.table import OutcomeTable

MULTIPLE_CHOICE = ("arc", "mmlu", "cmmlu", "c-mmlu", "ceval", "c-eval", "hellaswag", "winogrande")
TASKS = ("gsm8k", "mmlu", "cmmlu", "arc_challenge")  # in distribution, as in RouterDC's paper; the others are ood


def read(path: Path, missing: str) -> OutcomeTable:
    """Return the table of one RouterDC file, or of all `*.json` in a folder but its `card.json`.

    The file name carries task and split, `<task>_train.json` or `<task>-test.json`; a name
    without a split is test data. Ids are `<file stem>/<index>`. Scores of multiple-choice
    tasks (by the beginning of the name) are of kind `probability`, all others `fraction`.
    The card's `tasks` are those of TASKS that are there: `racer.splits` keeps the rest apart.
    """
    paths = files(path) if path.is_dir() else [path]
    card = text_files.read_card(path) if path.is_dir() else {"name": path.stem}
    queries, outcomes = zip(*map(_file, paths), strict=True)
    _same_models(paths, outcomes)
    tasks = dict.fromkeys(task_and_split(p)[0] for p in paths)
    if known := [t for t in TASKS if t in tasks]:
        card["tasks"] = known
    kinds = {t: "probability" if is_multiple_choice(t) else "fraction" for t in tasks}
    models = text_files.card_models(card, str(path / "card.json"))
    table = assemble(Entries.join(queries), Entries.join(outcomes), models=models, kinds=kinds, card=card,
                     missing=missing)
    return text_files.without_lone_split(table)


def files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder that may hold records, by name."""
    return sorted(p for p in folder.glob("*.json") if p.name != "card.json")


def is_multiple_choice(task: str) -> bool:
    """Return whether a task's name begins like that of a multiple-choice benchmark."""
    return task.lower().startswith(MULTIPLE_CHOICE)


def task_and_split(path: Path) -> tuple[str, str]:
    """Return ("mmlu", "train") for `mmlu_train.json` or `mmlu-train.json`; split "" where the name has none."""
    return re.fullmatch(r"(.+?)(?:[-_](train|test))?", path.stem).groups(default="")


def _file(path: Path) -> tuple[Entries, Entries]:
    """Return the queries and the outcomes of one file."""
    task, split = task_and_split(path)
    records = text_files.json_value(text_files.read_text(path), path.name)
    if not isinstance(records, list) or not records:
        raise TableError(f'{path}: expected a list of {{"question": ..., "scores": ...}}, got '
                         f"{'an empty list' if records == [] else type(records).__name__}: is this a RouterDC file?")
    for i, record in enumerate(records):
        _check(record, f"{path.name}, record {i} (counting from 0)")
    ids = [f"{path.stem}/{i}" for i in range(len(records))]
    queries = {"id": ids, "query": pa.array([r["question"] for r in records], pa.string()),
               "task": [task] * len(ids), "split": [split or "test"] * len(ids)}
    pairs = [(i, model, score) for i, record in enumerate(records) for model, score in record["scores"].items()]
    rows, models, scores = zip(*pairs, strict=True)
    outcomes = {"id": [ids[i] for i in rows], "model": models, "score": pa.array(scores, pa.string())}
    return (Entries.of(queries, path.name, range(len(ids)), "record"), Entries.of(outcomes, path.name, rows, "record"))


def _check(record, where: str) -> None:
    if not isinstance(record, dict) or not isinstance(record.get("question"), str):
        raise TableError(f"{where}, column question: expected an object with a text `question`: mend the record")
    scores = record.get("scores")
    if not isinstance(scores, dict) or not scores:
        raise TableError(f"{where}, column scores: got {str(scores)[:60]}, expected an object of model names "
                         "and numbers: mend the record")
    if not all(score is None or isinstance(score, str) for score in scores.values()):
        raise TableError(f"{where}, column scores: got {str(scores)[:60]}, expected a number for every model: "
                         "mend the record")


def _same_models(paths: list[Path], outcomes: tuple[Entries, ...]) -> None:
    models = [set(o.table["model"].to_pylist()) for o in outcomes]
    for path, here in zip(paths, models, strict=True):
        if here != models[0]:
            odd = ", ".join(sorted(here ^ models[0]))
            raise TableError(f"{path.name}: other models than in {paths[0].name} (in one of the two only: {odd}); "
                             "expected the same in all files: read them as separate tables")
