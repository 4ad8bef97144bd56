"""Why a call gave no reply, whether another try may help, and whether it may have cost something."""

from email.utils import parsedate_to_datetime
from time import time

import httpx2
import openai

from racer.pool import texts

REFUSED = (400, 413, 422)  # the request itself is at fault
SPOKEN = (*REFUSED, 404)  # the endpoint's own words are handed on
LONGEST_MESSAGE = 200  # characters of an endpoint's own words
UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)  # it ended before a byte was sent


class CallFailed(Exception):
    """A model gave no reply: `reason` in few words, without anything of the key.

    `refused`: the endpoint found fault with the request itself. `retry`: another try may help, after `wait` seconds if
    the endpoint said so. `billed`: it may have cost something. `capped`: the spend cap left no room for it.
    """

    def __init__(self, reason: str, refused: bool = False, retry: bool = False, billed: bool = True,
                 wait: float | None = None, capped: bool = False):
        super().__init__(reason)
        self.reason, self.refused, self.retry, self.billed, self.wait = reason, refused, retry, billed, wait
        self.capped = capped


class TooLong(httpx2.ReadError):
    """An endpoint sent more than a reply can be."""


class Encoded(httpx2.ReadError):
    """An endpoint sent compressed data, which was not asked for and whose size is not known."""


def failure(error: Exception, key: str | None) -> CallFailed:
    """Return an error of the client as ours."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, key)
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(cause, TooLong | Encoded):
        return CallFailed("reply too long" if isinstance(cause, TooLong) else "malformed reply: compressed")
    if isinstance(error, openai.APIConnectionError):  # which timeouts are too
        reason = "timeout" if isinstance(error, openai.APITimeoutError) else "no connection"
        return CallFailed(reason, retry=True, billed=not isinstance(cause, UNSENT))
    return CallFailed("malformed reply")


def _of_status(error: openai.APIStatusError, key: str | None) -> CallFailed:
    status, words = error.status_code, _words(error, key) if error.status_code in SPOKEN else ""
    reason = f"status {status}{': ' if words else ''}{words}"
    if status in REFUSED:
        return CallFailed(reason, refused=True, billed=False)
    retry = status in (408, 409, 429) or status >= 500
    return CallFailed(reason, retry=retry, billed=False, wait=_wait(error.response.headers))


def _words(error: openai.APIStatusError, key: str | None) -> str:
    said = error.body.get("message") if isinstance(error.body, dict) else None
    said = texts.whole(said) if isinstance(said, str) else ""
    return (said.replace(key, "[key]") if key else said)[:LONGEST_MESSAGE]


def _wait(headers) -> float | None:
    """Return how many seconds an endpoint asks to wait, None where it does not say."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            if (seconds := float(headers.get(name, "")) / unit) >= 0:
                return seconds
        except ValueError:
            continue
    try:
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time(), 0.0)
    except (TypeError, ValueError):
        return None
