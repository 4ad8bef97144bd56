"""Final answers in chat replies."""

import time

import pytest

from racer.pool.final import final_answer


@pytest.mark.parametrize("reply, found", [
    ("B", "B"), ("b", "B"), ("(c)", "C"), (" **D** ", "D"), ("B. Paris", "B"), ("(A) because ...", "A"),
    ("The answer is (B).", "B"), ("First I thought the answer is A.\nNo: the answer is C.", "C"),
    ("Answer: d", "D"), ("so we choose option (E).", "E"), ("Thus \\boxed{F}", "F"), ("A good question.", None),
    ("I think Paris", None), ("The answer is Paris", None), ("", None), ("   ", None), ("\\boxed{42}", None)])
def test_the_letter_of_a_choice(reply, found):
    assert final_answer(reply, "choice") == found


@pytest.mark.parametrize("reply, found", [
    ("42", "42"), ("15 % of 240 is 36.", "36"), ("The answer is 36. I am 100 % sure", "36"),
    ("= 1,200.50", "= 1,200.50"),
    ("5 km", "5 km"), ("that is 5 km", "5"),
    ("3 + 4 = 7\n#### 7\nin 2 steps", "7"), ("\\boxed{5/8} of 3", "5/8"), ("costs $12", "$12"), ("-3", "-3"),
    ("the result = -2.5 as 1 - 3.5", "-2.5"), ("no number", None), ("the answer is 3, so the answer is 4.", "4")])
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


@pytest.mark.parametrize("kind", ["choice", "number", "text", "code"])
@pytest.mark.parametrize("part", ["answer " * 9, " \t*_", "#### ", "```\n", "1,", "\\boxed{", "(A", "answer:  "])
def test_a_reply_made_to_be_slow_is_not(kind, part):
    start = time.process_time()
    final_answer(part * (400_000 // len(part)), kind)
    assert time.process_time() - start < 5
