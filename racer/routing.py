"""Routing from the shell: the queries of a command line or a file, and the decisions as JSONL."""

import json
from pathlib import Path

from racer.config import RouteConfig
from racer.decision import Decision
from racer.errors import ConfigError, TableError
from racer.formats.files import read_text

KNOWN = ("task", "group", "weight")  # fields that a calibration may ask for


def queries(config: RouteConfig) -> tuple[list[str], list[dict]]:
    """Return the texts to route and, for each, the record that its decision is added to."""
    if config.output is not None and not Path(config.output).absolute().parent.is_dir():
        raise ConfigError(f"output={config.output}: its folder does not exist; make it first")
    if (config.query is None) == (config.input is None):
        raise ConfigError('give either query="TEXT" or input=FILE')
    if config.query is not None:
        given = {name: value for name in KNOWN if (value := getattr(config, name)) is not None}
        return [config.query], [{"query": config.query, **given}]
    path = Path(config.input)
    if not path.is_file():
        raise ConfigError(f"input={path} is no file: give a .jsonl file with a `query` field, or a text file with one "
                          "query a line")
    lines = [(i, line) for i, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    if not lines:
        raise TableError(f"{path} is empty: expected one query a line")
    jsonl = path.suffix == ".jsonl"
    records = [_record(path, i, line) if jsonl else {"query": line.strip()} for i, line in lines]
    return [r["query"] for r in records], records


def known(records: list[dict]) -> dict[str, list]:
    """Return what the records say beside the query that a cut may depend on, by name; None where one does not say."""
    return {name: [r.get(name) for r in records] for name in KNOWN if any(name in r for r in records)}


def write(path: str, records: list[dict], decisions: list[Decision]) -> Path:
    """Write each record with `members`, `abstain`, `probabilities` (M+1, the null last), `expected_cost` and
    `certified` added."""
    with open(path, "w", encoding="utf-8") as file:
        for record, d in zip(records, decisions, strict=True):
            added = {"members": list(d.members), "abstain": d.abstain, "probabilities": d.probabilities.tolist(),
                     "expected_cost": d.expected_cost, "certified": d.certified}
            file.write(json.dumps(record | added, ensure_ascii=False) + "\n")
    return Path(path)


def _record(path: Path, line: int, text: str) -> dict:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise TableError(f"{path}, line {line}: not JSON ({error.msg}); expected an object with a `query`") from None
    if not isinstance(record, dict) or not isinstance(record.get("query"), str) or not record["query"].strip():
        raise TableError(f"{path}, line {line}: expected an object with a `query` that is a text, got {text[:80]}")
    return record
