"""The final answer in a chat reply, in the form in which answers were recorded: "B", "42".

Votes and certificates compare recorded answers, a letter or a number, while a model live writes sentences. What is
found here is compared; what is returned to a user is the reply, verbatim.
"""

import re

from racer import numerals, patterns
from racer.answers import number_in
from racer.letters import letter_in

LONGEST = 100_000  # characters, at the end of a reply, in which an answer is looked for
CUT = ("length", "content_filter")  # reasons for which a reply ends before its end
ANSWER = r"(?:answer|result|solution)\b[^\n:=]{0,40}?(?:\bis\b|[:=])"
OPERATION = r"(?!\s{0,2}[-+*/\u00d7\u00f7]\s{0,2}[\d(])"  # behind a number that is part of a sum
HASHES = re.compile(r"^####[ \t]*(\S.*)$", re.MULTILINE)
SAID_NUMBER = re.compile(ANSWER + rf"[\s*$_(]{{0,9}}({numerals.NUMERAL}){OPERATION}", re.IGNORECASE)
ANY_NUMBER = re.compile(numerals.NUMERAL, re.IGNORECASE)
SAID_TEXT = re.compile(r"^[ \t>*_#]*(?:final[ \t]+)?answer[ \t*_]*:[ \t*_]*(\S.*)$",
                       re.IGNORECASE | re.MULTILINE)
UNIT = re.compile(r"[^\W\d]*|\u00b0")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def final_answer(reply: str, kind: str, pattern: str | None = None, finish_reason: str = "stop") -> str | None:
    """Return the final answer in a reply, None where it gives none.

    With a `pattern` (one group) its last match counts, and nothing else; one that takes too long finds nothing.
    Otherwise, by kind (`racer.answers`):
    `choice`: the option that the reply names, by the rules of `racer.letters`.
    `number`: the last of the first rule that finds any: boxed; the reply is a number, with one word after it at most
    ("5 km"); after `####`; after "answer is", "result ="; the last number anywhere. In plain characters.
    `text`: a line "Answer: ..."; else the whole reply.
    `code`: a fenced block; else the whole reply.

    In a reply that was cut off, by its `finish_reason`, a bare letter counts only if something follows it, or the reply
    is that letter: it may begin a word. Numbers count as they stand, for under a low limit most replies are cut off.
    """
    reply, cut = reply[-LONGEST:], finish_reason in CUT
    if pattern is not None:
        return _matched(reply, pattern)
    if kind == "choice":
        return letter_in(reply.lstrip() if cut else reply.strip(), cut)
    return {"number": _number, "text": _text, "code": _code}[kind](reply.strip()) or None


def _matched(reply: str, pattern: str) -> str | None:
    try:
        found = patterns.findall(pattern, reply)
    except TimeoutError:
        return None
    return (found[-1].strip() or None) if found else None


def _number(reply: str) -> str | None:
    reply = numerals.plain(reply)
    if boxed := numerals.BOXED.findall(reply):
        return " ".join(boxed[-1].split())
    if (found := number_in(reply)) and UNIT.fullmatch(found[1]):
        return reply
    for rule in (HASHES, SAID_NUMBER, ANY_NUMBER):
        if said := rule.findall(reply):
            return said[-1].strip()
    return None


def _text(reply: str) -> str:
    lines = SAID_TEXT.findall(reply)
    return lines[-1].rstrip(" \t*_") if lines else reply.strip()


def _code(reply: str) -> str:
    blocks = FENCE.findall(reply)
    return blocks[-1].strip("\n") if blocks else reply.strip()
