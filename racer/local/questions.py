"""Questions to the local pool, task by task: facts are asked all, sums and dates are drawn."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from racer.kitchen.dates_and_units import MONTHS, WEEKDAYS
from racer.kitchen.dice import Dice
from racer.kitchen.facts import ANIMALS, COUNTRIES, ELEMENTS
from racer.kitchen.pantry import NAMES
from racer.kitchen.question import LETTERS
from racer.local.facts import DEFINITIONS, LANGUAGES, OPPOSITES, PASTS, PLURALS, TRANSLATIONS

SPELT = {"Brasilia": "Bras[ií]lia", "Bogota": "Bogot[aá]", "Asuncion": "Asunci[oó]n", "Reykjavik": "Reykjav[ií]k",
         "Chisinau": "Chi[sș]in[aă]u", "Lome": "Lom[eé]", "N'Djamena": "N['’]Djamena", "sulfur": "sul(?:f|ph)ur",
         "aluminium": "alumini?um"}  # names that are right in more than one spelling
TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
METRIC = (("kilometres", "metres", 1000), ("metres", "centimetres", 100), ("centimetres", "millimetres", 10),
          ("kilograms", "grams", 1000), ("tonnes", "kilograms", 1000), ("litres", "millilitres", 1000),
          ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7))
OTHERS = (("feet", "inches", 12), ("yards", "feet", 3), ("pounds", "ounces", 16), ("gallons", "quarts", 4),
          ("dozen", "eggs", 12), ("decades", "years", 10), ("centuries", "years", 100), ("years", "months", 12))
THINGS = ("apples", "books", "coins", "eggs", "stamps", "marbles", "pens", "cards")


class Question(NamedTuple):
    query: str
    reference: str
    grader: str = "exact"


def countries(dice: Dice) -> Iterator[Question]:
    """Ask for capitals, for their countries and for continents."""
    for country, capital, continent in (fact for tier in COUNTRIES for fact in tier):
        yield _named(dice.pick((f"What is the capital of {country}?", f"Name the capital city of {country}.")), capital)
        yield Question(f"{capital} is the capital of which country?", country)
        yield Question(f"On which continent is {country}?", continent)


def elements(dice: Dice) -> Iterator[Question]:
    """Ask for symbols, names and atomic numbers."""
    for name, symbol, number in (fact for tier in ELEMENTS for fact in tier):
        yield Question(f"What is the chemical symbol of {name}?", symbol)
        yield _named(f"Which chemical element has the symbol {symbol}?", name)
        yield Question(f"What is the atomic number of {name}?", str(number))


def opposites(dice: Dice) -> Iterator[Question]:
    for one, other in (pair for both in OPPOSITES for pair in (both, both[::-1])):
        yield Question(dice.pick((f"What is the opposite of {one}?", f'Which word is the opposite of "{one}"?')), other)


def word_forms(dice: Dice) -> Iterator[Question]:
    """Ask for plurals and for simple pasts."""
    for one, many in PLURALS:
        yield Question(dice.pick((f"What is the plural of {one}?", f"One {one}, many what?")), many)
    for verb, past in PASTS:
        yield Question(f"What is the past tense of {verb}?", past)


def translations(dice: Dice) -> Iterator[Question]:
    for english, *others in TRANSLATIONS:
        for language, word in zip(LANGUAGES, others, strict=True):
            yield Question(dice.pick((f"What is the {language} word for {english}?",
                                      f'How do you say "{english}" in {language}?')), word)


def animals(dice: Dice) -> Iterator[Question]:
    """Ask which of four classes an animal is of, by letter."""
    for animal, kind in ((a, kind) for tier in ANIMALS for kind, names in tier.items() for a in names):
        others = dice.sample([k for k in ANIMALS[0] if k != kind], 3)
        yield _choice(dice, f"What kind of animal is the {animal}?", kind, others)


def definitions(dice: Dice) -> Iterator[Question]:
    """Ask which of four words is meant, by letter."""
    for word, meaning in DEFINITIONS:
        others = dice.sample([w for w, _ in DEFINITIONS if w != word], 3)
        yield _choice(dice, f"Which word means: {meaning}?", word, others)


def meanings(dice: Dice) -> Iterator[Question]:
    """Ask for the word itself."""
    for word, meaning in DEFINITIONS:
        yield Question(f"What do we call {meaning}?", word)


def sums(dice: Dice) -> Question:
    top = dice.pick((9, 9, 20, 99, 999, 9999))
    a, b, c = (dice.between(1, top) for _ in range(3))
    if top <= 99 and dice.chance(0.25):
        return _number(f"What is {_spoken(a)} plus {_spoken(b)}?", a + b)
    low, high = min(a, b), max(a, b)
    return _number(*dice.pick((
        (f"What is {a} plus {b}?", a + b), (f"What is {high} minus {low}?", high - low), (f"{a} + {b} = ?", a + b),
        (f"Add {a} and {b}.", a + b), (f"Calculate {a} + {b} - {c}.", a + b - c),
        (f"Take {low} away from {high}. What is left?", high - low))))


def products(dice: Dice) -> Question:
    top = dice.pick((9, 9, 20, 99, 999))
    a, b, c = dice.between(2, top), dice.between(2, top), dice.between(2, 9)
    if top <= 99 and dice.chance(0.25):
        return _number(f"What is {_spoken(a)} times {_spoken(b)}?", a * b)
    return _number(*dice.pick((
        (f"What is {a} times {b}?", a * b), (f"{a} * {b} = ?", a * b), (f"Multiply {a} by {b}.", a * b),
        (f"What is {a * b} divided by {b}?", a), (f"What is {5 * c} % of {20 * a}?", a * c),
        (f"Calculate ({a} + {b}) * {c}.", (a + b) * c), (f"What is half of {2 * a}?", a))))


def word_problems(dice: Dice) -> Question:
    """Tell of buying and giving away, in one step or two."""
    who, other = dice.sample(NAMES, 2)
    things, top = dice.pick(THINGS), dice.pick((9, 20, 60))
    b, c = dice.between(2, top), dice.between(2, 9)
    a = b + dice.between(2, top)
    return _number(*dice.pick((
        (f"{who} has {a} {things} and gets {b} more. How many {things} has {who} now?", a + b),
        (f"{who} has {a} {things} and gives {b} of them to {other}. How many {things} are left?", a - b),
        (f"{who} packs {b} {things} into each of {c} bags. How many {things} are packed?", b * c),
        (f"{who} has {a} {things}, loses {b} and finds {c}. How many {things} has {who} now?", a - b + c),
        (f"{who} has {b} {things}, {other} has {c} more than {who}. How many have both together?", 2 * b + c))))


def sequences(dice: Dice) -> Question:
    start, step = dice.between(1, dice.pick((5, 30, 200))), dice.between(1, dice.pick((3, 9, 25)))
    shown = dice.pick((
        [start + i * step for i in range(6)], [start + (5 - i) * step for i in range(6)],
        [start * 2 ** i for i in range(6)], [(start + i) ** 2 for i in range(6)], [step * i for i in range(1, 7)]))
    return _number(f"Which number comes next: {', '.join(map(str, shown[:-1]))}?", shown[-1])


def comparisons(dice: Dice) -> Question:
    """Ask which of two numbers is larger or smaller."""
    if dice.chance(0.4):  # as "9.9 or 9.11": more digits are not more
        whole, tenth = dice.between(1, 30), dice.between(2, 9)
        low, high = f"{whole}.{dice.between(1, tenth - 1)}{dice.between(1, 9)}", f"{whole}.{tenth}"
    else:
        top = dice.pick((20, 500, 9999))
        a = dice.between(1, top)
        low, high = str(a), str(a + dice.between(1, top))
    one, two = dice.shuffled((low, high))
    word, right = dice.pick((("larger", high), ("smaller", low)))
    return Question(f"Which number is {word}, {one} or {two}?", right, "numeric")


def dates(dice: Dice) -> Question:
    """Ask for weekdays, dates, lengths of time and the order of days and months; numbers stand as digits or words."""
    day = date(1900, 1, 1) + timedelta(days=dice.below(56000))
    days = dice.between(2, dice.pick((20, 300, 3000)))
    later = day + timedelta(days=days)
    month, weekday, step = dice.below(12), dice.below(7), dice.between(1, 5)
    return dice.pick((
        Question(f"On which day of the week was {_said(day)}?", WEEKDAYS[day.weekday()]),
        Question(f"How many days are there from {_said(day)} to {_said(later)}?", str(days)),
        Question(f"Which date is {days} days after {_said(day)}? Answer as YYYY-MM-DD.", later.isoformat()),
        Question(f"If today is {WEEKDAYS[weekday]}, which day is it in {_spoken(step)} days?",
                 WEEKDAYS[(weekday + step) % 7]),
        Question(f"Which month comes {_spoken(step)} months after {MONTHS[month]}?", MONTHS[(month + step) % 12]),
        Question(f"How many days has {MONTHS[month]} {day.year}?", str(_length(day.year, month + 1))),
        Question(f"Was {day.year} a leap year?", "yes" if _length(day.year, 2) == 29 else "no")))


def units(dice: Dice) -> Question:
    large, small, size = dice.pick(METRIC if dice.chance(0.75) else OTHERS)
    a = dice.between(1, dice.pick((3, 12, 90)))
    if small == "eggs" or dice.chance(0.7):
        return _number(dice.pick((f"How many {small} are {a} {large}?", f"How many {small} are there in {a} {large}?")),
                       a * size)
    return _number(f"How many {large} are {a * size} {small}?", a)


def letters(dice: Dice) -> Question:
    """Ask for letters of a word, for their number, or for the word backwards."""
    word = dice.pick([word for word, _ in DEFINITIONS])
    place, letter = dice.between(1, min(len(word), 9)), dice.pick(word)
    return dice.pick((
        Question(f"Which is letter {place} of the word {word}?", word[place - 1]),
        Question(f"Spell the word {word} backwards.", word[::-1]),
        Question(f"What is the first letter of {word}?", word[0]),
        Question(f"With which letter ends the word {word}?", word[-1]),
        Question(f"How many letters has the word {word}?", str(len(word))),
        Question(f'How often does the letter {letter} occur in "{word}"?', str(word.count(letter)))))


ALL: dict[str, Callable[[Dice], Iterator[Question]]] = {
    one.__name__: one for one in (countries, elements, opposites, word_forms, translations, animals, definitions,
                                  meanings)}
DRAWN: dict[str, Callable[[Dice], Question]] = {
    one.__name__: one for one in (sums, products, comparisons, dates, units, letters, word_problems, sequences)}
HARD = ("word_problems", "sequences")  # nobody here can do them: a few are asked all the same, a quarter of the others


def _named(query: str, name: str) -> Question:
    return Question(query, f"(?i)^\\W*{SPELT[name]}\\W*$", "regex") if name in SPELT else Question(query, name)


def _number(query: str, value: int) -> Question:
    return Question(query, str(value), "numeric")


def _choice(dice: Dice, stem: str, right: str, others: list[str]) -> Question:
    options = dice.shuffled([right, *others])
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return Question(stem + listed, LETTERS[options.index(right)], "choice")


def _spoken(number: int) -> str:
    """Return a whole number below 100 in words."""
    if number < 20:
        return SMALL[number]
    return TENS[number // 10] + (f"-{SMALL[number % 10]}" if number % 10 else "")


def _said(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _length(year: int, month: int) -> int:
    """Return how many days the month has."""
    return (date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days
