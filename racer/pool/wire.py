"""The connection to an endpoint: the official client, with a bound on what an endpoint may send."""

from collections.abc import AsyncIterator

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Omit

from racer.pool.failures import Encoded, TooLong
from racer.pool.file import Endpoint

LONGEST = 4 * 2**20  # bytes of a reply: far more than any model writes, and what a request may hold in memory


def client(endpoint: Endpoint) -> AsyncOpenAI:
    """Return a client of this endpoint. Only the endpoint's own key is ever sent to it; retries are not the client's.

    The client would fill in organisation and project of OpenAI from the environment, whoever the endpoint is.
    """
    key = endpoint.key()
    headers = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit(), "Accept-Encoding": "identity"}
    http = DefaultAsyncHttpxClient(timeout=httpx2.Timeout(endpoint.timeout, connect=min(5.0, endpoint.timeout)),
                                   limits=httpx2.Limits(max_connections=endpoint.concurrency),
                                   event_hooks={"request": [] if key else [_without_key], "response": [_bound]})
    return AsyncOpenAI(api_key=key or "none", base_url=endpoint.api_base, max_retries=0, http_client=http,
                       default_headers=headers)


async def _without_key(request: httpx2.Request) -> None:
    request.headers.pop("authorization", None)


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Encoded("content-encoding")
    response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with `TooLong` after LONGEST bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream):
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LONGEST
        async for part in self._stream:
            if (left := left - len(part)) < 0:
                raise TooLong(f"more than {LONGEST} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
