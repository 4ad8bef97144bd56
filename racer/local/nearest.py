"""Answers by likeness: the option, or the word of a small vocabulary, whose vector is nearest to the question's."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from racer.local.facts import DEFINITIONS
from racer.serve.endpoint import Said

OPTION = re.compile(r"^([A-J])[.)] (.+)$", re.MULTILINE)
Embed = Callable[[list[str]], np.ndarray]  # texts -> vectors (n, C)


class Nearest:
    """A model that has an encoder and no rule. To a question with options it says a letter, else always some word."""

    def __init__(self, embed: Embed, count: Callable[[str], int],
                 vocabulary: Sequence[str] = tuple(word for word, _ in DEFINITIONS[::2])):
        """`count` says how many tokens a text has. The vocabulary knows every other word of the definitions."""
        self._embed, self._count, self._words = embed, count, list(vocabulary)
        self._vectors = _unit(embed(self._words))  # (W, C)

    def say(self, query: str, max_tokens: int, logprobs: bool = False) -> Said:
        options = OPTION.findall(query)
        if options:
            letters, texts = zip(*options, strict=True)
            vectors, said = _unit(self._embed(list(texts))), letters  # one token is the least that may be asked for
        else:
            vectors, said = self._vectors, self._words
        stem = _unit(self._embed([OPTION.sub("", query).strip() or query]))[0]
        text = said[int(np.argmax(vectors @ stem))]
        return Said(text, self._count(query), self._count(text))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
