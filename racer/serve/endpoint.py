"""A chat endpoint made of a function: what stands in for a provider, for recorded answers and for local models."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from racer.pool.file import TOKEN_KEYS
from racer.pool.member import content_text
from racer.serve.guard import refusal
from racer.serve.render import DONE, chunk, end, event, identity
from racer.serve.request import Refused, parse_json

MOST = 256  # tokens of a reply where a request does not say


@dataclass(frozen=True)
class Said:
    """A reply, the tokens that were read and written for it; `cut`: it ended because no more tokens were allowed.

    `logprobs`: each written token with its log-probability, where that was asked for and is known.
    """

    text: str
    tokens_in: int
    tokens_out: int
    cut: bool = False
    logprobs: tuple[tuple[str, float], ...] | None = None


def build(say: Callable[[str, str, int, bool], Said], models: Sequence[str]) -> Starlette:
    """Return an application in which `say(model, query, max_tokens, logprobs)` answers, in a thread, for its `models`.

    The last message of the user is the query, what stands before it is not read. `logprobs`: the client wants to see
    the log-probabilities of the tokens. `say` may raise `Refused`.
    """
    async def chat(request: Request) -> Response:
        record = parse_json(await request.body())
        if (model := record.get("model")) not in models:
            raise Refused(404, f"the model {model!r} is not here: {', '.join(models)}", param="model")
        wanted = bool(record.get("logprobs"))
        said = await run_in_threadpool(say, model, _query(record), _most(record), wanted)
        usage = {"prompt_tokens": said.tokens_in, "completion_tokens": said.tokens_out,
                 "total_tokens": said.tokens_in + said.tokens_out}
        finish, logprobs = "length" if said.cut else "stop", _shown(said.logprobs) if wanted else {}
        if record.get("stream"):
            return StreamingResponse(_chunks(model, said.text, usage, finish, logprobs), media_type="text/event-stream")
        return JSONResponse({**identity(), "object": "chat.completion", "model": model, "usage": usage, "choices": [
            {"index": 0, "message": {"role": "assistant", "content": said.text}, "finish_reason": finish} | logprobs]})

    async def known(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in models]})
    routes = [Route("/v1/chat/completions", chat, methods=["POST"]), Route("/v1/models", known)]
    return Starlette(routes=routes, exception_handlers={Refused: lambda _, refused: refusal(refused)})


def _query(record: dict) -> str:
    messages = record.get("messages")
    messages = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    texts = [content_text(m.get("content")) for m in messages if m.get("role") == "user"]
    if not texts or not texts[-1].strip():
        raise Refused(400, "the last message of the user is missing or empty", param="messages")
    return texts[-1]


def _most(record: dict) -> int:
    for key in TOKEN_KEYS:
        if (value := record.get(key)) is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise Refused(400, f"{key} must be a whole number of at least 1", param=key)
            return value
    return MOST


def _shown(logprobs: tuple[tuple[str, float], ...] | None) -> dict:
    """Return the part of a choice that tells log-probabilities, with no other tokens beside those written."""
    if logprobs is None:
        return {}
    return {"logprobs": {"refusal": None, "content": [
        {"token": token, "logprob": logprob, "bytes": None, "top_logprobs": []} for token, logprob in logprobs]}}


def _chunks(model: str, text: str, usage: dict, finish: str, logprobs: dict) -> Iterator[bytes]:
    shared, delta = identity(), {"role": "assistant", "content": text}
    yield event(chunk(shared, model, [{"index": 0, "delta": delta, "finish_reason": None} | logprobs]))
    yield event(chunk(shared, model, end(finish)))
    yield event(chunk(shared, model, [], usage=usage))
    yield DONE
