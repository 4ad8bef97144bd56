"""Who gets in: the token, the number of requests at a time, the time a request may take."""

import asyncio
import hmac
import logging
from time import perf_counter

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from racer.serve.exchange import Exchange
from racer.serve.metrics import Metrics
from racer.serve.request import Refused

log = logging.getLogger("racer.serve")
OPEN = ("/health",)  # needs no token
GRACE = 2.0  # seconds beyond the deadline in which a response may still be taken by a slow client
LEFT = 499  # counted, never sent: the client hung up before its response was sent
BOUNDED = ("/v1/chat/completions", "/v1/route")  # routes that take a place


class Guard:
    """The outermost layer: token, place, deadline; every request ends with a response, and is counted.

    At most `concurrency` requests are at work and `queue` wait for a place, bodies unread but for a first part. The
    deadline of a request, in seconds from its arrival, waiting included, is handed on as `scope["state"]["end"]`, a
    time of the event loop. What a client has asked for is cancelled as soon as it hangs up.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, concurrency: int, queue: int,
                 deadline: float):
        self.app, self.metrics, self.token, self.deadline = app, metrics, token, deadline
        self.places, self.queue, self.waiting = asyncio.Semaphore(concurrency), queue, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, path, exchange = perf_counter(), scope["path"], Exchange(receive, send)
        try:
            await self._admit(scope, receive, exchange)
        except Refused as refused:
            if not exchange.status:
                await refusal(refused)(scope, receive, exchange.send)
        except Exception as error:  # a bug of ours
            log_bug(path, error)
            if not exchange.status:
                await refusal(bug())(scope, receive, exchange.send)
        finally:
            route = path if path in (*BOUNDED, *OPEN, "/v1/models", "/metrics") else "other"
            self.metrics.requests.labels(route, LEFT if exchange.left else exchange.status).inc()
            self.metrics.seconds.labels(route).observe(perf_counter() - start)

    async def _admit(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        if self.token is not None and scope["path"] not in OPEN:
            given = Request(scope).headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
                raise Refused(401, "wrong or missing token: send Authorization: Bearer TOKEN", "authentication_error",
                              headers={"WWW-Authenticate": "Bearer"})
        if scope["path"] not in BOUNDED:
            return await self.app(scope, receive, exchange.send)
        end = asyncio.get_running_loop().time() + self.deadline
        scope.setdefault("state", {})["end"] = end
        try:
            async with asyncio.timeout_at(end + GRACE) as limit:
                listening = asyncio.create_task(exchange.listen(lambda: _stop(limit)))
                try:
                    await self._at_work(scope, exchange, end)
                finally:
                    listening.cancel()
        except TimeoutError:
            if not exchange.left:
                raise late() from None
            log.info("%s: the client left", scope["path"])

    async def _at_work(self, scope: Scope, exchange: Exchange, end: float) -> None:
        await self._place(end)
        self.metrics.working.inc()
        try:
            await self.app(scope, exchange.receive, exchange.send)
        finally:
            self.metrics.working.dec()
            self.places.release()

    async def _place(self, end: float) -> None:
        if self.places.locked() and self.waiting >= self.queue:
            raise busy()
        self.waiting += 1
        self.metrics.waiting.set(self.waiting)
        try:
            async with asyncio.timeout_at(end):
                await self.places.acquire()
        except TimeoutError:
            raise busy() from None
        finally:
            self.waiting -= 1
            self.metrics.waiting.set(self.waiting)


def _stop(limit: asyncio.Timeout) -> None:
    """Cancel what is under way: who has left has no time left."""
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())


def log_bug(what: str, error: Exception) -> None:
    """Log what failed; the error's message may hold the prompt, so only its kind is logged."""
    log.error("%s failed: %s", what, type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))


def busy() -> Refused:
    return Refused(503, "too many requests are waiting: try again later", "overloaded_error",
                   headers={"Retry-After": "1"})


def bug() -> Refused:
    return Refused(500, "internal error", "server_error")


def late() -> Refused:
    return Refused(504, "the deadline passed", "timeout_error")


def refusal(refused: Refused) -> JSONResponse:
    """Return a refusal in the form that clients of the protocol know."""
    error = {"message": refused.message, "type": refused.kind, "param": refused.param, "code": None}
    return JSONResponse({"error": error, **refused.beside}, refused.status, refused.headers)


async def body_of(request: Request, most: int) -> bytes:
    """Return the body of a request of at most `most` bytes, by its deadline; raise `Refused`."""
    too_long = Refused(413, f"the body is longer than {most} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise too_long
    data = bytearray()
    try:
        async with asyncio.timeout_at(request.state.end):
            async for part in request.stream():
                data += part
                if len(data) > most:
                    raise too_long
    except TimeoutError:
        raise Refused(408, "the body did not arrive in time", "timeout_error") from None
    return bytes(data)
