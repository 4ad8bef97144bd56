"""Final answers in chat replies."""

import time

import pytest

from racer.answers import ANSWER_KINDS, normalise
from racer.pool.final import final_answer

MESSY = {
    "choice": ["**Answer:** B", "The answer is (B) Paris.", r"\boxed{\text{B}}", "A. Rome is wrong.\nSo answer: B."],
    "number": [r"\boxed{\frac{1}{2}}", r"\boxed{1\frac{1}{2}}", "The answer is \u22125.", r"\boxed{1{,}000}", "is 5 km",
               r"\boxed{90^\circ}", "The answer is 6 x 10^23.", "The answer is 1 1/2.", "The answer is 12:30.",
               "The answer is 3/0.", "The answer is 10\u2076.", "\u22125", r"\frac{1}{2}", "#### 7 km", "1 234"],
    "text": ["Let me see.\n**Final answer:** Paris **\n", "The answer is B."],
    "code": ["```\na\n```\nand\n```\nb\n```", "x = 1"]}


@pytest.mark.parametrize("reply, found", [
    ("B", "B"), ("b", "B"), ("(c)", "C"), (" **D** ", "D"), ("B. Paris", "B"), ("(A) because ...", "A"),
    ("The answer is (B).", "B"), ("First I thought the answer is A.\nNo: the answer is C.", "C"),
    ("Answer: d", "D"), ("so we choose option (E).", "E"), ("Thus \\boxed{F}", "F"), ("A good question.", None),
    ("I think Paris", None), ("The answer is Paris", None), ("", None), ("   ", None), ("\\boxed{42}", None),
    ("**Answer:** B", "B"), ("**Final answer: (B) Paris**", "B"), ("Answer: B\n\nExplanation: A is not.", "B"),
    ("The answer is (B) Paris.", "B"), ("The correct answer is B because it is Paris. A is not.", "B"),
    ("The answer to this is A as shown", "A"), ("The answer is B (Paris).", "B"), ("Answer: **B** - Paris", "B"),
    ("The answer is:\n\n**B**", "B"), ("The correct option is B) Paris", "B"), ("Answer: option (B)", "B"),
    ("The answer is $B$.", "B"), (r"The answer is \(B\).", "B"), (r"\boxed{\text{B}}", "B"), (r"\boxed{(B)}", "B"),
    (r"$\boxed{\textbf{B. Paris}}$", "B"), ("Answer - B", "B"), ("<answer>B</answer>", "B"), ("final_answer: `B`", "B"),
    ("B\n\nParis is the capital.", "B"), ("**B**\nParis", "B")])
def test_the_letter_of_a_choice(reply, found):
    assert final_answer(reply, "choice") == found


@pytest.mark.parametrize("reply, found", [
    ("A. Rome is wrong.\nB. Paris is right.\nThe answer is B.", "B"), ("A. Rome\nB. Paris\nC. Oslo", None),
    ("Option C is not A. Option C is correct", "C"), ("Option C is not correct", None),
    ("A. Rome is wrong.\nB. Paris is right.\nSo option B.", "B"), ("Answer: A. Actually, Answer: B", "B"),
    ("The answer is B.\nOption A: Rome. Wrong.\nOption C: Oslo. Wrong.", "B"), ("Answer choices: A. Rome", None),
    ("B. Paris, for the answer is not A.", "B"), ("The answer is not B, it is C.", "C"), ("The answer is not A.", None),
    ("Answer: A and B", None), ("The answer is (A) or (B).", None), ("The answer is A, B, or C.", None),
    ("The answer is a number", None), ("Answer: A number of things", None), ("Answer: I think so", None),
    ("I. think the answer is B.", "B"), ("The answer is C++", None), ("Answer: U.S. army", None),
    ("Answer: X rays", None), ("Answer: C major", None)])
def test_of_several_letters_the_last_that_is_stated_counts_and_words_are_none(reply, found):
    assert final_answer(reply, "choice") == found


