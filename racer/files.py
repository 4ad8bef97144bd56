"""How a file is written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give the path to write to, beside `path` and of its suffix; once written it takes the place of `path`.

    A reader sees the old file or the new one, never a part; so does the next run, where writing failed.
    """
    path = Path(path)
    partial = path.with_suffix(f".partial{path.suffix}")
    yield partial
    os.replace(partial, path)


def read_json(path: str | os.PathLike) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | os.PathLike, record: dict) -> None:
    """Write `record` as JSON, whole or not at all. Floats keep every bit."""
    with whole(path) as partial:
        partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
