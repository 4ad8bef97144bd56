"""The kitchen: gold answers solved again from the text alone, and statistics near those of real tables."""

import contextlib
import io
import re
import subprocess
import sys
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

import numpy as np
import pytest

from racer.errors import ConfigError
from racer.kitchen import CHEFS, TASKS, generate, menu
from racer.kitchen.dice import Dice
from racer.kitchen.facts import ANIMALS, COUNTRIES, ELEMENTS
from racer.kitchen.menu import GRAMMARS, LEVELS
from racer.kitchen.question import MISTAKES, Question
from racer.table import SPLITS

GRAMMAR = {grammar.__name__: grammar for grammar in GRAMMARS}


@pytest.fixture(scope="module")
def table():
    return generate(20_000, seed=1)


def asked(grammar, per_level: int = 150) -> list:
    dice = Dice(np.random.default_rng(7))
    return [grammar(dice, level) for level in range(LEVELS) for _ in range(per_level)]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


# ---- solvers: from the text to the answer, sharing nothing with the grammars ----

def solve_arithmetic(text: str) -> int:
    if text.startswith("At the market"):
        price = {goods: int(cost) for goods, cost in re.findall(r"(\w+) cost (\d+) dollars each", text)}
        basket = re.search(r"buys ([^.]*)\.", text)[1]
        bill = sum(int(count) * price[goods] for count, goods in re.findall(r"(\d+) (\w+)", basket))
        note = re.search(r"pays with (\d+)", text)
        return int(note[1]) - bill if note else bill
    first, *events = text.split(". ")[:-1]
    count = numbers(first)[0]
    for event in events:
        k = numbers(event)
        if "times its size" in event:
            count *= k[0]
        elif re.search("buys|finds|brings|delivered", event):
            count += k[0]
        elif re.search("gives away|sells|go bad|[Tt]he cook uses", event):
            count -= k[0]
    return count


def solve_percentages(text: str) -> Fraction:
    amount = Fraction(re.search(r"(\d+) (?!percent)", text)[1])
    for sense, percent in re.findall(r"(rises by |falls by |)(\d+) percent", text):
        share = Fraction(int(percent), 100)
        amount *= {"rises by ": 1 + share, "falls by ": 1 - share, "": share}[sense]
    return amount


def solve_rates(text: str) -> Fraction:
    if "kilometres" in text:
        return sum(int(hours) * int(speed) for hours, speed in re.findall(r"(\d+) hours at (\d+) km", text))
    if "tank" in text:
        flow = sum(map(int, re.findall(r"brings (\d+) litres", text)))
        leak = sum(map(int, re.findall(r"loses (\d+) litres", text)))
        return Fraction(int(re.search(r"(\d+) litre tank", text)[1]), flow - leak)
    cooks, hours = re.search(r"^(\d+) cooks .* in (\d+) hours", text).groups()
    return Fraction(int(cooks) * int(hours), int(re.search(r"how many hours do (\d+) cooks", text)[1]))


def solve_dates(text: str) -> str:
    days = [datetime.strptime(day, "%d %B %Y") for day in re.findall(r"\d+ [A-Z][a-z]+ \d{4}", text)]
    if len(days) == 2:
        return f"{days[1]:%A}" if "day of the week" in text else str((days[1] - days[0]).days)
    shift = timedelta(days=int(re.search(r"(\d+) days", text)[1]))
    return f"{days[0] - shift if 'days before' in text else days[0] + shift:%Y-%m-%d}"


def solve_clock(text: str) -> str:
    end = datetime.strptime(re.search(r"\d\d:\d\d", text)[0], "%H:%M")
    for count, unit in re.findall(r"(\d+) (minutes|hours and)", text):
        end += timedelta(minutes=int(count)) if unit == "minutes" else timedelta(hours=int(count))
    for zone, sense in re.findall(r"(\d+) hours (ahead|behind)", text):
        end += timedelta(hours=int(zone) if sense == "ahead" else -int(zone))
    return f"{end:%H:%M}"


SI = {"kilometres": 1000, "metres": 1, "centimetres": Fraction(1, 100), "millimetres": Fraction(1, 1000),
      "tonnes": 10**6, "kilograms": 1000, "grams": 1, "milligrams": Fraction(1, 1000),
      "hectolitres": 100, "litres": 1, "centilitres": Fraction(1, 100), "millilitres": Fraction(1, 1000),
      "fortnights": 14 * 24 * 3600, "weeks": 7 * 24 * 3600, "days": 24 * 3600, "hours": 3600, "minutes": 60,
      "seconds": 1, "miles": 1760 * 3 * 12, "yards": 3 * 12, "feet": 12, "inches": 1, "US gallons": 4 * 2 * 2,
      "US quarts": 2 * 2, "US pints": 2, "US cups": 1, "stone": 14 * 16, "pounds": 16, "ounces": 1}


