"""What a member of the local pool is: a text in, a reply with its tokens out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from racer.serve.endpoint import Said

UNKNOWN = "unknown"  # what a program says to a question that it has no rule for


class Member(Protocol):
    """One model. `say` may be called from any thread; with `logprobs` it tells those of its tokens, if it has any."""

    def say(self, query: str, max_tokens: int, logprobs: bool = False) -> Said: ...


@dataclass(frozen=True)
class Program:
    """A model that is a function from a question to an answer, None where it knows none. Its tokens are words."""

    answer: Callable[[str], str | None]

    def say(self, query: str, max_tokens: int, logprobs: bool = False) -> Said:
        words = (self.answer(query) or UNKNOWN).split(" ")
        kept = words[:max_tokens]
        return Said(" ".join(kept), len(query.split()), len(kept), len(kept) < len(words))
