"""Dates, clock times and units of measure. Gold answers are ISO dates, weekdays, HH:MM or whole numbers."""

from datetime import date, timedelta

from racer.kitchen.dice import Dice
from racer.kitchen.pantry import DISHES, NAMES, aside
from racer.kitchen.question import Question, question

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
EVENTS = ("fair", "wedding", "harvest", "concert", "exam", "delivery", "repair", "journey", "course", "festival")
SPANS = (9, 27, 80, 350, 1500, 7000)  # days, by level
FIRST, LAST = date(1950, 1, 1).toordinal(), date(2090, 12, 31).toordinal()

SCALES = (  # each from large to small, in multiples of its smallest unit; those of level 0 come first
    (("kilometres", 1_000_000), ("metres", 1000), ("centimetres", 10), ("millimetres", 1)),
    (("tonnes", 1_000_000_000), ("kilograms", 1_000_000), ("grams", 1000), ("milligrams", 1)),
    (("hectolitres", 100_000), ("litres", 1000), ("centilitres", 10), ("millilitres", 1)),
    (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)),
    (("miles", 63_360), ("yards", 36), ("feet", 12), ("inches", 1)),
    (("US gallons", 16), ("US quarts", 4), ("US pints", 2), ("US cups", 1)),
    (("stone", 224), ("pounds", 16), ("ounces", 1)),
    (("fortnights", 336), ("weeks", 168), ("days", 24), ("hours", 1)),
)


def dates(dice: Dice, level: int) -> Question:
    """Ask for a date, a number of days or a weekday, over spans from days to decades."""
    days = dice.between(2 + SPANS[level] // 5, SPANS[level])
    start = date.fromordinal(dice.between(FIRST, LAST))
    return dice.pick((_later, _earlier, _days_between, _weekday))(dice, start, days)


def clock(dice: Dice, level: int) -> Question:
    """Ask when something is over: more stages, odder minutes and, from level 4, another time zone."""
    return (_flight if level > 3 and dice.chance(0.5) else _timer)(dice, level)


def units(dice: Dice, level: int) -> Question:
    """Ask for a measure in a smaller unit: one part and one step at level 0, up to four parts and three steps at 5."""
    scale = dice.pick(SCALES[:4] if level == 0 else SCALES)
    steps = min(1 + level // 2, len(scale) - 1)
    top = dice.below(len(scale) - steps)
    rungs = scale[top: top + steps + level % 2]  # at odd levels the last part is in the target unit already
    amounts = [dice.between(2, 60 + 40 * level), *(dice.between(2, 12) for _ in rungs[1:])]
    target, size = scale[top + steps]
    gold = sum(amount * unit_size for amount, (_, unit_size) in zip(amounts, rungs, strict=True)) // size
    measure = " and ".join(f"{amount} {unit}" for amount, (unit, _) in zip(amounts, rungs, strict=True))
    who, dish = dice.pick(NAMES), dice.pick(DISHES)
    text = dice.pick((f"In {who}'s notes on the {dish} stands: {measure}. How many {target} is that?",
                      f"Convert {measure} to {target}, says {who} over the {dish}.",
                      f"{who} asks, waiting for the {dish}: how many {target} make {measure}?"))
    return question(text, gold, amounts[0] * rungs[0][1] // size, gold * 10, gold // 2, gold + amounts[0], gold + 1)


def _say(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _around(day: date) -> list[str]:
    return [(day + timedelta(days=shift)).isoformat() for shift in (1, -1, 2, 31)]


def _later(dice: Dice, start: date, days: int) -> Question:
    who, event = dice.pick(NAMES), dice.pick(EVENTS)
    text = dice.pick((f"{who}'s {event} begins on {_say(start)} and ends {days} days later. On which date does it end?",
                      f"Today is {_say(start)}. {who}'s {event} is in {days} days. Which date is that?"))
    end = start + timedelta(days=days)
    return question(f"{text} Answer as YYYY-MM-DD.", end, *_around(end))


def _earlier(dice: Dice, end: date, days: int) -> Question:
    who, event = dice.pick(NAMES), dice.pick(EVENTS)
    text = dice.pick((f"{who} must order {days} days before the {event} on {_say(end)}. Which date is that?",
                      f"What date was it {days} days before {who}'s {event} on {_say(end)}?"))
    start = end - timedelta(days=days)
    return question(f"{text} Answer as YYYY-MM-DD.", start, *_around(start))


def _days_between(dice: Dice, start: date, days: int) -> Question:
    end = start + timedelta(days=days)
    text = dice.pick((f"How many days pass from {_say(start)} to {_say(end)}?",
                      f"{dice.pick(NAMES)} leaves on {_say(start)} and returns on {_say(end)}. How many days later is "
                      "that?"))
    return question(text, days, days + 1, days - 1, days + 2, days + 30)


def _weekday(dice: Dice, start: date, days: int) -> Question:
    end = start + timedelta(days=days)
    text = (f"{_say(start)} is a {WEEKDAYS[start.weekday()]}. On which day of the week falls {dice.pick(NAMES)}'s "
            f"{dice.pick(EVENTS)} on {_say(end)}?")
    near = [WEEKDAYS[(end.weekday() + shift) % 7] for shift in (1, 6, 2, 5)]
    return question(text, WEEKDAYS[end.weekday()], *near)


def _time(minutes: int) -> str:
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _timer(dice: Dice, level: int) -> Question:
    grain = 5 if level < 2 else 1
    start = grain * dice.below(1440 // grain)
    stages = [grain * dice.between(10 // grain, (55 + 35 * level) // grain) for _ in range(1 + level // 2)]
    who, dish = dice.pick(NAMES), dice.pick(DISHES)
    work = dice.pick((f"{who} starts a {dish} at {_time(start)}. It takes ",
                      f"At {_time(start)} {who} begins with the {dish}, which needs "))
    text = work + ", then another ".join(f"{stage} minutes" for stage in stages) + ". "
    if level > 2:
        text += aside(dice) + " "
    end = start + sum(stages)
    return question(text + "At what time (HH:MM) is it ready?", _time(end), _time(end - 60), _time(end + 10),
                    _time(end - stages[-1]), _time(end + 1))


def _flight(dice: Dice, level: int) -> Question:
    start, hours, minutes = dice.below(1440), dice.between(3, 3 + 2 * level), dice.between(1, 59)
    zone = dice.between(2, 10)
    ahead = dice.chance(0.5)
    text = (f"{dice.pick(NAMES)} takes off at {_time(start)} local time and flies for {hours} hours and {minutes} "
            f"minutes. Clocks at the destination are {zone} hours {'ahead' if ahead else 'behind'}. What is the local "
            "time (HH:MM) on landing?")
    landing = start + 60 * hours + minutes
    shift = 60 * zone if ahead else -60 * zone
    return question(text, _time(landing + shift), _time(landing - shift), _time(landing), _time(landing + shift + 60),
                    _time(landing + shift - 10))
