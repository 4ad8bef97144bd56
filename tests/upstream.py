"""Real HTTP servers on loopback that speak the OpenAI protocol, well or badly."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Call:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: dict


def completion(text: str, body: dict, tokens_in: int = 10, tokens_out: int = 5, **more) -> dict:
    """Return a completion as an endpoint gives it."""
    return {"id": "up-1", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out,
                      "total_tokens": tokens_in + tokens_out}} | more


def chunk(delta: dict, finish: str | None = None, usage: dict | None = None) -> dict:
    choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices} | (
        {"usage": usage} if usage else {})


def cut_off(completion: dict) -> dict:
    """Return a completion whose one choice ended because no more tokens were allowed."""
    [choice] = completion["choices"]
    return completion | {"choices": [choice | {"finish_reason": "length"}]}


def token(text: str, logprob, top: dict | None = None) -> dict:
    """Return a token with its log-probability and those of others in its place, as the protocol has them."""
    tops = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in (top or {}).items()]
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": tops}


def with_logprobs(completion: dict, *tokens: dict) -> dict:
    """Return a completion whose one choice tells the log-probabilities of its tokens."""
    [choice] = completion["choices"]
    return completion | {"choices": [choice | {"logprobs": {"content": list(tokens), "refusal": None}}]}


class Answer:
    """What is written back to one request."""

    def __init__(self, writer: asyncio.StreamWriter):
        self.writer = writer

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, kind: str, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {kind}", "connection: close", *headers]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def json(self, value, status: int = 200, *headers: str) -> None:
        data = json.dumps(value).encode()
        await self.head(status, "application/json", f"content-length: {len(data)}", *headers)
        await self.raw(data)

    async def event(self, value) -> None:
        data = value if isinstance(value, str) else json.dumps(value)
        await self.raw(f"data: {data}\n\n".encode())


Behaviour = Callable[[dict, Answer], Awaitable[None]]


def says(text: str, tokens_in: int = 10, tokens_out: int = 5) -> Behaviour:
    """A healthy model that always says `text`, streaming word by word where asked to."""
    async def behave(body: dict, answer: Answer) -> None:
        if not body.get("stream"):
            return await answer.json(completion(text, body, tokens_in, tokens_out))
        await answer.head(200, "text/event-stream")
        await answer.event(chunk({"role": "assistant", "content": ""}))
        for word in text.split(" "):
            await answer.event(chunk({"content": word + " "}))
        await answer.event(chunk({}, "stop"))
        await answer.event(chunk({}, usage={"prompt_tokens": tokens_in, "completion_tokens": tokens_out}))
        await answer.event("[DONE]")
    return behave


def slow(seconds: float = 30) -> Behaviour:
    """A model that says nothing for a long time."""
    async def behave(body: dict, answer: Answer) -> None:
        await asyncio.sleep(seconds)
        await says("late")(body, answer)
    return behave


def fails(status: int, *headers: str, message: str = "no", times: int | None = None, then: Behaviour | None = None
          ) -> Behaviour:
    """An endpoint that answers with an error status, `times` times (None: always), and `then` as another."""
    count = 0

    async def behave(body: dict, answer: Answer) -> None:
        nonlocal count
        count += 1
        if times is not None and count > times:
            return await then(body, answer)
        await answer.json({"error": {"message": message}}, status, *headers)
    return behave


def sends(data: bytes, *headers: str, status: int = 200, kind: str = "application/json") -> Behaviour:
    """An endpoint that writes these bytes as its body, whatever they are."""
    async def behave(body: dict, answer: Answer) -> None:
        await answer.head(status, kind, *headers)
        await answer.raw(data)
    return behave


def returns(value) -> Behaviour:
    """An endpoint that returns this JSON."""
    async def behave(body: dict, answer: Answer) -> None:
        await answer.json(value)
    return behave


def hangs_up() -> Behaviour:
    """An endpoint that takes the request and drops the connection."""
    async def behave(body: dict, answer: Answer) -> None:
        pass
    return behave


def floods() -> Behaviour:
    """An endpoint that never stops sending."""
    async def behave(body: dict, answer: Answer) -> None:
        await answer.head(200, "application/json")
        while True:
            await answer.raw(b" " * 2**16)
    return behave


def dies_mid_stream(words: int = 2, hang: bool = False) -> Behaviour:
    """A stream that breaks off after some words, or goes silent."""
    async def behave(body: dict, answer: Answer) -> None:
        await answer.head(200, "text/event-stream")
        for i in range(words):
            await answer.event(chunk({"content": f"word{i} "}))
        if hang:
            await asyncio.sleep(30)
    return behave


@dataclass
class Upstream:
    """A server in a thread of its own; the `model` of a request picks the behaviour. Use it by `with`."""

    behaviours: dict[str, Behaviour]
    calls: list[Call] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self) -> list[str]:
        """Return the models that were called, in order."""
        return [call.body["model"] for call in self.calls]

    def __enter__(self) -> "Upstream":
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop, self._tasks = asyncio.Event(), set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
            body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
            self.calls.append(Call(head[0].split(" ")[1], headers, body))
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            try:
                await self.behaviours[body["model"]](body, Answer(writer))
            finally:
                self.busy -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(asyncio.current_task())
            writer.close()