@pytest.mark.parametrize("reply, found", [
    ("42", "42"), ("15 % of 240 is 36.", "36"), ("The answer is 36. I am 100 % sure", "36"),
    ("= 1,200.50", "= 1,200.50"),
    ("5 km", "5 km"), ("that is 5 km", "5"),
    ("3 + 4 = 7\n#### 7\nin 2 steps", "7"), ("\\boxed{5/8} of 3", "5/8"), ("costs $12", "$12"), ("-3", "-3"),
    ("the result = -2.5 as 1 - 3.5", "-2.5"), ("no number", None), ("the answer is 3, so the answer is 4.", "4"),
    (r"So \boxed{\frac{1}{2}}, of 2", "1/2"), (r"\boxed{-\dfrac{3}{4}}", "-3/4"), (r"so \boxed{1\frac{1}{2}}", "1 1/2"),
    ("The answer is \u22125.", "-5"), ("The answer is .5", ".5"), ("The answer is 1e5.", "1e5"),
    ("The answer is 10^6.", "1e6"), (r"The answer is $10^{6}$.", "1e6"), (r"so \boxed{10^6}, not 9", "1e6"),
    ("The answer is 10\u2076.", "1e6"), ("The answer is 6 x 10^23", "6e23"), (r"so 2.5 \times 10^{-3}.", "2.5e-3"),
    ("The answer is 2^10.", "2^10"), ("The answer is 5\u00b2.", "5^2"), ("The answer is **10** 25 times.", "10"),
    ("The answer is 1 1/2.", "1 1/2"), ("The answer is 1\u00bd cups.", "1 1/2"), (r"\boxed{1{,}000}", "1,000"),
    (r"so \boxed{12\,000}", "12,000"), ("The answer is 1 234.", "1 234"), (r"The answer is $\$5$.", "5"),
    (r"so \boxed{5 \text{ km}}, not 6", "5 km"), (r"\boxed{90^\circ}", "90\u00b0"), ("the answer is 5 + 3 = 8.", "8"),
    ("The answer is 12:30.", "12:30"), ("The answer is 3/0.", "3/0"), ("an area of 5 m^2", "5"), ("x is 3-5", "3-5")])
def test_the_number_that_is_meant(reply, found):
    assert final_answer(reply, "number") == found


@pytest.mark.parametrize("kind, reply, found", [
    ("text", " Paris \n", "Paris"), ("text", "Let me see.\n**Final answer:** Paris **\n", "Paris"),
    ("text", "answer: A\nanswer: B", "B"), ("text", "No answer here", "No answer here"), ("text", " ", None),
    ("code", "Sure:\n```python\ndef f():\n    return 1\n```\ndone", "def f():\n    return 1"),
    ("code", "```\na\n```\nand\n```\nb\n```", "b"), ("code", "x = 1", "x = 1")])
def test_texts_and_code(kind, reply, found):
    assert final_answer(reply, kind) == found


def test_a_pattern_goes_before_all_rules_and_its_last_match_counts():
    assert final_answer("the answer is A. <a>B</a> <a> C </a>", "choice", "<a>(.*?)</a>") == "C"
    assert final_answer("the answer is A.", "choice", "<a>(.*?)</a>") is None


@pytest.mark.parametrize("reply, kind, found", [
    ("52 - 1 = 51\n51 - 1 = 50, and then", "number", "50"), ("12", "number", "12"), (r"so \boxed{50}", "number", "50"),
    ("The answer is 50, for 51 - 1", "number", "50"), ("#### 50\nas 51", "number", "50"),
    ("B", "choice", "B"), ("B. Par", "choice", "B"), ("Thus the answer is (B)", "choice", "B"),
    ("The answer is B. As", "choice", "B"), ("The answer is A", "choice", None), ("Answer: I", "choice", None),
    ("Paris is the", "text", "Paris is the"), ("x = 1\ny =", "code", "x = 1\ny =")])
def test_in_a_reply_that_was_cut_off_a_letter_at_the_very_end_is_none(reply, kind, found):
    assert {final_answer(reply, kind, finish_reason=reason) for reason in ("length", "content_filter")} == {found}


def test_a_pattern_finds_what_it_finds_in_a_reply_that_was_cut_off():
    assert final_answer("so <4", "number", r"<(\d)", "length") == "4"


@pytest.mark.parametrize("kind", ANSWER_KINDS)
def test_a_final_answer_has_itself_as_its_final_answer(kind):
    """So a replay of recorded answers says what was recorded."""
    for reply in MESSY[kind]:
        found = final_answer(reply, kind)
        assert normalise(final_answer(found, kind), kind) == normalise(found, kind), reply


SLOW = ["answer " * 9, " \t*_", "#### ", "```\n", "1,", "\\boxed{", "(A", "answer:  ", "1 111", "5e", "x 10^",
        "\\frac{1}{", "\\text{", "**A", "answer: option ", "answer: A and B, ", "answer: A\n", "A. x\n", "1{,}",
        "5 + 5 ", "\\boxed{{}"]


@pytest.mark.parametrize("kind", ANSWER_KINDS)
@pytest.mark.parametrize("part", SLOW)
def test_a_reply_made_to_be_slow_is_not(kind, part):
    for lead in ("", "The answer is ", "5"):
        start = time.process_time()
        reply = lead + part * (100_000 // len(part))
        final_answer(reply, kind)
        normalise(reply, kind)
        assert time.process_time() - start < 2


def test_a_pattern_that_never_ends_finds_nothing():
    start = time.process_time()
    assert final_answer("a" * 60 + "b", "text", "((?:a|aa)+)$") is None
    assert time.process_time() - start < 5
