"""Which queries are to be asked, and how their answers are graded: a JSONL file, checked before anything is spent."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from racer import patterns
from racer.answers import number_in
from racer.assemble import NO_TASK
from racer.collect.graders import GRADERS
from racer.errors import ConfigError, TableError
from racer.rows import DECODER

FIELDS = ("id", "query", "reference", "task", "grader")
KINDS = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Query:
    """One line: what is asked, and by what its answers are judged. `reference` is empty only for the grader `judge`."""

    id: str
    query: str
    reference: str
    task: str
    grader: str


def read(path: str | Path) -> list[Query]:
    """Return the queries of a JSONL file in its order; raise `TableError` that names file and line of what is wrong."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"queries={path} is no file: give a .jsonl file with {', '.join(FIELDS)} on each line")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not text in UTF-8 ({error}); expected JSONL in UTF-8, one object with "
                         f"{', '.join(FIELDS)} a line: convert or save it so") from None
    found: dict[str, tuple[int, Query]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}, line {number}"
            query = _query(_record(line, where), where)
            if query.id in found:
                raise TableError(f"{where}: the id {query.id!r} already stands in line {found[query.id][0]}: give each "
                                 "query its own")
            found[query.id] = number, query
    if not found:
        raise TableError(f"{path}: no queries, expected at least one: is the file complete?")
    return [query for _, query in found.values()]


def _record(line: str, where: str) -> dict:
    try:
        record = DECODER.decode(line.strip())
    except (ValueError, RecursionError) as error:
        raise TableError(f"{where}: not JSON ({getattr(error, 'msg', error)}); expected an object with "
                         f"{', '.join(FIELDS)}") from None
    if not isinstance(record, dict):
        raise TableError(f"{where}: expected an object with {', '.join(FIELDS)}, got {line.strip()[:60]}")
    if strange := [name for name in record if name not in FIELDS]:
        raise TableError(f"{where}: unknown field {', '.join(strange)}; known are {', '.join(FIELDS)}: rename or "
                         "remove it")
    return record


def _query(record: dict, where: str) -> Query:
    texts = {name: _text(record, name, where) for name in FIELDS}
    for name in ("id", "query", "grader"):
        if not texts[name].strip():
            what = "empty" if name in record else "missing"
            raise TableError(f"{where}: {name} is {what}: fill it in, or remove the line")
    query = Query(**texts | {"task": texts["task"].strip() or NO_TASK})
    if query.grader not in GRADERS:
        raise TableError(f"{where}: grader is {query.grader!r}, expected one of {', '.join(GRADERS)}")
    if fault := _fault(query):
        raise TableError(f"{where}: {fault}")
    return query


def _text(record: dict, name: str, where: str) -> str:
    """Return a field as text; numbers are written as JSON writes them, what is absent or null is empty."""
    value = record.get(name)
    if value is None:
        return ""
    if isinstance(value, bool | list | dict) or (name in ("query", "task", "grader") and not isinstance(value, str)):
        raise TableError(f"{where}: {name} is {KINDS[type(value)]} ({json.dumps(value)[:60]}), expected a text")
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TableError(f"{where}: {name} holds half a character ({error}): mend its escapes") from None
    return text


def _fault(query: Query) -> str | None:
    """Return what is wrong with a reference, None if its grader can use it."""
    if query.grader == "judge":
        return None
    if not query.reference.strip():
        return f"the grader {query.grader} needs a reference: fill it in"
    if query.grader == "numeric" and number_in(query.reference) is None:
        return f"reference is {query.reference!r}, expected a number for the grader numeric"
    if query.grader == "choice" and not re.fullmatch("[A-Za-z]", query.reference.strip()):
        return f"reference is {query.reference!r}, expected one letter for the grader choice"
    try:
        if query.grader == "regex":
            patterns.groups(query.reference)
        if query.grader == "python":
            compile(query.reference, "reference", "exec")
    except (SyntaxError, ValueError) as error:
        what = "a regular expression" if query.grader == "regex" else "Python tests"
        return f"reference is not {what} ({error}): mend it"
    return None
