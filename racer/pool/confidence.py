"""How sure a model is of its own answer: by the probability of its words, or because it was asked.

Numbers in [0, 1], None where nothing is said. What cannot be true, as a probability above 1, counts as nothing said.
"""

import math
import re

from racer import prompts

WAYS = LIKELIHOOD, P_TRUE, VERBALISED = "likelihood", "p_true", "verbalised"
ASKED = {P_TRUE: "p_true.txt", VERBALISED: "verbalised.txt"}  # ways that ask a further time, with their prompts in conf
PLACES = ("{query}", "{answer}")
TOP = 20  # tokens with their probabilities at each place, the most that the protocol has
LEAST = -1e5  # of log-probabilities; endpoints that know no infinity say -9999 for a probability of 0
SAYS = {"a": True, "true": True, "b": False, "false": False}
NUMBER = re.compile(r"(?<![\w.,])(-?(?:\d+(?:[.,]\d+)?|[.,]\d+))\s{0,2}(%|per ?cent|(?:/|out of)\s{0,2}(?:100?|5)\b)?",
                    re.IGNORECASE)


def request(way: str, prompt: str, query: str, answer: str) -> dict:
    """Return the request body that asks a model, by `p_true` or `verbalised`, about its final answer to a query."""
    body = prompts.request(prompt, dict(zip(PLACES, (query, answer), strict=True)))
    return body | {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP} if way == P_TRUE else body


def likelihood(logprobs) -> float | None:
    """Return the probability of a reply as a whole, from the `logprobs` of its choice: the product over its tokens."""
    values = [_logprob(token) for token in _listed(logprobs, "content")]
    return None if not values or None in values else math.exp(sum(values))


def p_true(logprobs) -> float | None:
    """Return P(A) / (P(A) + P(B)) from the most likely first tokens of a reply to "(A) true (B) false".

    Tokens that say the same are added up: "A", " a", "(A", "True". None where none says either.
    Kadavath et al., "Language Models (Mostly) Know What They Know", 2022, Section 3.
    """
    first = _listed(logprobs, "content")[:1]
    found = [(said, _logprob(token)) for token in _listed(first[0] if first else None, "top_logprobs")
             if (said := _says(token)) is not None]
    if any(value is None for _, value in found):
        return None
    true, false = (sum(math.exp(value) for said, value in found if said is which) for which in (True, False))
    return true / (true + false) if true + false > 0 else None


def verbalised(reply: str) -> float | None:
    """Return what a reply says as a share of 1: "85%", "85", "0.85" and "8.5/10" are .85; None outside of 0 to 100 %.

    Of several numbers the last one counts that says of how many it is (%, /10, out of 5), else the last one. A number
    that does not is a percentage, but with a decimal point and at most 1 it is a share already.
    Tian et al., "Just Ask for Calibration", EMNLP 2023.
    """
    found = NUMBER.findall(reply)
    if not (found := [pair for pair in found if pair[1]] or found):
        return None
    number, unit = found[-1]
    share, of = float(number.replace(",", ".")), re.search(r"\d+", unit)
    if unit or number.isdecimal() or share > 1:
        share /= int(of[0]) if of else 100
    return share if 0 <= share <= 1 else None


def _says(token) -> bool | None:
    text = token.get("token") if isinstance(token, dict) else None
    return SAYS.get(text.strip(" \n\t().:*").lower()) if isinstance(text, str) else None


def _logprob(token) -> float | None:
    value = token.get("logprob") if isinstance(token, dict) else None
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return value if known and LEAST <= value <= 0 else None


def _listed(record, key: str) -> list:
    found = record.get(key) if isinstance(record, dict) else None
    return found if isinstance(found, list) else []
