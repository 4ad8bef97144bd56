"""What a calibration was made for, part by part: router, weights, tokenizer, settings, dtype, table, splits."""

import json
from pathlib import Path

from racer import hashing
from racer.scores import Scores

FILE = "fingerprints.json"  # in a router's folder: every file's sha256, and the dtype
TOKENIZER = ("token", "vocab", "merges", "spm", "sentencepiece")  # in the names of a tokenizer's files


def of_router(folder: Path) -> dict[str, str]:
    """Return the parts of the router saved in `folder`; {} where none is."""
    if not (folder / FILE).is_file():
        return {}
    record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    parts = {"weights": {}, "tokenizer": {}, "settings": {}}
    for name, digest in record["files"].items():
        parts[_part(name)][name] = digest
    return {"router": record["router"], **{part: hashing.of_json(files) for part, files in parts.items()},
            "dtype": record["dtype"]}


def of_scores(scores: Scores) -> dict[str, str]:
    """Return the parts that scores know: whose they are, of which table, and which query is used for what."""
    splits = sorted(zip(scores.ids.tolist(), scores.split.tolist(), strict=True))
    return {**scores.fingerprint, "splits": hashing.of_json(splits)}


def differing(made_for: dict, found: dict) -> list[str]:
    """Return the names of the parts that both know and that are not the same, the router itself aside."""
    return [part for part, value in made_for.items() if part != "router" and found.get(part, value) != value]


def _part(name: str) -> str:
    file = name.rsplit("/", 1)[-1].lower()
    if any(word in file for word in TOKENIZER):
        return "tokenizer"
    return "settings" if file.endswith(".json") else "weights"
