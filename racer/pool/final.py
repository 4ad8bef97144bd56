"""The final answer in a chat reply, in the form in which answers were recorded: "B", "42".

Votes and certificates compare recorded answers, a letter or a number, while a model live writes sentences. What is
found here is compared; what is returned to a user is the reply, verbatim.
"""

import re

from racer.answers import LETTER, OPTION, SAID, normalise

LONGEST = 100_000  # characters, at the end of a reply, in which an answer is looked for
ANSWER = r"(?:answer|result|solution)\b[^\n:=]{0,40}?(?:\bis\b|[:=])"
NUMBER = r"-?[$€£¥]?-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?"
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
HASHES = re.compile(r"^####[ \t]*(\S.*)$", re.MULTILINE)
SAID_NUMBER = re.compile(ANSWER + r"[\s*$]*(" + NUMBER + ")", re.IGNORECASE)
ANY_NUMBER = re.compile(NUMBER)
SAID_TEXT = re.compile(r"^[ \t>*_#]*(?:final[ \t]+)?answer[ \t*_]*:[ \t*_]*(\S.*)$",
                       re.IGNORECASE | re.MULTILINE)
ALONE = re.compile(r"-?\d+(?:/\d+)?(?: [^\W\d]+)?")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def final_answer(reply: str, kind: str, pattern: str | None = None) -> str | None:
    """Return the final answer in a reply, None where it gives none.

    With a `pattern` (one group) its last match counts, and nothing else. Otherwise, by kind (`racer.answers`), the
    last of the first rule that finds any:
    `choice`: the reply is a letter or begins with one that is marked ("B. Paris", "(B)"); "answer is (B)",
    "option: B"; a boxed letter.
    `number`: the reply is a number, with one word after it at most ("5 km"); boxed; after `####`; after "answer is",
    "result ="; the last number anywhere.
    `text`: a line "Answer: ..."; else the whole reply.
    `code`: a fenced block; else the whole reply.
    """
    reply = reply[-LONGEST:]
    if pattern is not None:
        found = re.findall(pattern, reply)
        return (found[-1].strip() or None) if found else None
    reply = reply.strip()
    rules = {"choice": _choice, "number": _number, "text": _text, "code": _code}
    return rules[kind](reply) or None


def _choice(reply: str) -> str | None:
    if found := LETTER.fullmatch(reply) or OPTION.match(reply):
        return found[1].upper()
    letters = SAID.findall(reply) or [b.strip() for b in BOXED.findall(reply) if re.fullmatch("[A-Za-z]", b.strip())]
    return letters[-1].upper() if letters else None


def _number(reply: str) -> str | None:
    if ALONE.fullmatch(normalise(reply, "number")):
        return reply
    for rule in (BOXED, HASHES, SAID_NUMBER, ANY_NUMBER):
        if found := rule.findall(reply):
            return found[-1].strip()
    return None


def _text(reply: str) -> str:
    lines = SAID_TEXT.findall(reply)
    return lines[-1].rstrip(" \t*_") if lines else reply


def _code(reply: str) -> str:
    blocks = FENCE.findall(reply)
    return blocks[-1].strip("\n") if blocks else reply
