"""Names made of content: the same bytes always get the same fingerprint."""

import hashlib
import json
import os
from pathlib import Path

BLOCK = 1 << 20  # bytes read at once


def of_json(value) -> str:
    """Return the fingerprint of a JSON-able value, 16 hex digits; dictionaries compare without order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def of_file(path: str | os.PathLike) -> str:
    """Return the sha256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_beginning(path: str | os.PathLike, size: int) -> str:
    """Return the sha256 of the first `size` bytes of a file, or of all if it has fewer, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(min(size, BLOCK)):
            digest.update(part)
            size -= len(part)
    return digest.hexdigest()


def of_folder(folder: str | os.PathLike, skip: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the sha256 of every file below `folder`, by its relative path, hidden files and `skip` left out."""
    folder = Path(folder)
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    names = [p.relative_to(folder).as_posix() for p in paths]
    return {name: of_file(folder / name) for name in names if name not in skip}
