"""String work: letters, reversal, short Python programs. Gold answers are lower-case text or whole numbers."""

from racer.kitchen.dice import Dice
from racer.kitchen.pantry import SYLLABLES, WORDS
from racer.kitchen.question import Question, question


def letters(dice: Dice, level: int) -> Question:
    """Ask for a count of letters, or for the letter at a place, in a phrase of level + 2 words."""
    phrase = " ".join(dice.sample(WORDS, level + 2))
    return dice.pick((_count, _place, _vowels))(dice, phrase)


def reversal(dice: Dice, level: int) -> Question:
    """Ask for a made-up word of level + 3 syllables spelled backwards, or turned about some letters."""
    word = "".join(dice.pick(SYLLABLES) for _ in range(level + 3))
    return (_turn if dice.chance(0.3) else _backwards)(dice, word)


def code(dice: Dice, level: int) -> Question:
    """Ask what a short Python program prints: slices, a loop or a list, longer as the level rises."""
    program, gold, mistakes = dice.pick((_slices, _loop, _list))(dice, level)
    ask = dice.pick(("What does this Python program print?", "Give the output of this Python code.",
                     "Run this Python in your head: what is printed?"))
    return question(f"{ask}\n{program}", gold, *mistakes)


def _count(dice: Dice, phrase: str) -> Question:
    letter = dice.pick(phrase.replace(" ", ""))
    text = dice.pick((f'How many times does the letter "{letter}" occur in "{phrase}"?',
                      f'Count the letter "{letter}" in the phrase "{phrase}".'))
    gold = phrase.count(letter)
    return question(text, gold, max(gold - 1, 1), gold + 1, gold + 2)


def _place(dice: Dice, phrase: str) -> Question:
    joined = phrase.replace(" ", "")
    at = dice.between(3, len(joined) - 2)
    text = dice.pick((f'Leave out the spaces: which is letter number {at} of "{phrase}"?',
                      f'Which letter stands at place {at} of "{phrase}", spaces not counted?'))
    near = [joined[at - 2], joined[at], joined[at - 3], joined[at + 1]]  # place `at` is joined[at - 1]
    return question(text, joined[at - 1], *near, "x", "q")


def _vowels(dice: Dice, phrase: str) -> Question:
    text = dice.pick((f'How many of the letters of "{phrase}" are vowels (a, e, i, o, u)?',
                      f'Count the vowels (a, e, i, o, u) in "{phrase}".'))
    gold = sum(map(phrase.count, "aeiou"))
    return question(text, gold, gold - 1, gold + 1, gold + 2, gold - 2)


def _swapped(word: str, at: int) -> str:
    return word[:at] + word[at + 1] + word[at] + word[at + 2:]


def _backwards(dice: Dice, word: str) -> Question:
    text = dice.pick((f'Write "{word}" backwards.', f'Spell the word "{word}" from its last letter to its first.',
                      f'What is "{word}" in reverse?', f'Reverse the string "{word}".'))
    gold = word[::-1]
    return question(text, gold, _swapped(gold, len(gold) // 2), gold[:2] + gold[3:], _swapped(gold, 1), gold + gold[-1])


def _turn(dice: Dice, word: str) -> Question:
    k = dice.between(2, 4)
    text = dice.pick((f'Move the first {k} letters of "{word}" to its end.',
                      f'Cut the first {k} letters off "{word}" and put them behind the rest. What results?'))
    gold = word[k:] + word[:k]
    return question(text, gold, word[k + 1:] + word[:k + 1], word[-k:] + word[:-k], word[k:] + word[:k][::-1],
                    word[k:], gold + gold[-1])


def _slices(dice: Dice, level: int) -> tuple[str, str, tuple]:
    terms, shown, widened = [], "", ""
    for word in dice.sample(WORDS, 1 + level // 2):
        low = dice.below(3)
        high = low + dice.between(1, 3)
        terms.append(f'"{word}"[{low}:{high}]')
        shown += word[low:high]
        widened += word[low: high + 1]  # the usual mistake: the end counted in
    a, b = dice.between(2, 9 + 2 * level), dice.between(3, 9 + 2 * level)
    program = f"print({' + '.join(terms)} + str({a} * {b}))"
    return program, f"{shown}{a * b}", (f"{widened}{a * b}", f"{shown}{a * b + 1}", f"{shown}{a}{b}", f"{shown}{a + b}")


def _loop(dice: Dice, level: int) -> tuple[str, int, tuple]:
    name, start, turns = dice.pick("abknpstuxyz"), dice.between(1, 40), dice.between(2, 2 + level)
    factor, term = dice.between(1, 2 + level // 2), dice.pick((str(dice.between(2, 30)), "i"))
    program = (f"{name} = {start}\nfor i in range({turns}):\n    {name} = {name} * {factor} + {term}\n"
               f"print({name})")
    values = [start]
    for i in range(turns + 1):
        values.append(values[-1] * factor + (i if term == "i" else int(term)))
    gold = values[turns]
    return program, gold, (values[turns + 1], values[turns - 1], gold + factor, gold - 1, gold + 1)


def _list(dice: Dice, level: int) -> tuple[str, int, tuple]:
    numbers = [dice.between(1, 30 + 20 * level) for _ in range(4 + level)]
    at = dice.between(1, len(numbers) - 2)
    ranked = sorted(numbers)
    program, gold, slip = dice.pick((
        (f"print(sum({numbers}[{at}:]))", sum(numbers[at:]), sum(numbers[at - 1:])),
        (f"print(sorted({numbers})[{at}])", ranked[at], ranked[at - 1]),
        (f"print(max({numbers}) - min({numbers}))", ranked[-1] - ranked[0], ranked[-1]),
        (f"print(len([n for n in {numbers} if n > {numbers[at]}]))", sum(n > numbers[at] for n in numbers),
         sum(n >= numbers[at] for n in numbers))))
    return program, gold, (slip, gold + numbers[0], gold + 1, gold + 2)
