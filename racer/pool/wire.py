"""The connection to an endpoint: the official client, with a bound on what an endpoint may send."""

import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from functools import cache

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Omit

from racer.pool.failures import Encoded, TooLong
from racer.pool.file import Endpoint

CONNECT = 5.0  # seconds, at most half of a call's: who cannot be connected to is known before that is cut off
HEAD, TOKEN, RICH_TOKEN = 2**16, 2**8, 2**12  # bytes of a reply: beside its tokens, of a token, of a rich one
_longest: ContextVar[int] = ContextVar("longest")


def allow(tokens: int, rich: bool) -> None:
    """Set the most bytes of the replies to this task's next calls: far more than so many `tokens` of output need.

    Replies are held in memory until they are whole. `rich`: tokens come with log-probabilities or in a stream, each in
    a record of its own.
    """
    _longest.set(HEAD + tokens * (RICH_TOKEN if rich else TOKEN))


def client(endpoint: Endpoint) -> AsyncOpenAI:
    """Return a client of this endpoint. Only the endpoint's own key is ever sent to it; retries are not the client's.

    The client would fill in organisation and project of OpenAI from the environment, whoever the endpoint is.
    """
    key = endpoint.key()
    headers = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit(), "Accept-Encoding": "identity"}
    http = DefaultAsyncHttpxClient(verify=_certificates(),
                                   timeout=httpx2.Timeout(endpoint.timeout, connect=min(CONNECT, endpoint.timeout / 2)),
                                   limits=httpx2.Limits(max_connections=endpoint.concurrency),
                                   event_hooks={"request": [] if key else [_without_key], "response": [_bound]})
    return AsyncOpenAI(api_key=key or "none", base_url=endpoint.api_base, max_retries=0, http_client=http,
                       default_headers=headers)


@cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates, read once: that takes longer than all else."""
    return httpx2.create_ssl_context()


async def _without_key(request: httpx2.Request) -> None:
    request.headers.pop("authorization", None)


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Encoded("content-encoding")
    response.stream = _Bounded(response.stream, _longest.get())


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with `TooLong` after `longest` bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream, longest: int):
        self._stream, self._left = stream, longest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._left -= len(part)
            if self._left < 0:
                raise TooLong("too many bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
