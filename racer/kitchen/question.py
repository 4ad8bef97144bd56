"""What a grammar hands over: a text, its gold answer, and the mistakes it invites."""

from typing import NamedTuple

from racer.kitchen.dice import Dice

LETTERS = "ABCDEFGHIJ"
MISTAKES = 4  # wrong answers kept per question


class Question(NamedTuple):
    text: str
    gold: str
    wrong: tuple[str, ...]  # 1 to MISTAKES distinct answers, none of them gold; the tempting one first


def question(text: str, gold: object, *mistakes: object) -> Question:
    """Return the question with its answers as text; `mistakes` may repeat or hit the gold, the most tempting first.

    At least one of the mistakes must differ from the gold, which `gold + 1` always does.
    """
    gold = str(gold)
    wrong = dict.fromkeys(map(str, mistakes))
    wrong.pop(gold, None)
    return Question(text, gold, tuple(wrong)[:MISTAKES])


def multiple_choice(dice: Dice, stem: str, right: object, others: list) -> Question:
    """Return the stem with up to ten lettered options in random order; `others` are wrong, the most tempting first."""
    options = dice.shuffled([right, *others])
    letter = dict(zip(options, LETTERS, strict=False))  # up to ten of the letters
    text = stem + "".join(f"\n{mark}. {option}" for option, mark in letter.items())
    return question(text, letter[right], *(letter[other] for other in others))
