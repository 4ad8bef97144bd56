"""Prompts that lie in files, with places to be filled in."""

import re
from collections.abc import Sequence
from pathlib import Path

from racer.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"


def read(option: str, path: str | None, default: str, places: Sequence[str]) -> str:
    """Return the prompt in the file `path` that `option` names, by default that of conf.

    Raises `ConfigError` if there is no such text file, or one of the `places` ("{query}") is missing in it.
    """
    path = Path(path) if path else CONF / default
    if not path.is_file():
        raise ConfigError(f"{option}={path} is no file: give a text file with {', '.join(places)} in it")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option}={path} is not text in UTF-8 ({error}): save the file as UTF-8") from None
    if lacking := [place for place in places if place not in text]:
        raise ConfigError(f"the {option.replace('_', ' ')} {path} has no {' and no '.join(lacking)}: say where they go")
    return text


def request(prompt: str, parts: dict[str, str]) -> dict:
    """Return the request body of a prompt with each place filled; what is filled in stays as it is."""
    filled = re.sub("|".join(map(re.escape, parts)), lambda place: parts[place[0]], prompt)
    return {"messages": [{"role": "user", "content": filled}]}
