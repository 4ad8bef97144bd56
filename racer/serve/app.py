"""The routes: completions, models, route, health, metrics."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import perf_counter

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from racer.config import ServeConfig
from racer.pool import CallFailed, Pool
from racer.serve import render
from racer.serve.guard import Guard, body_of, bug, log_bug, refusal
from racer.serve.metrics import Metrics
from racer.serve.outcome import Outcome
from racer.serve.plan import Plan
from racer.serve.request import Ask, Refused, check_name, parse, parse_json, parse_query
from racer.serve.service import Service

log = logging.getLogger("racer.serve")
HERE = "POST /v1/chat/completions and /v1/route, GET /v1/models, /health and /metrics"


def build(router, pool: Pool, settings: ServeConfig, token: str | None = None) -> Guard:
    """Return the ASGI application; it closes the pool when it is shut down."""
    metrics = Metrics(pool.ledger)
    service = Service(router, pool, settings, metrics.count_calls)
    for remark in service.planner.remarks():
        log.warning(remark)
    routes = Routes(service, metrics)

    @asynccontextmanager
    async def lifespan(_):
        yield
        service.planner.close()
        await pool.close()

    async def refused(_, error: Refused) -> Response:  # a plain function would be run in a thread
        return refusal(error)

    async def broken(*_) -> Response:
        return refusal(bug())

    async def nowhere(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}; there are {HERE}"
        return refusal(Refused(error.status_code, message, "not_found_error", headers=error.headers))
    handlers = {Refused: refused, HTTPException: nowhere, Exception: broken}
    app = Starlette(lifespan=lifespan, exception_handlers=handlers, routes=[
        Route("/v1/chat/completions", routes.chat, methods=["POST"]),
        Route("/v1/route", routes.route, methods=["POST"]), Route("/v1/models", routes.models),
        Route("/v1/models/{name:path}", routes.model),
        Route("/health", routes.health), Route("/metrics", routes.metrics_text)])
    return Guard(app, metrics, token, settings.concurrency, settings.queue, settings.deadline)


class Streamed(StreamingResponse):
    """A response that is sent as it comes. The `call` behind it ends with it, also where its client stopped reading;
    then `count` is called.
    """

    def __init__(self, events: AsyncIterator[bytes], call: AsyncExitStack, count: Callable[[], None]):
        super().__init__(events, media_type="text/event-stream")
        self.call, self.count = call, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self.call:
                await super().__call__(scope, receive, send)
        finally:
            self.count()


class Routes:
    """What each route does."""

    def __init__(self, service: Service, metrics: Metrics):
        self.service, self.metrics, self.settings = service, metrics, service.settings
        self.side = service.router.settings.truncation_side

    async def chat(self, request: Request) -> Response:
        data = await body_of(request, self.settings.max_body)
        start, end = perf_counter(), request.state.end
        ask = parse(data, self.settings.name, self.settings.context, self.side)
        plan = await self._plan(ask, end)
        if self.service.passes_through(ask, plan):
            async with AsyncExitStack() as call:
                outcome, chunks = await call.enter_async_context(self.service.stream(ask, plan, end))
                return Streamed(self._events(ask, outcome, chunks), call.pop_all(),
                                partial(self._count, outcome, start))
        outcome = await self.service.complete(ask, plan, end)
        if ask.stream:
            content = b"".join(render.chunks(outcome, self.settings.name, ask.include_usage))
        else:
            content = json.dumps(render.completion(outcome, self.settings.name)).encode()
        timing = self._count(outcome, start)
        return Response(content, media_type="text/event-stream" if ask.stream else "application/json",
                        headers={"Server-Timing": timing})

    async def route(self, request: Request) -> Response:
        """Take `query` or `messages`, and `racer` as completions do; return the decision, without a call."""
        record = parse_json(await body_of(request, self.settings.max_body))
        if ("query" in record) == ("messages" in record):
            raise Refused(400, "give either query, a text, or messages", param="query")
        if "query" in record:
            ask = parse_query(record)
        else:
            asked = json.dumps(record | {"model": self.settings.name}).encode()
            ask = parse(asked, self.settings.name, self.settings.context, self.side)
        plan = await self._plan(ask, request.state.end)
        return JSONResponse({"models": list(self.service.router.models), **plan.record()})

    async def models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        check_name(request.path_params["name"], self.settings.name)
        return JSONResponse(self._model())

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics_text(self, _: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    def _model(self) -> dict:
        return {"id": self.settings.name, "object": "model", "created": 0, "owned_by": "racer",
                "pool": list(self.service.router.models)}

    async def _plan(self, ask: Ask, end: float) -> Plan:
        if self.settings.log_prompts:
            log.info("query: %s", ask.text)
        plan = await self.service.planner.plan(ask, end)
        self.metrics.forward.observe(plan.forward)
        return plan

    async def _events(self, ask: Ask, outcome: Outcome, chunks: AsyncIterator[dict]) -> AsyncIterator[bytes]:
        """Yield the events of a reply that is handed on as it comes. Its end is held back until its cost is known."""
        shared, finish, said = render.identity(), None, None
        try:
            async for one in chunks:
                said = one.get("usage") or said
                for choice in one.get("choices") or []:
                    finish = choice.get("finish_reason") or finish
                    if choice.get("delta"):
                        yield render.event(render.chunk(shared, outcome.model, [choice | {"finish_reason": None}]))
            yield render.event(render.chunk(shared, outcome.model, render.end(finish), racer=outcome.record()))
            if ask.include_usage:
                yield render.event(render.chunk(shared, outcome.model, [], usage=said))
            yield render.DONE
        except CallFailed as failed:
            yield render.broken(f"{outcome.model}: {failed.reason}", "upstream_error", outcome)
        except Exception as error:  # a bug of ours: the client is told that what it has is not all
            log_bug("a stream", error)
            yield render.broken(bug().message, bug().kind, outcome)

    def _count(self, outcome: Outcome, start: float) -> str:
        """Count what came of a query; return its times for the header."""
        if outcome.abstained:
            self.metrics.abstained.inc()
        total = perf_counter() - start
        overhead = total - outcome.forward - outcome.upstream
        self.metrics.overhead.observe(overhead)
        log.info("members=%s abstained=%s failed=%d %.0f ms %.6f USD", ",".join(outcome.panel.called) or "none",
                 outcome.abstained, len(outcome.panel.failed), 1000 * total, outcome.usd)
        return ", ".join(f"{name};dur={1000 * seconds:.2f}" for name, seconds in
                         (("forward", outcome.forward), ("upstream", outcome.upstream), ("overhead", overhead)))
