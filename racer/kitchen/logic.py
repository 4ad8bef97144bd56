"""Logic: who stands where, how many statements hold, what follows. Gold answers are names, counts, yes/no/unknown."""

from itertools import pairwise

from racer.kitchen.dice import Dice
from racer.kitchen.pantry import APPLIANCES, GROUPS, NAMES
from racer.kitchen.question import Question, question

RELATIONS = (("older", "younger", "oldest"), ("taller", "shorter", "tallest"), ("faster", "slower", "fastest"),
             ("richer", "poorer", "richest"), ("louder", "quieter", "loudest"))
RANKS = ("", "second ", "third ", "fourth ")
CLAIMS = {  # how many of two appliances are on -> whether the claim holds
    "both the {} and the {} are on": lambda on: on == 2,
    "at least one of the {} and the {} is on": lambda on: on >= 1,
    "exactly one of the {} and the {} is on": lambda on: on == 1,
    "neither the {} nor the {} is on": lambda on: on == 0,
}
LAST_LINK = {"yes": "All {a}s are {b}s", "no": "No {a}s are {b}s", "unknown": "All {b}s are {a}s"}


def ordering(dice: Dice, level: int) -> Question:
    """Ask who has a rank among level + 3 people, told pair by pair; the pairs are mixed from level 1 on."""
    people = dice.sample(NAMES, level + 3)  # from most to least
    more, less, most = dice.pick(RELATIONS)
    clues = [f"{high} is {more} than {low}." if level == 0 or dice.chance(0.6) else f"{low} is {less} than {high}."
             for high, low in pairwise(people)]
    if level > 0:
        clues = dice.shuffled(clues)
    rank = dice.below(min(1 + level // 2, 3) + 1)
    ask = dice.pick(("Who is the {}{}?", "Which of them is the {}{}?", "Name the {}{} of them all."))
    others = people[:rank] + people[rank + 1:]
    others.sort(key=lambda who: abs(people.index(who) - rank))
    return question(" ".join(clues) + " " + ask.format(RANKS[rank], most), people[rank], *others)


def truth(dice: Dice, level: int) -> Question:
    """Ask how many of level + 2 statements hold, about level + 3 appliances that are on or off."""
    appliances = dice.sample(APPLIANCES, level + 3)
    on = {appliance: dice.chance(0.5) for appliance in appliances}
    facts = " ".join(f"The {a} is {'on' if on[a] else 'off'}." for a in appliances)
    claims, gold = [], 0
    for number in range(1, level + 3):
        claim, pair = dice.pick(tuple(CLAIMS)), dice.sample(appliances, 2)
        claims.append(f"({number}) {claim.format(*pair)}")
        gold += CLAIMS[claim](on[pair[0]] + on[pair[1]])
    ask = dice.pick(("How many of these statements are true?", "Count the true statements.",
                     f"{dice.pick(NAMES)} wonders how many of these hold:"))
    near = (gold + 1, gold - 1) if gold and dice.chance(0.5) else (abs(gold - 1), gold + 1)
    return question(f"{facts} {ask} {'; '.join(claims)}.", gold, *near, gold + 2)


def syllogism(dice: Dice, level: int) -> Question:
    """Ask whether someone belongs to a group: a chain of 1 to 3 links, and `level` premises that lead nowhere.

    The last link decides: all (yes), none (no), or the wrong way round (unknown, where "yes" tempts).
    """
    links, who, gold = 1 + level // 2, dice.pick(NAMES), dice.pick(tuple(LAST_LINK))
    chain = dice.sample(GROUPS, links + 1 + level)
    chain, strays = chain[:links + 1], chain[links + 1:]
    premises = [f"All {a}s are {b}s" for a, b in pairwise(chain[:-1])]
    premises.append(LAST_LINK[gold].format(a=chain[-2], b=chain[-1]))
    premises += [f"All {stray}s are {dice.pick(chain)}s" for stray in strays]
    premises = [f"{who} is a {chain[0]}", *(dice.shuffled(premises) if level > 0 else premises)]
    ask = dice.pick(("Is {} a {}?", "Does it follow that {} is a {}?", "Can we say whether {} is a {}?"))
    answers = "Answer yes, no or unknown."
    text = f"{'. '.join(premises)}. {ask.format(who, chain[-1])} {answers}"
    return question(text, gold, "unknown" if gold == "no" else "yes", "no", "unknown")
