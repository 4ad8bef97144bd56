"""The letters of a word: which, how many, how often, backwards."""

import re
from collections.abc import Callable

RULES: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"letter (\d+) of (?:the word )?(\w+)", lambda place, word: word[int(place) - 1:int(place)]),
    (r"(?:spell|write) (?:the word )?(\w+) backwards", lambda word: word[::-1]),
    (r"first letter of (?:the word )?(\w+)", lambda word: word[0]),
    (r"last letter of (?:the word )?(\w+)", lambda word: word[-1]),
    (r"how many letters has (?:the word )?(\w+)", lambda word: str(len(word))),
    (r"how often does the letter (\w) occur in \W*(\w+)", lambda letter, word: str(word.count(letter))))


def answer(query: str) -> str | None:
    """Return what the first rule that fits makes of a question, None if none does or there is no such letter."""
    for pattern, rule in RULES:
        if found := re.search(pattern, query, re.IGNORECASE):
            return rule(*found.groups()) or None
    return None
