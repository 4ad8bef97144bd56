"""Regular expressions that a user writes, on texts that a model writes: bounded in time, for some never end.

They run by the package `regex`, whose syntax is that of Python's `re` and more.
"""

import regex

SECONDS = 0.5  # for one search, in which nothing else runs


def groups(pattern: str) -> int:
    """Return how many groups a pattern has; raise `ValueError` if it is no regular expression."""
    try:
        return regex.compile(pattern).groups
    except (regex.error, RecursionError) as error:
        raise ValueError(str(error)) from None


def findall(pattern: str, text: str) -> list:
    """Return what `re.findall` returns; raise `TimeoutError` if that takes too long."""
    return regex.findall(pattern, text, timeout=SECONDS)


def occurs(pattern: str, text: str) -> bool:
    """Return whether a pattern is found anywhere in a text; raise `TimeoutError` if that takes too long to know."""
    return regex.search(pattern, text, timeout=SECONDS) is not None
