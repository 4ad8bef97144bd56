"""General knowledge, multiple choice: places, elements, animals. Gold answers are letters, A-D up to A-J."""

from racer.kitchen.dice import Dice
from racer.kitchen.facts import ANIMALS, COUNTRIES, ELEMENTS
from racer.kitchen.pantry import NAMES
from racer.kitchen.question import Question, multiple_choice

OPTIONS = (4, 4, 5, 6, 8, 10)  # by level: the rarer the topic, the more options too
AN = {"mammal": "a mammal", "bird": "a bird", "fish": "a fish", "reptile": "a reptile", "amphibian": "an amphibian",
      "insect": "an insect"}


def geography(dice: Dice, level: int) -> Question:
    """Ask for a capital, its country, or a country of a continent, rarer as the level rises."""
    return dice.pick((_capital, _country, _continent))(dice, level)


def science(dice: Dice, level: int) -> Question:
    """Ask for a symbol, its element, or an atomic number, rarer as the level rises."""
    return dice.pick((_symbol, _element, _atomic_number))(dice, level)


def nature(dice: Dice, level: int) -> Question:
    """Ask which animal belongs to a class, or which one does not, rarer as the level rises."""
    return dice.pick((_member, _stranger))(dice, level)


def _look_up(dice: Dice, tiers: tuple, level: int, given: int, asked: int, stems: tuple[str, ...]) -> Question:
    """Lead from one field of a row of facts to another, among rows of its tier and the next lower one."""
    known = dice.pick(tiers[level])
    near = [row[asked] for tier in tiers[max(level - 1, 0): level + 1] for row in tier if row is not known]
    stem = dice.pick(stems).format(known[given])
    return multiple_choice(dice, stem, known[asked], dice.sample(near, OPTIONS[level] - 1))


def _capital(dice: Dice, level: int) -> Question:
    stems = "What is the capital of {}?", "Which city is the capital of {}?", "Name the capital of {}."
    return _look_up(dice, COUNTRIES, level, 0, 1, stems)


def _country(dice: Dice, level: int) -> Question:
    stems = "{} is the capital of which country?", "Which country has {} as its capital?"
    return _look_up(dice, COUNTRIES, level, 1, 0, stems)


def _symbol(dice: Dice, level: int) -> Question:
    stems = "What is the chemical symbol of {}?", "Which symbol stands for {} in the periodic table?"
    return _look_up(dice, ELEMENTS, level, 0, 1, stems)


def _element(dice: Dice, level: int) -> Question:
    stems = "Which element has the chemical symbol {}?", "{} is the symbol of which chemical element?"
    return _look_up(dice, ELEMENTS, level, 1, 0, stems)


def _continent(dice: Dice, level: int) -> Question:
    known = dice.pick(COUNTRIES[level])
    near = COUNTRIES[max(level - 2, 0): level + 1]
    elsewhere = [name for tier in near for name, _, where in tier if where != known[2]]
    others = dice.sample(elsewhere, OPTIONS[level] - 1)
    stem = dice.pick(("Which of these countries lies in {}?", "Which country belongs to {}?"))
    return multiple_choice(dice, stem.format(known[2]), known[0], others)


def _atomic_number(dice: Dice, level: int) -> Question:
    name, _, number = dice.pick(ELEMENTS[level])
    others = [n for n in dice.shuffled(range(max(1, number - 6), number + 7)) if n != number]
    stem = dice.pick(("What is the atomic number of {}?", "How many protons has an atom of {}?"))
    return multiple_choice(dice, stem.format(name), number, others[:OPTIONS[level] - 1])


def _member(dice: Dice, level: int) -> Question:
    """One animal of the class among animals of other classes."""
    kind = dice.pick(tuple(AN))
    strangers = [a for tier in ANIMALS[max(level - 1, 0): level + 1] for k in AN if k != kind for a in tier[k]]
    who = dice.pick(NAMES)
    stem = dice.pick((f"Which of these animals is {AN[kind]}?", f"{who} looks for {AN[kind]}. Which is one?"))
    return multiple_choice(dice, stem, dice.pick(ANIMALS[level][kind]), dice.sample(strangers, OPTIONS[level] - 1))


def _stranger(dice: Dice, level: int) -> Question:
    """One animal of another class among animals of the class."""
    kind, other = dice.sample(tuple(AN), 2)
    members = [a for tier in ANIMALS[max(level - 3, 0): level + 2] for a in tier[kind]]
    others = dice.sample(members, min(OPTIONS[level], len(members) + 1) - 1)
    stem = dice.pick((f"Which of these animals is not {AN[kind]}?",
                      f"{dice.pick(NAMES)} lists animals. All but one are alike: which is not {AN[kind]}?"))
    return multiple_choice(dice, stem, dice.pick(ANIMALS[level][other]), others)
