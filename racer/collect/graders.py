"""Whether a reply is right: the graders that need nothing but the reply and the reference."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from racer import patterns
from racer.answers import normalise, number_in
from racer.pool.final import final_answer

KIND_OF = {"exact": "text", "numeric": "number", "choice": "choice", "regex": "text", "python": "code",
           "judge": "text"}  # of the answers that a grader grades, as racer.answers knows them
GRADERS = tuple(KIND_OF)
NEAR = Fraction(1, 10**6)  # relative: how far a number may be from the reference, so that 1/3 is .3333333


@dataclass(frozen=True)
class Grade:
    """What a reply is worth, 0 or 1, and the final answer in it; None: it gives none. `why` it is wrong, if known."""

    score: float
    answer: str | None
    why: str = ""


def answer_in(reply: str, grader: str, pattern: str | None = None, finish_reason: str = "stop") -> str | None:
    """Return the final answer in a reply, found as `racer.pool.final` does, by the grader's kind or a pattern."""
    return final_answer(reply, KIND_OF[grader], pattern, finish_reason) if reply.strip() else None


def grade(reply: str, reference: str, grader: str, pattern: str | None = None, finish_reason: str = "stop") -> Grade:
    """Return the grade of a reply by `exact`, `numeric`, `choice` or `regex`. A reply without an answer is wrong.

    `exact`: the answer equals the reference as a text (`racer.answers.normalise`: case, outer quotes, closing
    punctuation and a leading article do not count). `numeric`: it is the same number, a fraction up to a millionth of
    it; a unit counts only if the reference has one. `choice`: the same letter. `regex`: the reference is found in the
    reply; raises `TimeoutError` if that takes too long to know.
    """
    answer = answer_in(reply, grader, pattern, finish_reason)
    return Grade(float(answer is not None and SAME[grader](answer, reference, reply)), answer)


def _exact(answer: str, reference: str, _: str) -> bool:
    return normalise(answer, "text") == normalise(reference, "text")


def _numeric(answer: str, reference: str, _: str) -> bool:
    said, wanted = number_in(answer), number_in(reference)
    if said is None or wanted is None or (wanted[1] and said[1] != wanted[1]):
        return False
    whole = said[0].denominator == wanted[0].denominator == 1  # of whole numbers the next one is never meant
    return said[0] == wanted[0] or (not whole and abs(said[0] - wanted[0]) <= NEAR * abs(wanted[0]))


def _choice(answer: str, reference: str, _: str) -> bool:
    return normalise(answer, "choice") == reference.strip().upper()


def _regex(_: str, reference: str, reply: str) -> bool:
    return patterns.occurs(reference, reply)


SAME: dict[str, Callable[[str, str, str], bool]] = {"exact": _exact, "numeric": _numeric, "choice": _choice,
                                                    "regex": _regex}
