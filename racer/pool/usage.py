"""How many tokens a call can take, how many it took, and what that costs."""

import json
from dataclasses import dataclass

from racer.pool.file import Endpoint

TEMPLATE = 1024  # tokens that an endpoint may add to a request by itself, beside one for each byte of it
LONGEST = 128  # bytes; no vocabulary in use has longer tokens, so fewer tokens than bytes / LONGEST cannot be true


@dataclass(frozen=True)
class Usage:
    """Tokens and USD of a call; `stated`: as the endpoint says, else the most that the call can have taken."""

    tokens_in: int
    tokens_out: int
    usd: float
    stated: bool


def worst(endpoint: Endpoint, body: dict) -> Usage:
    """Return the most that a request can take: a token for each byte of it, and all the output it may ask for."""
    return _usage(endpoint, _bytes(body) + TEMPLATE, body[endpoint.max_tokens_key], False)


def of(endpoint: Endpoint, body: dict, said: dict | None, text: str) -> Usage:
    """Return the usage of a call whose reply was `text`, `said` being the endpoint's `usage`.

    What cannot be true is not believed: more than the request can take, or less than the texts must. Then, and where
    nothing is said, the worst case counts.
    """
    most = worst(endpoint, body)
    said = said if isinstance(said, dict) else {}
    tokens_in, tokens_out = said.get("prompt_tokens"), said.get("completion_tokens")
    prompt = sum(_bytes(m.get("content") or "") for m in body["messages"])
    if _between(tokens_in, prompt / LONGEST, most.tokens_in) and \
            _between(tokens_out, _bytes(text) / LONGEST, most.tokens_out):
        return _usage(endpoint, tokens_in, tokens_out, True)
    return most


def price(endpoint: Endpoint, tokens_in: int, tokens_out: int) -> float:
    """Return the USD that so many tokens cost."""
    return (tokens_in * endpoint.price_in + tokens_out * endpoint.price_out) / 1e6


def _usage(endpoint: Endpoint, tokens_in: int, tokens_out: int, stated: bool) -> Usage:
    return Usage(tokens_in, tokens_out, price(endpoint, tokens_in, tokens_out), stated)


def _between(count, low: float, high: float) -> bool:
    return isinstance(count, int) and not isinstance(count, bool) and low <= count <= high


def _bytes(value) -> int:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return len(text.encode("utf-8", "surrogatepass"))