def solve_units(text: str) -> Fraction:
    measure = sum(int(count) * SI[unit] for count, unit in re.findall(r"(\d+) ((?:US )?[a-z]+)", text))
    return measure / Fraction(SI[re.search(r"(?:[Hh]ow many|\bto) ((?:US )?[a-z]+)", text)[1]])


def solve_letters(text: str) -> str:
    *letter, phrase = re.findall(r'"([^"]*)"', text)
    if letter:
        return str(sum(mark == letter[0] for mark in phrase))
    if "vowels" in text:
        return str(len(re.findall("[aeiou]", phrase)))
    return [mark for mark in phrase if mark != " "][numbers(text)[0] - 1]


def solve_reversal(text: str) -> str:
    word = re.search(r'"(\w+)"', text)[1]
    marks = list(word)
    for _ in range(numbers(text)[0] if numbers(text) else 0):
        marks.append(marks.pop(0))
    return "".join(marks if numbers(text) else reversed(marks))


def solve_code(text: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(text.split("\n", 1)[1], {})
    return printed.getvalue().strip()


def solve_ordering(text: str) -> str:
    above = {}  # person -> those said, or implied, to rank higher
    for a, relation, b in re.findall(r"(\w+) is (\w+) than (\w+)", text):
        low, high = (a, b) if relation in ("younger", "shorter", "slower", "poorer", "quieter") else (b, a)
        above.setdefault(low, set()).add(high)
        above.setdefault(high, set())
    for _ in above:
        above = {who: higher.union(*(above[other] for other in higher)) for who, higher in above.items()}
    rank = next((i for i, word in enumerate(("second", "third", "fourth"), 1) if word in text), 0)
    (who,) = [who for who, higher in above.items() if len(higher) == rank]
    return who


def solve_truth(text: str) -> int:
    on = {thing: state == "on" for thing, state in re.findall(r"The (\w+) is (on|off)\.", text)}
    holds = {"both": lambda a, b: a and b, "at least": lambda a, b: a or b, "exactly": lambda a, b: a != b,
             "neither": lambda a, b: not (a or b)}
    claims = re.findall(r"\) (both|at least|exactly|neither)[a-z ]*? the (\w+) (?:and|nor) the (\w+)", text)
    assert len(claims) == text.count("(")
    return sum(holds[how](on[a], on[b]) for how, a, b in claims)


def solve_syllogism(text: str) -> str:
    who, first = re.match(r"(\w+) is a (\w+)\.", text).groups()
    asked_of = re.search(rf"{who} is a (\w+)\?|Is {who} a (\w+)\?", text)
    target = asked_of[1] or asked_of[2]
    groups = {first}
    for _ in range(text.count("All ")):
        groups |= {b for a, b in re.findall(r"All (\w+)s are (\w+)s", text) if a in groups}
    barred = {b for a, b in re.findall(r"No (\w+)s are (\w+)s", text) if a in groups}
    return "yes" if target in groups else "no" if target in barred else "unknown"


PERIODIC_TABLE = re.findall(
    r"\w+",
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U")


def facts_about(text: str) -> set[str]:
    """Return everything that is true of the subject of a general question."""
    stem = text.split("\n")[0]
    rows = [row for tier in COUNTRIES + ELEMENTS for row in tier]
    kin = [{kind, *animals} for tier in ANIMALS for kind, animals in tier.items()]
    if "animals" in stem or "looks for" in stem:
        kind = re.search("mammal|bird|fish|reptile|amphibian|insect", stem)[0]
        alike = set().union(*(group for group in kin if kind in group))
        return set().union(*kin) - alike if " not " in stem else alike
    if "lies in" in stem or "belongs to" in stem:
        return {row[0] for row in rows if stem.endswith(f" {row[2]}?")}
    return {str(field) for row in rows if any(re.search(rf"(^| ){re.escape(str(f))}( |\?|\.|$)", stem) for f in row[:2])
            for field in row}


def solve_choice(text: str) -> str:
    true = facts_about(text)
    (letter,) = [mark for mark, option in re.findall(r"\n([A-J])\. (.*)", text) if option in true]
    return letter


SOLVERS = {"arithmetic": solve_arithmetic, "percentages": solve_percentages, "rates": solve_rates, "dates": solve_dates,
           "clock": solve_clock, "units": solve_units, "letters": solve_letters, "reversal": solve_reversal,
           "code": solve_code, "ordering": solve_ordering, "truth": solve_truth, "syllogism": solve_syllogism,
           "geography": solve_choice, "science": solve_choice, "nature": solve_choice}


# ---- the questions ----

@pytest.mark.parametrize("skill", GRAMMAR)
def test_gold_answers_solve_from_the_text(skill):
    for q in asked(GRAMMAR[skill]):
        assert str(SOLVERS[skill](q.text)) == q.gold, q.text


@pytest.mark.parametrize("skill", GRAMMAR)
def test_mistakes_are_wrong_distinct_and_never_missing(skill):
    for q in asked(GRAMMAR[skill]):
        assert q.gold and q.text == q.text.strip() and q.text.isascii()
        assert 1 <= len(q.wrong) <= MISTAKES
        assert len({q.gold, *q.wrong}) == 1 + len(q.wrong), q


def test_difficulty_shows_in_the_text():
    for skill, grammar in GRAMMAR.items():
        dice = Dice(np.random.default_rng(3))
        easy, hard = (np.mean([len(grammar(dice, level).text) for _ in range(200)]) for level in (0, LEVELS - 1))
        assert hard > easy or skill == "dates", skill  # dates grow in span, not in length


def test_options_are_lettered_in_order_and_differ():
    for skill in ("geography", "science", "nature"):
        for q in asked(GRAMMAR[skill]):
            letters, options = zip(*re.findall(r"\n([A-J])\. (.*)", q.text), strict=True)
            assert "".join(letters) == "ABCDEFGHIJ"[:len(letters)]
            assert len(set(options)) == len(options) >= 4


def test_facts_do_not_contradict_themselves():
    elements = [row for tier in ELEMENTS for row in tier]
    assert all(PERIODIC_TABLE[number - 1] == symbol for _, symbol, number in elements)
    names = [name for tier in COUNTRIES for row in tier for name in row[:2]] + [name for name, _, _ in elements]
    animals = [animal for tier in ANIMALS for group in tier.values() for animal in group]
    assert len(set(names)) == len(names) and len(set(animals)) == len(animals)
    assert len(COUNTRIES) == len(ELEMENTS) == len(ANIMALS) == LEVELS


def test_dice_are_fair_and_keep_their_bounds():
    dice = Dice(np.random.default_rng(0))
    throws = np.bincount([dice.between(1, 6) for _ in range(60_000)], minlength=7)
    assert throws[0] == 0 and np.all(np.abs(throws[1:] - 10_000) < 5 * np.sqrt(60_000 * 5 / 36))
    firsts = np.bincount([dice.shuffled(range(4))[0] for _ in range(8_000)])
    assert np.all(np.abs(firsts - 2_000) < 5 * np.sqrt(8_000 * 3 / 16))
    assert all(len(set(dice.sample("abcdef", 4))) == 4 for _ in range(200))


# ---- the table ----

def test_same_seed_same_table_other_seed_other_table():
    one, same, other = generate(300, seed=5), generate(300, seed=5), generate(300, seed=6)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert one.answers.tolist() == same.answers.tolist() and one.reference.tolist() == same.reference.tolist()
    assert np.array_equal(one.output_tokens, same.output_tokens)
    assert not set(one.queries) & set(other.queries)


@pytest.mark.parametrize("n", [1, 2, 77])
def test_any_size(n):
    table = generate(n)
    assert table.scores.shape == table.answers.shape == table.cost.shape == (n, 7)
    assert len(set(table.ids)) == n


def test_impossible_sizes_are_refused_with_the_next_step():
    for n, seed in ((0, 0), (6000, -1)):
        with pytest.raises(ConfigError, match="expected n >= 1 and seed >= 0"):
            generate(n, seed)


def test_texts_and_ids_are_unique(table):
    assert len(set(table.queries)) == len(set(table.ids)) == len(table.ids)
    assert table.ids[123] == "kitchen-000123"


def test_roomy_grammars_take_over_from_exhausted_ones(monkeypatch):
    def small(dice, level):
        return Question(f"small {dice.below(10)}", "1", ("2",))

    def roomy(dice, level):
        return Question(f"roomy {dice.below(10**9)}", "1", ("2",))

    monkeypatch.setattr(menu, "GRAMMARS", (small, roomy))
    questions, skills, levels = menu.write(np.random.default_rng(0), 500)
    assert len({q.text for q in questions}) == len(skills) == len(levels) == 500
    assert np.sum(skills == 0) == 10 and all(q.text.startswith(("small", "roomy")[s]) for q, s in zip(
        questions, skills, strict=True))


def test_answer_is_the_reference_exactly_where_the_score_is_one(table):
    assert set(np.unique(table.scores)) == {0.0, 1.0}
    assert np.array_equal(table.answers == table.reference[:, None], table.scores == 1)
    assert all(type(text) is str for text in table.reference)
    assert {type(answer) for answer in table.answers.ravel()} == {str, type(None)}


def test_cost_is_tokens_times_price(table):
    for row in (0, 11, 4321):
        for column, chef in enumerate(CHEFS):
            sent, received = ceil(len(table.queries[row]) / 4), table.output_tokens[row, column]
            usd = Fraction(sent) * Fraction(str(chef.usd_per_1m_input)) + Fraction(received) * Fraction(
                str(chef.usd_per_1m_output))
            assert table.cost[row, column] == pytest.approx(float(usd / 10**6), rel=1e-12)
    assert np.array_equal(table.output_tokens, np.rint(table.output_tokens)) and table.output_tokens.min() >= 1
    mean = table.cost.mean(axis=0)
    assert mean.max() / mean.min() > 100 and mean.argmax() == table.scores.mean(axis=0).argmax()


def test_splits_have_their_shares_and_nothing_to_do_with_the_task(table):
    shares = [len(table.rows(split)) / len(table.ids) for split in SPLITS]
    assert shares == pytest.approx([0.5, 0.1, 0.2, 0.2], abs=0.015)
    for task in TASKS:
        assert np.mean(table.split[table.task == task] == "test") == pytest.approx(0.2, abs=0.03)
        assert np.mean(table.task == task) == pytest.approx(0.2, abs=0.015)


def test_card_says_that_it_is_simulated(table):
    assert table.name == "kitchen" and table.simulated and "imulated" in table.card["description"]
    assert tuple(model["name"] for model in table.card["models"]) == table.models
    assert set(table.kinds) == set(TASKS) and set(table.kinds.values()) == {"binary"}


def test_table_survives_its_files(table, tmp_path):
    import pyarrow.parquet as pq

    folder = table.take(np.arange(50)).save(tmp_path / "kitchen")
    outcomes = pq.read_table(folder / "outcomes.parquet")
    assert outcomes["answer"].to_pylist() == table.answers[:50].ravel().tolist()
    assert outcomes["output_tokens"].to_pylist() == table.output_tokens[:50].ravel().tolist()


# ---- the chefs: statistics near those of MMLU-Pro and RouterDC ----

def test_accuracies_and_solvable_share(table):
    accuracy = np.sort(table.scores.mean(axis=0))
    assert 0.38 < accuracy[0] < 0.44 and 0.61 < accuracy[-1] < 0.66
    assert 0.13 < np.mean(table.scores.max(axis=1) == 0) < 0.17
    assert 0.10 < np.mean(table.scores.min(axis=1) == 1) < 0.20


def test_skills_are_complementary(table):
    by_task = np.array([table.scores[table.task == task].mean(axis=0) for task in TASKS])  # (tasks, M)
    share = [np.mean(table.task == task) for task in TASKS]
    gain = share @ by_task.max(axis=1) - table.scores.mean(axis=0).max()
    assert 0.03 < gain < 0.07
    assert len(set(by_task.argmax(axis=1))) >= 4


def test_errors_are_correlated(table):
    phi = np.corrcoef(table.scores.T)[np.triu_indices(len(CHEFS), 1)]
    assert 0.35 < phi.mean() < 0.50 and phi.min() > 0.25


def test_wrong_chefs_often_agree(table):
    wrong = (table.scores == 0) & np.not_equal(table.answers, None)
    agreed = [table.answers[both, a] == table.answers[both, b]
              for a in range(7) for b in range(a) for both in [wrong[:, a] & wrong[:, b]]]
    assert 0.33 < np.concatenate(agreed).mean() < 0.48
    assert 0.06 < np.mean(np.equal(table.answers, None)) < 0.12


def test_replies_grow_with_difficulty(table):
    for column in range(7):
        assert -0.35 < np.corrcoef(table.output_tokens[:, column], table.scores[:, column])[0, 1] < -0.1


def test_import_is_light():
    heavy = "import sys, racer.kitchen; print([m for m in ('torch', 'scipy', 'pyarrow', 'hydra') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
