"""How a file is written whole or not at all."""

import json
import os
from pathlib import Path


def read_json(path: str | os.PathLike) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | os.PathLike, record: dict) -> None:
    """Write `record` as JSON; a reader sees the old file or the new one, never a part. Floats keep every bit."""
    partial = Path(path).with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
