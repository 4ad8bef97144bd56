"""Word problems: stores and bills, percentages, rates. Gold answers are whole numbers."""

from math import prod

from racer.kitchen.dice import Dice
from racer.kitchen.pantry import DISHES, GOODS, NAMES, aside
from racer.kitchen.question import Question, question

GAINS = ("{who} buys {k} more", "{who} finds {k} more", "a neighbour brings {k} more", "{k} more are delivered")
LOSSES = ("{who} gives away {k}", "{who} sells {k}", "{k} of them go bad", "the cook uses {k}")
PRICED = ("bicycle", "stove", "sofa", "piano", "holiday", "boat", "mixer", "carpet", "lamp", "camera", "fridge", "desk")
CROWDS = ("guests at the fair", "visitors of the museum", "members of the club", "pupils of the school",
          "passengers on the ferry", "employees of the bakery", "readers of the cookbook", "fans in the stadium")
TRAITS = ("come from abroad", "wear a hat", "are left-handed", "eat no meat", "play an instrument", "have a dog")
VEHICLES = ("van", "train", "truck", "bus", "tram", "taxi", "tractor", "motorbike")


def arithmetic(dice: Dice, level: int) -> Question:
    """Ask for a store after level + 1 changes, or for a bill of level + 1 goods."""
    return dice.pick((_store, _bill))(dice, level)


def percentages(dice: Dice, level: int) -> Question:
    """Ask for an amount after 1 to 3 changes in percent, which are round numbers at even levels."""
    steps = 1 + level // 2
    amount = 20**steps * dice.between(2, (400, 80, 20)[steps - 1])  # twentieths keep every step whole
    percents = [10 * dice.between(1, 6) - 5 * (level % 2) for _ in range(steps)]
    return dice.pick((_price, _crowd))(dice, amount, percents)


def rates(dice: Dice, level: int) -> Question:
    """Ask for a distance, a filling time or a crew's time, with more legs, pumps or hands as the level rises."""
    return dice.pick((_trip, _tank, _crew))(dice, level)


def _store(dice: Dice, level: int) -> Question:
    who, goods = dice.pick(NAMES), dice.pick(GOODS)
    count = before = dice.between(12, 50 * (level + 1))
    story = [f"{who} has {count} {goods}"]
    for _ in range(level + 1):
        before, k = count, dice.between(2, 10 * (level + 1))
        if level > 1 and dice.chance(0.2):
            k = dice.between(2, 4)
            story.append(f"then the store grows to {k} times its size")
            count *= k
        elif count > k and dice.chance(0.5):
            story.append(dice.pick(LOSSES).format(who=who, k=k))
            count -= k
        else:
            story.append(dice.pick(GAINS).format(who=who, k=k))
            count += k
    if level > 2:
        story.insert(dice.between(1, level), aside(dice).rstrip("."))
    text = ". ".join(part[0].upper() + part[1:] for part in story)
    end = dice.pick(("How many {} are there now?", "How many {} are left in the end?", "Count the {} that remain."))
    return question(f"{text}. {end.format(goods)}", count, abs(2 * before - count), before, count + 10, count - 1,
                    count + 1)


