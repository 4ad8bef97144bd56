"""One model behind its endpoint: a call with its time limit, retries, waits and bill."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from aiolimiter import AsyncLimiter
from openai.types.chat import ChatCompletionChunk

from racer.pool import confidence, texts, usage, wire
from racer.pool.cache import Cache
from racer.pool.failures import CallFailed, failure
from racer.pool.file import QUERY, TOKEN_KEYS, Endpoint
from racer.pool.ledger import Bill, Busy, CapReached, Hold, Ledger

PATH = "/chat/completions"
LONGEST_WAIT = 8.0  # seconds between two tries, unless the endpoint asks for more
LOCKED = 0.05  # seconds until a file of the money spent that is locked is tried again
NEUTRAL = {"messages", "user", "metadata", "store", "safety_identifier", "prompt_cache_key", "logprobs", "top_logprobs"}
# keys of a request that change no reply


@dataclass(frozen=True)
class Reply:
    """What a model said: `message` and `finish_reason` as the endpoint gave them; tokens and USD of the call.

    `usd` is 0 where the reply was `cached`. `stated`: the tokens are the endpoint's own count, else the worst case.
    `logprobs` are those of its tokens, as the endpoint gave them. `confidence` is how sure the model is of it, where
    the pool file takes that from them (`likelihood`).
    """

    model: str
    message: dict
    finish_reason: str
    usage: usage.Usage
    usd: float
    cached: bool = False
    logprobs: Any = None
    confidence: float | None = None

    @property
    def text(self) -> str:
        """The text of the reply, empty where it only calls tools."""
        return _text(self.message)

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not self.text.strip() and not self.message.get("tool_calls")


class Member:
    """One model of the pool, ready to be called."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, cache: Cache | None = None):
        self.endpoint, self.ledger, self.cache = endpoint, ledger, cache
        self._client, self._key, self._question = wire.client(endpoint), endpoint.key(), endpoint.question()
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        rate = endpoint.rate  # one call at once, then evenly spaced: a full minute's calls at once would be a burst
        self._limiter = None if rate is None else AsyncLimiter(1, 60 / rate)

    def of_query(self, body: dict, streamed: bool = False) -> dict:
        """Return the request body that a user's query is for this model: its prompt goes around the last user message.

        Log-probabilities are asked for where its confidence is made of them, but not in a stream, of which none is
        told. Requests of our own, as for a verdict, are asked as they are.
        """
        if self.endpoint.prompt is not None:
            body = body | {"messages": prompted(body["messages"], self.endpoint.prompt)}
        return body | {"logprobs": True} if self._by_likelihood and not streamed else body

    def of_confidence(self, query: str, answer: str) -> dict | None:
        """Return the request body that asks how sure the model is of its final answer, None where nothing is asked."""
        if self._question is None:
            return None
        return confidence.request(self.endpoint.confidence, self._question, query, answer)

    def sure(self, reply: Reply) -> float | None:
        """Return how sure the model is, by its reply to what `of_confidence` asks; None where it does not say."""
        by_tokens = self.endpoint.confidence == confidence.P_TRUE
        return confidence.p_true(reply.logprobs) if by_tokens else confidence.verbalised(reply.text)

    async def ask(self, body: dict, bill: Bill, seconds: float) -> Reply:
        """Return the reply to a request body (`messages` and parameters), within `seconds` and the endpoint's timeout.

        Raises `CallFailed`. Either way what it cost is added to the bill, failed tries included.
        """
        if seconds <= 0:
            raise CallFailed("timeout", billed=False)
        body = _sendable(self.fitted(body))
        key = None if self.cache is None else Cache.key(self.endpoint.api_base, body)
        if key is not None and (kept := self.cache.get(key)) is not None:
            return self._reply(kept, body, cached=True)
        try:
            async with asyncio.timeout(min(seconds, self.endpoint.timeout)) as limit:
                completion, reply = await self._tries(body, bill, limit.when())
        except TimeoutError:
            raise CallFailed("timeout") from None
        if key is not None and not reply.empty:
            self.cache.put(key, completion)
        return reply

    async def stream(self, body: dict, bill: Bill, seconds: float) -> AsyncIterator[dict]:
        """Yield the reply's chunks as they come, the last ones with `finish_reason` and `usage`; no second try.

        All must come within `seconds` and the endpoint's timeout. Raises `CallFailed`, before the first chunk or when
        the stream breaks.
        """
        body = _sendable(self.fitted(body))
        end = asyncio.get_running_loop().time() + min(seconds, self.endpoint.timeout)
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout_at(end):
                    await self._enter()
                    stack.callback(self._slots.release)
                    hold = await stack.enter_async_context(self._held(body, bill))
                chunks = await stack.enter_async_context(aclosing(self._chunks(body, end)))
                text, said, finished = "", None, False
                async for chunk in chunks:
                    with self._failures(TypeError, AttributeError, LookupError):
                        delta, done = _delta(chunk)
                    text, finished, said = text + delta, finished or done, chunk.get("usage") or said
                    yield chunk
                if not finished:
                    raise CallFailed("stream broke off")
                hold.settle(usage.of(self.endpoint, body, said, text).usd)
        except TimeoutError:
            raise CallFailed("timeout") from None

    def fitted(self, body: dict) -> dict:
        """Return what the endpoint is sent: its name of the model, its parameters, the limit of tokens."""
        sent = {k: v for k, v in (self.endpoint.parameters | body).items() if k not in TOKEN_KEYS}
        asked = [v for k in TOKEN_KEYS if (v := body.get(k)) is not None]
        return sent | {"model": self.endpoint.model,
                       self.endpoint.max_tokens_key: min([*asked, self.endpoint.max_tokens])}

    def changed_by(self, body: dict) -> set[str]:
        """Return the keys of a user's request by which this model is asked otherwise than the pool file says."""
        asked, usual = self.fitted(body), self.fitted({})
        return {key for key in asked.keys() - NEUTRAL if asked[key] != usual.get(key)}

    async def close(self) -> None:
        await self._client.close()

    @property
    def _by_likelihood(self) -> bool:
        return self.endpoint.confidence == confidence.LIKELIHOOD

    def _tokens(self, body: dict) -> int:
        return body[self.endpoint.max_tokens_key]

    async def _tries(self, body: dict, bill: Bill, end: float) -> tuple[dict, Reply]:
        for attempt in range(self.endpoint.retries + 1):
            try:
                return await self._once(body, bill)
            except CallFailed as failed:
                wait = failed.wait
                if wait is None:  # full jitter: a crowd that failed together does not come back together
                    wait = random.uniform(0, min(self.endpoint.backoff * 2 ** attempt, LONGEST_WAIT))
                over = asyncio.get_running_loop().time() + wait >= end
                if not failed.retry or attempt == self.endpoint.retries or over:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _once(self, body: dict, bill: Bill) -> tuple[dict, Reply]:
        await self._enter()
        try:
            async with self._held(body, bill) as hold:
                wire.allow(self._tokens(body), bool(body.get("logprobs")))
                with self._failures():
                    raw = await self._client.post(PATH, cast_to=httpx2.Response, body=body)  # as it is, and quickly
                    completion = texts.loads(raw.content)
                reply = self._reply(completion, body)
                hold.settle(reply.usd)
                return completion, reply
        finally:
            self._slots.release()

    async def _chunks(self, body: dict, end: float) -> AsyncIterator[dict]:
        """Yield the chunks of a stream as plain records."""
        wire.allow(self._tokens(body), rich=True)
        with self._failures(AttributeError):
            async with asyncio.timeout_at(end):
                chunks = await self._client.post(
                    PATH, cast_to=ChatCompletionChunk, body=body | {"stream": True, "stream_options": {
                        "include_usage": True}}, stream=True, stream_cls=openai.AsyncStream[ChatCompletionChunk])
            try:
                while True:
                    async with asyncio.timeout_at(end):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        break
                    yield chunk.model_dump(exclude_unset=True, warnings=False)
            finally:
                await chunks.close()

    async def _enter(self) -> None:
        """Wait for a place among the calls at a time, and for the rate."""
        await self._slots.acquire()
        try:
            if self._limiter is not None:
                await self._limiter.acquire()
        except BaseException:
            self._slots.release()
            raise

    @asynccontextmanager
    async def _held(self, body: dict, bill: Bill) -> AsyncIterator[Hold]:
        """Hold back the most that a call can cost; this waits while the file of the money spent is locked."""
        with ExitStack() as stack:
            stack.callback(self._pay)
            hold = await self._hold(usage.worst(self.endpoint, body).usd, bill, stack)
            try:
                yield hold
            except CallFailed as failed:
                if not failed.billed:
                    hold.settle(0.0)
                raise

    async def _hold(self, usd: float, bill: Bill, stack: ExitStack) -> Hold:
        while True:
            try:
                return stack.enter_context(self.ledger.hold(usd, bill))
            except Busy:
                await asyncio.sleep(random.uniform(0, LOCKED))
            except CapReached as error:
                raise CallFailed(str(error), billed=False, capped=True) from None

    def _pay(self) -> None:
        """Let the ledger write what calls cost, once its file is not locked: nobody waits for that."""
        if not self.ledger.pay():
            asyncio.get_running_loop().call_later(LOCKED, self._pay)

    @contextmanager
    def _failures(self, *also: type[Exception]) -> Iterator[None]:
        """Raise as `CallFailed` what the client raises, and what `also` comes of a reply of another shape."""
        try:
            yield
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, RecursionError, *also) as error:
            raise failure(error, self._key) from None

    def _reply(self, completion: dict, body: dict, cached: bool = False) -> Reply:
        try:
            choice = completion["choices"][0]
            message, finish = choice["message"], choice.get("finish_reason")
            text, finish = _text(message), finish if isinstance(finish, str) else "stop"
            found = usage.of(self.endpoint, body, completion.get("usage"), text)
            logprobs = choice.get("logprobs")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise CallFailed("malformed reply") from None
        sure = confidence.likelihood(logprobs) if self._by_likelihood else None
        return Reply(self.endpoint.name, message, finish, found, 0.0 if cached else found.usd, cached, logprobs, sure)


