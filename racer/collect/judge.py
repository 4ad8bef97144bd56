"""Whether a reply is right, in the eyes of a model: the prompt it gets, and the verdict in what it says."""

import re
from dataclasses import dataclass
from pathlib import Path

from racer.collect.queries import Query
from racer.errors import ConfigError
from racer.pool import Endpoint
from racer.pool import file as pool_file

PROMPT = Path(__file__).parents[2] / "conf" / "judge.txt"
PLACES = ("{query}", "{reference}", "{answer}")
VERDICT = re.compile(r"verdict\W{0,5}(right|wrong)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Judge:
    """A model that judges, and its prompt."""

    endpoint: Endpoint
    prompt: str

    @classmethod
    def of(cls, judge: str, prompt: str | None, pool: list[Endpoint]) -> "Judge":
        """Return the judge that an entry of the pool is, by its name, or the one entry of another pool file."""
        found = [one for one in pool if one.name == judge] or pool_file.read(judge)
        if len(found) != 1:
            raise ConfigError(f"judge={judge} holds {len(found)} models, expected one: name an entry of the pool, or "
                              "a pool file with one entry")
        return cls(found[0], prompt_of(prompt))

    def request(self, query: Query, reply: str) -> dict:
        """Return the request body for a verdict on a reply."""
        parts = dict(zip(PLACES, (query.query, query.reference, reply), strict=True))
        filled = re.sub("|".join(map(re.escape, parts)), lambda place: parts[place[0]], self.prompt)  # texts stay as is
        return {"messages": [{"role": "user", "content": filled}]}


def prompt_of(path: str | None) -> str:
    """Return the prompt in a file, by default conf/judge.txt; raise `ConfigError` if a place is missing in it."""
    path = Path(path) if path else PROMPT
    if not path.is_file():
        raise ConfigError(f"judge_prompt={path} is no file: give a text file with {', '.join(PLACES)} in it")
    text = path.read_text(encoding="utf-8")
    if lacking := [place for place in PLACES if place not in text]:
        raise ConfigError(f"the judge's prompt {path} has no {' and no '.join(lacking)}: say where they go")
    return text


def verdict(said: str) -> bool | None:
    """Return the last verdict in what a judge said, None where there is none."""
    found = VERDICT.findall(said)
    return found[-1].lower() == "right" if found else None
