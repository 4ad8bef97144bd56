"""How a grammar makes its small random choices, a million queries at a time."""

from collections.abc import Iterator, Sequence

import numpy as np


def _uniforms(rng: np.random.Generator) -> Iterator[float]:
    while True:  # in blocks, because one numpy draw at a time costs more than a whole query
        yield from rng.random(4096).tolist()


class Dice:
    """Random choices for one query after another, fixed by the generator handed in."""

    def __init__(self, rng: np.random.Generator):
        self._next = _uniforms(rng).__next__

    def below(self, end: int) -> int:
        """Return a whole number in [0, end)."""
        return int(self._next() * end)

    def between(self, low: int, high: int) -> int:
        """Return a whole number in [low, high], both ends included."""
        return low + int(self._next() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._next() < probability

    def pick(self, options: Sequence):
        """Return one of the options."""
        return options[int(self._next() * len(options))]

    def sample(self, options: Sequence, k: int) -> list:
        """Return k of the options in random order, no position twice."""
        deck = list(options)
        for i in range(k):
            j = i + int(self._next() * (len(deck) - i))
            deck[i], deck[j] = deck[j], deck[i]
        return deck[:k]

    def shuffled(self, options: Sequence) -> list:
        """Return all the options in random order."""
        return self.sample(options, len(options))
