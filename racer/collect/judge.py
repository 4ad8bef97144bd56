"""Whether a reply is right, in the eyes of a model: the prompt it gets, and the verdict in what it says."""

import re
from dataclasses import dataclass

from racer import prompts
from racer.collect.journal import Said
from racer.collect.queries import Query
from racer.errors import ConfigError
from racer.pool import Endpoint
from racer.pool import file as pool_file
from racer.pool.final import CUT

PLACES = ("{query}", "{reference}", "{answer}")
VERDICT = re.compile(r"[\s*_#]*verdict[\s*_]{0,5}:[\s*_]{0,5}(right|wrong)[\s*_.]*", re.IGNORECASE)


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


def verdict(said: Said) -> bool | None:
    """Return the verdict that is the last line of what a judge said, None where there is none.

    One that stands elsewhere, or in a reply that was cut off, may be quoted from the answer that is judged.
    """
    lines = said.reply.strip().split("\n")
    found = None if said.finish_reason in CUT else VERDICT.fullmatch(lines[-1])
    return found[1].lower() == "right" if found else None
