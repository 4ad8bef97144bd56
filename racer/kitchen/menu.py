"""Which queries there are: tasks, their skills, and n distinct questions."""

import numpy as np

from racer.kitchen import dates_and_units, general, logic, strings, word_problems
from racer.kitchen.dice import Dice
from racer.kitchen.question import Question

TASKS = {
    "word_problems": (word_problems.arithmetic, word_problems.percentages, word_problems.rates),
    "dates_and_units": (dates_and_units.dates, dates_and_units.clock, dates_and_units.units),
    "strings": (strings.letters, strings.reversal, strings.code),
    "logic": (logic.ordering, logic.truth, logic.syllogism),
    "general": (general.geography, general.science, general.nature),
}
GRAMMARS = tuple(grammar for grammars in TASKS.values() for grammar in grammars)
SKILLS = tuple(grammar.__name__ for grammar in GRAMMARS)
TASK_OF_SKILL = np.array([task for task, grammars in TASKS.items() for _ in grammars], dtype=object)  # (skills,)
LEVELS = 6  # 0 is easy, 5 is hard


def write(rng: np.random.Generator, n: int) -> tuple[list[Question], np.ndarray, np.ndarray]:
    """Return n questions with pairwise different texts, their skill (n,) as an index of SKILLS, and their level (n,).

    Skill and level are uniform. A text that has been drawn before is dropped and the next one is drawn from all
    grammars, so small grammars give way to roomy ones when n grows into the millions.
    """
    dice = Dice(rng)
    drawn: dict[str, tuple[Question, int, int]] = {}
    while len(drawn) < n:
        skill, level = dice.below(len(GRAMMARS)), dice.below(LEVELS)
        asked = GRAMMARS[skill](dice, level)
        drawn.setdefault(asked.text, (asked, skill, level))
    questions, skills, levels = zip(*drawn.values(), strict=True)
    return list(questions), np.array(skills), np.array(levels)
