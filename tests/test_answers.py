"""Which answers are the same: normal forms by kind, codes, kinds told from train rows, options counted."""

from dataclasses import replace

import numpy as np
import pytest

from racer import formats, kitchen
from racer.answers import ANSWER_KINDS, Answers, codes_of, kinds_of, normalise, number_in
from racer.errors import TableError
from racer.letters import options_in
from racer.table import OutcomeTable

N, M = 5, 3


def table(answers, task=None, split=None, queries=None, card=None) -> OutcomeTable:
    answers = np.array(answers, dtype=object)
    n, m = answers.shape
    text = np.array([f"q{i}" for i in range(n)], dtype=object)
    return OutcomeTable(ids=text, queries=text if queries is None else np.array(queries, dtype=object),
                        task=np.array(["t"] * n if task is None else task, dtype=object),
                        split=np.array(["train"] * n if split is None else split, dtype=object),
                        models=tuple("abcdefg"[:m]), scores=np.zeros((n, m)), answers=answers, card=card or {})


# ---------------------------------------------------------------- normal forms


@pytest.mark.parametrize(("kind", "texts"), [
    ("choice", ["B", "b", "(B)", " b. ", "**B**", "B. Paris", "(B) Paris", "B) Paris", "The answer is (B).",
                "First A, then no. Answer: B", "The answer is A. No: the answer is B."]),
    ("choice", ["A", "a", "(a)", "A."]),
    ("number", ["1200.5", "1,200.50", "$1,200.50", "+1200.5", "1200.5%", "1200.5 %", "= 1200.5", "**1200.5**", "2401/2",
                "\\boxed{1200.5}", "1.2005e3", "1200.5.", "$1200.5$", "1 200.50", r"\frac{2401}{2}", "1200 1/2",
                r"1{,}200\frac12", "1.2005 \u00d7 10\u00b3", r"\boxed{1.2005 \times 10^{3}}"]),
    ("number", ["-7", "\u22127", "-7.0", "- 7".replace(" ", ""), "-14/2", "-$7", r"-\frac{14}{2}"]),
    ("number", ["1000000", "10^6", "10**6", "10\u2076", "1e6", "1,000,000", r"10^{6}", "100^3"]),
    ("number", ["12 km", "12.0 KM"]),
    ("text", ["Paris", "paris", " Paris. ", '"Paris"', "`Paris`.", "\u201cParis.\u201d", "**Paris**"]),
    ("text", ["the Nile", "Nile", "The  Nile"]), ("text", ["A", "a", "A.", "'a'"]),
    ("text", ["caf\u00e9", "cafe\u0301", "CAF\u00c9"]),
    ("code", ["def f():\n  return 1", "```python\ndef f():\n  return 1\n```", "def f():\n\n  return 1  \n"]),
])
def test_equal_answers_have_one_normal_form(kind, texts):
    assert len({normalise(text, kind) for text in texts}) == 1, [normalise(text, kind) for text in texts]


@pytest.mark.parametrize(("kind", "texts"), [
    ("choice", ["A", "B", "A chart", "I do", "U.S. army", "I have no answers.", "an option a man took"]),
    ("number", ["5", "-5", "0.5", "5 km", "5 m", "5!", "1,5", "1/5", "06:05", "05:06", "2035-07-24", "3.5.1", "5 1/2",
                "5-1", "five", "", "1/0", "5" * 200, "5" * 5000, "5^2", "5 m^2", "1 2345", "1e999999999", "2^99999",
                "0^-1", "nan", "inf", "\u00b2"]),
    ("text", ["a", "an", "the", "C", "C++", "C#", "f", "f'", ".5", "5", "-5", "3.5", "35", "...", "!", "5!", "__x__",
              "x"]),
    ("code", ["def f(): return 1", "def f(): return 2", "def g(): return 1", "a = 'A'", "a = 'a'"]),
])
def test_different_answers_stay_different(kind, texts):
    assert len({normalise(text, kind) for text in texts}) == len(texts), [normalise(text, kind) for text in texts]


@pytest.mark.parametrize("kind", ANSWER_KINDS)
def test_no_answer_is_eaten(kind):
    for text in ("A", "a", "an", "the", ".", "...", "\"\"", "''", "**", "*", "``````", "```\n```", "$", "$$", "-", "=",
                 "%", "/", "e", "(", "()", "\u201c\u201d", ":", "\\boxed{}", "0", "\n"):
        assert normalise(text, kind), (kind, text)


