"""Recorded answers behind the OpenAI protocol: a pool that costs nothing, to try a server and its policies on."""

import math
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from racer.errors import TableError
from racer.pool.member import content_text
from racer.serve.guard import refusal
from racer.serve.render import DONE, chunk, end, event, identity
from racer.serve.request import Refused, parse_json
from racer.table import OutcomeTable

CHARACTERS = 4  # per token, where a table does not say


def build(table: OutcomeTable) -> Starlette:
    """Return an application that answers as each model of the table did, to queries of the table and to no others.

    The last message of the user is the query. A lost answer is an empty reply. Raises `TableError` without answers.
    """
    if table.answers is None:
        raise TableError(f"{table.name} has no answers to replay: give a table with a column `answer`")
    row_of = {query: i for i, query in enumerate(table.queries)}

    async def chat(request: Request) -> Response:
        record = parse_json(await request.body())
        if (model := record.get("model")) not in table.models:
            raise Refused(404, f"the model {model!r} is not in the table: {', '.join(table.models)}", param="model")
        texts = [content_text(m.get("content")) for m in record.get("messages", []) if m.get("role") == "user"]
        if not texts or (row := row_of.get(texts[-1])) is None:
            raise Refused(404, "the query is not in the table: only recorded answers are known", param="messages")
        column = table.models.index(model)
        text = table.answers[row, column] or ""
        tokens = 0 if table.output_tokens is None else table.output_tokens[row, column]
        usage = {"prompt_tokens": math.ceil(len(texts[-1]) / CHARACTERS),
                 "completion_tokens": math.ceil(tokens or len(text) / CHARACTERS)}
        usage["total_tokens"] = sum(usage.values())
        if record.get("stream"):
            return StreamingResponse(_chunks(model, text, usage), media_type="text/event-stream")
        return JSONResponse({**identity(), "object": "chat.completion", "model": model, "usage": usage, "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])],
                     exception_handlers={Refused: lambda _, refused: refusal(refused)})


def _chunks(model: str, text: str, usage: dict) -> Iterator[bytes]:
    shared, delta = identity(), {"role": "assistant", "content": text}
    yield event(chunk(shared, model, [{"index": 0, "delta": delta, "finish_reason": None}]))
    yield event(chunk(shared, model, end("stop")))
    yield event(chunk(shared, model, [], usage=usage))
    yield DONE
