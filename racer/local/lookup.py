"""A small table of facts, incomplete on purpose: what is asked for most, and nothing else."""

import re

from racer.kitchen.facts import COUNTRIES, ELEMENTS
from racer.local.facts import LANGUAGES, OPPOSITES, PASTS, PLURALS, TRANSLATIONS

TIERS = 3  # of the six of countries and elements, from what everyone knows on
SHARE = 0.4  # of the lists of words, from their common end


def _most(facts: tuple) -> tuple:
    return facts[:int(SHARE * len(facts))]


def _pages() -> list[tuple[str, dict[str, str]]]:
    """Return patterns of questions, each with the table that the group in it is looked up in."""
    countries = [fact for tier in COUNTRIES[:TIERS] for fact in tier]
    elements = [fact for tier in ELEMENTS[:TIERS] for fact in tier]
    return [
        (r"capital (?:city )?of (?!which)(.+?)[?.]", {country: capital for country, capital, _ in countries}),
        (r"(.+?) is the capital of which", {capital: country for country, capital, _ in countries}),
        (r"On which continent is (.+?)\?", {country: continent for country, _, continent in countries}),
        (r"chemical symbol of (\w+)", {name: symbol for name, symbol, _ in elements}),
        (r"has the symbol (\w+)", {symbol: name for name, symbol, _ in elements}),
        (r"atomic number of (\w+)", {name: str(number) for name, _, number in elements}),
        (r'opposite of "?(\w+)', {one: other for pair in _most(OPPOSITES) for one, other in (pair, pair[::-1])}),
        (r"(?:plural of |One )(\w+)", dict(_most(PLURALS))), (r"past tense of (\w+)", dict(_most(PASTS))),
        *((rf'{language} word for (\w+)|say "(\w+)" in {language}', {row[0]: row[1 + i] for row in _most(TRANSLATIONS)})
          for i, language in enumerate(LANGUAGES))]


PAGES = _pages()


def answer(query: str) -> str | None:
    """Return what the table says, None where it has no such line."""
    for pattern, table in PAGES:
        if (found := re.search(pattern, query)) and (said := table.get(found[found.lastindex])) is not None:
            return said
    return None