def test_the_normal_form_of_a_letter_and_of_a_number_is_itself():
    assert [normalise(letter, "choice") for letter in "AIZ"] == list("AIZ")
    assert [normalise(number, "number") for number in ("0", "42", "-3", "1/3", "12 apples")] == [
        "0", "42", "-3", "1/3", "12 apples"]
    assert normalise("0.1", "number") == "1/10"  # exactly, not the nearest float


@pytest.mark.parametrize("text", ["1/0", "3/0", "-3/0 km", "1e999999999", "1e-999999999", "2^999999999", "0^-1",
                                  "9^9^9", "5" * 5000, "5." + "5" * 5000, "1/" + "7" * 5000, "nan", "inf", "-inf",
                                  "\u00b2", "", "12:30", "1,5", "5 5", ".", "e5", "/5", "1e5e5"])
def test_what_is_no_single_number_is_none_and_raises_nothing(text):
    assert number_in(text) is None


@pytest.mark.parametrize("text, number", [("\u0663", 3), ("1e999", 10 ** 999), ("5" * 900, int("5" * 900)),
                                          ("2^-1", 0.5)])
def test_numbers_are_read_in_full(text, number):
    assert number_in(text) == (number, "")


def test_an_unknown_kind_is_refused():
    with pytest.raises(TableError, match="'prose', expected one of choice, number"):
        normalise("A", "prose")


# ---------------------------------------------------------------- codes


def test_codes_are_the_first_column_that_says_the_same():
    texts = np.array([["A", "b", "(a)", None], ["7", "7.0", " ", "x"], [None, None, None, None],
                      ["b", "B", "B", "b"]], dtype=object)
    kinds = ["choice", "number", "text", "choice"]
    np.testing.assert_array_equal(codes_of(texts, kinds), [[0, 1, 0, -1], [0, 0, -1, 3], [-1] * 4, [0] * 4])


def test_codes_of_a_row_are_those_of_the_row_alone():
    rng = np.random.default_rng(0)
    pool = np.array(["A", "a", "B.", "7", "7.0", None, "", "the cat", "cat", "x y"], dtype=object)
    texts, kinds = pool[rng.integers(0, len(pool), (60, 5))], rng.choice(ANSWER_KINDS, 60)
    codes = codes_of(texts, kinds)
    for i in range(60):
        np.testing.assert_array_equal(codes[i:i + 1], codes_of(texts[i:i + 1], kinds[i:i + 1]))
        for m in range(5):
            said = [j for j in range(5) if texts[i, j] and texts[i, m]
                    and normalise(texts[i, j], kinds[i]) == normalise(texts[i, m], kinds[i])]
            assert codes[i, m] == (said[0] if said else -1)


# ---------------------------------------------------------------- kinds


@pytest.mark.parametrize(("answers", "kind"), [
    (["A", "B", "(C)", "D. yes", None], "choice"), (["12", "1,000", "$5", "7 km", "1/2"], "number"),
    (["def f():\n return 1", "```\nx\n```", "import os; print(1)", "return f(x)", "class A:\n pass"], "code"),
    (["Paris", "A", "12", "yes", "B"], "text"), ([None] * 5, "text"),
])
def test_kinds_are_told_from_what_answers_look_like(answers, kind):
    assert kinds_of(table([[a, a] for a in answers])) == {"t": kind}


def test_nearly_all_answers_must_look_like_the_kind():
    assert kinds_of(table([["A"] * 5] * 9 + [["Paris"] * 5])) == {"t": "choice"}  # 90 %
    assert kinds_of(table([["A"] * 5] * 89 + [["Paris"] * 5] * 11)) == {"t": "text"}


def test_only_train_rows_tell_the_kind():
    answers, split = [["A", "B"]] * 3 + [["12", "13"]] * 30, ["train"] * 3 + ["validation", "calibration", "test"] * 10
    assert kinds_of(table(answers, split=split)) == {"t": "choice"}
    assert kinds_of(table(answers, split=["test"] * 33)) == {"t": "text"}