def _bill(dice: Dice, level: int) -> Question:
    who, goods = dice.pick(NAMES), dice.sample(GOODS, level + 1)
    prices = [dice.between(2, 9 + 4 * level) for _ in goods]
    counts = [dice.between(2, 9 + 4 * level) for _ in goods]
    total = sum(p * c for p, c in zip(prices, counts, strict=True))
    costs = ", ".join(f"{g} cost {p} dollars each" for g, p in zip(goods, prices, strict=True))
    basket = ", ".join(f"{c} {g}" for g, c in zip(goods, counts, strict=True))
    text = f"At the market {costs}. {who} buys {basket}. "
    if level > 3:
        text += aside(dice) + " "
    if level < 2:
        return question(text + f"How many dollars does {who} pay?", total, total + prices[0], sum(prices) + sum(counts),
                        total - 1, total + 10)
    note = 50 * (total // 50 + dice.between(1, 3))
    return question(text + f"{who} pays with {note} dollars. How many dollars of change does {who} get?", note - total,
                    total, note - total + 10, note - total + prices[-1], note - total + 1)


def _price(dice: Dice, amount: int, percents: list[int]) -> Question:
    signed = [p if dice.chance(0.5) else -p for p in percents]
    moves = ", then ".join(f"{'rises' if p > 0 else 'falls'} by {abs(p)} percent" for p in signed)
    seller, thing = dice.pick(NAMES), dice.pick(PRICED)
    text = dice.pick((f"The price of a {thing} in {seller}'s shop is {amount} dollars. The price {moves}. What is it "
                      "now, in dollars?",
                      f"{seller} offers a {thing} for {amount} dollars. The offer {moves}. How many dollars does the "
                      f"{thing} cost now?"))
    whole = 100 ** len(percents)
    gold = amount * prod(100 + p for p in signed) // whole
    return question(text, gold, amount * (100 + sum(signed)) // 100, amount * prod(100 - p for p in signed) // whole,
                    amount * abs(signed[0]) // 100, gold + 10)


def _crowd(dice: Dice, amount: int, percents: list[int]) -> Question:
    crowd, traits = dice.pick(CROWDS), dice.sample(TRAITS, len(percents))
    shares = "; of these, ".join(f"{p} percent {trait}" for p, trait in zip(percents, traits, strict=True))
    who = dice.pick(NAMES)
    text = dice.pick((f"{who} counts {amount} {crowd}. Of them {shares}. How many people are in this last group?",
                      f"There are {amount} {crowd}, says {who}: {shares}. How many are in the last group?"))
    gold = amount * prod(percents) // 100 ** len(percents)
    return question(text, gold, amount * sum(percents) // 100, amount * percents[-1] // 100, amount - gold, gold + 5)


def _trip(dice: Dice, level: int) -> Question:
    legs = [(dice.between(2, 5 + level), dice.between(20, 70 + 10 * level)) for _ in range(1 + level // 2)]
    drive = ", then for ".join(f"{hours} hours at {speed} km per hour" for hours, speed in legs)
    text = f"{dice.pick(NAMES)}'s {dice.pick(VEHICLES)} runs for {drive}."
    if level % 2:
        text += f" It rests for {dice.between(2, 6)} hours before it turns back."
    gold = sum(hours * speed for hours, speed in legs)
    return question(text + " How many kilometres has it covered?", gold, gold + legs[0][1], gold - legs[-1][1],
                    sum(speed for _, speed in legs), gold + 10)


def _tank(dice: Dice, level: int) -> Question:
    minutes, pumps = dice.between(4, 12 + 8 * level), [dice.between(6, 20 + 5 * level) for _ in range(1 + level // 2)]
    leak = dice.between(2, 5) if level % 2 else 0
    volume = minutes * (sum(pumps) - leak)
    flow = " and ".join(f"one that brings {pump} litres a minute" for pump in pumps)
    loss = f" A leak loses {leak} litres a minute." if leak else ""
    text = f"{dice.pick(NAMES)} fills an empty {volume} litre tank for {dice.pick(DISHES)} through these pumps: {flow}."
    return question(f"{text}{loss} After how many minutes is it full?", minutes, volume // sum(pumps),
                    volume // pumps[0], minutes + 2, minutes - 1, minutes + 1)


def _crew(dice: Dice, level: int) -> Question:
    a, b, c, d = (dice.between(2, 4 + level) for _ in range(4))
    before, hours, now, gold = a * b, c * d, a * c, b * d  # before * hours == now * gold
    job, goods = dice.pick(("peel", "wash", "pack", "sort", "carry")), dice.pick(GOODS)
    text = f"{before} cooks {job} {dice.pick(NAMES)}'s {goods} in {hours} hours. "
    if level > 2:
        text += aside(dice) + " "
    return question(text + f"At the same pace, how many hours do {now} cooks need?", gold, hours * now // before,
                    hours, gold + 2, gold + 1)
