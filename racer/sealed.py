"""Files of a promise, which say of themselves whether they were changed since: `seal` is the fingerprint of the rest.

It guards against an edit by hand, not against forgery: whoever wants to can make a seal.
"""

import json
import os
from pathlib import Path

from racer import hashing
from racer.errors import ConfigError
from racer.files import write_json


def write(path: str | os.PathLike, record: dict) -> None:
    """Write `record` with its seal as JSON, whole or not at all. Floats keep every bit."""
    write_json(path, record | {"seal": hashing.of_json(json.loads(json.dumps(record)))})


def read(path: str | os.PathLike, what: str, again: str) -> dict:
    """Return the record in a file, without its seal; `what` it should be, and how to make it `again`, are for errors.

    Raises `ConfigError` if it is no JSON object, has no seal, or is not what was written.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not a {what} (not JSON: {error}): {again}") from None
    if not isinstance(record, dict):
        raise ConfigError(f"{path} is not a {what} (expected an object, got {type(record).__name__}): {again}")
    if "seal" not in record:
        raise ConfigError(f"{path} has no seal: an earlier version wrote it, or it is not a {what}, so that nobody can "
                          f"tell whether it was changed: {again}")
    seal = record.pop("seal")
    if seal != hashing.of_json(record):
        raise ConfigError(f"{path} is not a {what} to rely on: it was changed after it was written: {again}")
    return record