def test_the_card_has_the_last_word():
    answers = [["A", "B"], ["12", "13"]]
    assert kinds_of(table(answers, task=["x", "y"])) == {"x": "choice", "y": "number"}
    assert kinds_of(table(answers, task=["x", "y"], card={"answer_kinds": {"x": "text", "z": "code"}})) == {
        "x": "text", "y": "number"}
    for wrong in ({"x": "prose"}, ["text"]):
        with pytest.raises(TableError, match=r"answer_kinds.*mend the card"):
            kinds_of(table(answers, task=["x", "y"], card={"answer_kinds": wrong}))


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(("query", "count"), [
    ("Which?\nA. x\nB. y\nC. z", 3), ("Which?\n(A) x\n(B) y", 2), ("Which?\n A) x\n B) y\n C) z\n D) u\nAnswer:", 4),
    ("Solved:\nA. x\nB. y\nC. z\nAnswer: A\n\nWhich?\nA. u\nB. v\nAnswer:", 2), ("How many apples?", 0),
    ("A. Smith said so. Was he right?", 0), ("Which?\nA. x\nC. z", 0), ("B. x\nC. y", 0), ("Which of A, B or C?", 0),
])
def test_options_are_counted_in_the_last_list(query, count):
    assert options_in(query) == count


def test_a_query_without_a_list_has_as_many_options_as_the_task_spans():
    answers = [["A", "B"], ["D", "C"], ["B", None]]
    found = Answers.of_table(table(answers, queries=["Which?", "Which?\nA. x\nB. y\nC. z\nD. u\nE. v", "?"]))
    np.testing.assert_array_equal(found.options, [4, 5, 4])
    stray = [["A", "B"]] * 99 + [["A", "Z"]]  # half a per cent
    assert Answers.of_table(table(stray)).options[0] == 2
    assert Answers.of_table(table(stray[:4] + stray[-1:])).options[0] == 26
    calibration = Answers.of_table(table(answers, split=["train", "calibration", "calibration"]))
    np.testing.assert_array_equal(calibration.options, [2, 2, 2])


def test_open_tasks_have_no_number_of_options():
    found = Answers.of_table(table([["12", "13"]], queries=["Which?\nA. x\nB. y"]))
    np.testing.assert_array_equal(found.options, [0])


# ---------------------------------------------------------------- tables


def test_a_table_without_answers_has_none():
    assert Answers.of_table(replace(table([["A", "B"]]), answers=None)) is None


def test_take_keeps_rows_in_step():
    found = Answers.of_table(table([["A", "B"], ["B", "B"], [None, "A"]], queries=["?", "A. x\nB. y\nC. z", "?"]))
    for rows in (np.array([2, 1]), np.array([False, True, True])):
        part, at = found.take(rows), np.arange(3)[rows]
        np.testing.assert_array_equal(part.texts, found.texts[at])
        np.testing.assert_array_equal(part.codes, found.codes[at])
        np.testing.assert_array_equal(part.options, found.options[at])


def test_right_answers_of_the_kitchen_are_equal_to_the_reference_and_no_other_is():
    made = kitchen.generate(800)
    found, right = Answers.of_table(made), made.outcomes()
    same = (found.codes[:, :, None] == found.codes[:, None, :]) & (found.codes >= 0)[:, :, None]
    assert (right[:, :, None] == right[:, None, :])[same].all()
    both = right[:, :, None] & right[:, None, :]
    assert same[both].all()
    assert (found.codes >= 0)[right].all()


@pytest.mark.parametrize(("name", "options"), [("mmlupro", (3, 10)), ("routerbench", (2, 5))])
def test_real_answers_that_are_equal_are_right_together(racer_data, name, options):
    recorded = formats.read(racer_data / name, missing="error")
    found, right = Answers.of_table(recorded), recorded.outcomes()
    same = (found.codes[:, :, None] == found.codes[:, None, :]) & (found.codes >= 0)[:, :, None]
    assert (right[:, :, None] == right[:, None, :])[same].all()
    np.testing.assert_array_equal(found.codes >= 0, np.not_equal(recorded.answers, None))
    choice = (found.codes >= 0).any(axis=1)
    assert (found.options[choice].min(), found.options[choice].max()) == options
    beyond = [ord(a) - ord("A") >= k for row, k in zip(found.texts[choice], found.options[choice], strict=True)
              for a in row if a is not None]
    assert np.mean(beyond) < 0.001