def _sendable(body: dict) -> dict:
    """Return the body; raise `CallFailed` if JSON has no word for something in it, before anything is held or sent."""
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise CallFailed(f"the request is no JSON in UTF-8 ({error})", refused=True, billed=False) from None
    return body


def prompted(messages: list[dict], template: str) -> list[dict]:
    """Return the messages with the last user message put into a template at {query}."""
    last = max(i for i, m in enumerate(messages) if m["role"] == "user")
    text = template.replace(QUERY, content_text(messages[last]["content"]))
    return [m if i != last else m | {"content": text} for i, m in enumerate(messages)]


def content_text(content: str | list | None) -> str:
    """Return the text of a message's content: a string, or parts of type `text`, a line each."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return content or ""


def _text(message: dict) -> str:
    text = message.get("content")
    text = message.get("refusal") if text is None else text
    if text is not None and not isinstance(text, str):
        raise TypeError("content is no text")
    return text or ""


def _delta(chunk: dict) -> tuple[str, bool]:
    """Return the text that a chunk adds, and whether it ends the reply."""
    choice = _choice(chunk)
    text = (choice.get("delta") or {}).get("content")
    return text if isinstance(text, str) else "", choice.get("finish_reason") is not None


def says_something(chunk: dict) -> bool:
    """Return whether a chunk adds to what the reply says: a text that is not blank, a refusal, a call of a tool."""
    delta = _choice(chunk).get("delta") or {}
    texts = [text for key in ("content", "refusal") if isinstance(text := delta.get(key), str)]
    return bool(delta.get("tool_calls")) or any(text.strip() for text in texts)


def _choice(chunk: dict) -> dict:
    return (chunk.get("choices") or [{}])[0]
