"""Dates written as "3 May 1990", and measures of the metric system and of time. It knows no inches and no ounces."""

import calendar
import re
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction

MONTHS, WEEKDAYS = list(calendar.month_name), list(calendar.day_name)
DATE = re.compile(rf"\b(\d{{1,2}}) ({'|'.join(MONTHS[1:])}) (\d{{4}})\b")
MEASURES = (  # of one kind each: unit -> how many of the smallest
    {"kilometres": 1_000_000, "metres": 1000, "centimetres": 10, "millimetres": 1},
    {"tonnes": 1_000_000, "kilograms": 1000, "grams": 1}, {"litres": 1000, "millilitres": 1},
    {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1})


def answer(query: str) -> str | None:
    """Return what the first rule that fits makes of a question, None if none does."""
    try:
        return next((said for rule in RULES if (said := rule(query)) is not None), None)
    except (ValueError, OverflowError):  # the 31st of June, the year 20000
        return None


def _dates(query: str) -> list[date]:
    return [date(int(year), MONTHS.index(month), int(day)) for day, month, year in DATE.findall(query)]


def _weekday(query: str) -> str | None:
    days = _dates(query)
    return WEEKDAYS[days[0].weekday()] if "day of the week" in query and len(days) == 1 else None


def _between(query: str) -> str | None:
    days = _dates(query)
    return str(abs((days[1] - days[0]).days)) if "how many days" in query.casefold() and len(days) == 2 else None


def _later(query: str) -> str | None:
    found, days = re.search(r"(\d+) days (after|before)", query), _dates(query)
    if not found or len(days) != 1:
        return None
    shift = timedelta(days=int(found[1]))
    return (days[0] + (shift if found[2] == "after" else -shift)).isoformat()


def _length(query: str) -> str | None:
    found = re.search(rf"How many days has ({'|'.join(MONTHS[1:])}) (\d{{4}})", query)
    return str(calendar.monthrange(int(found[2]), MONTHS.index(found[1]))[1]) if found else None


def _leap(query: str) -> str | None:
    found = re.search(r"(\d{4}) a leap year", query)
    return ("yes" if calendar.isleap(int(found[1])) else "no") if found else None


def _converted(query: str) -> str | None:
    found = re.search(r"[Hh]ow many (\w+) are (?:there in )?(\d+(?:\.\d+)?) (\w+)", query)
    for kind in MEASURES:
        if found and found[1] in kind and found[3] in kind:
            value = Fraction(found[2]) * kind[found[3]] / kind[found[1]]
            return str(value) if value.denominator == 1 else f"{float(value):.10g}"
    return None


RULES: tuple[Callable[[str], str | None], ...] = (_weekday, _between, _later, _length, _leap, _converted)
