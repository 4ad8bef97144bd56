"""Whether a reply is right, in the eyes of a model: the prompt it gets, and the verdict in what it says."""

import re
from dataclasses import dataclass

from racer import prompts
from racer.collect.queries import Query
from racer.errors import ConfigError
from racer.pool import Endpoint
from racer.pool import file as pool_file

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
        return cls(found[0], prompts.read("judge_prompt", prompt, "judge.txt", PLACES))

    def request(self, query: Query, reply: str) -> dict:
        """Return the request body for a verdict on a reply."""
        return prompts.request(self.prompt, dict(zip(PLACES, (query.query, query.reference, reply), strict=True)))


def verdict(said: str) -> bool | None:
    """Return the last verdict in what a judge said, None where there is none."""
    found = VERDICT.findall(said)
    return found[-1].lower() == "right" if found else None
