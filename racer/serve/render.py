"""Completions, whole and in chunks, as clients of the protocol expect them."""

import json
import time
from collections.abc import Iterator
from uuid import uuid4

from racer.consult import NONE_CERTIFIED
from racer.serve.outcome import Outcome

ABSTAINED = "abstained"  # the finish reason


def identity() -> dict:
    """Return what all chunks of one completion share."""
    return {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time())}


def completion(outcome: Outcome, name: str) -> dict:
    """Return a completion; `name` is the model that was asked for."""
    message, finish = said(outcome)
    return {**identity(), "object": "chat.completion", "model": outcome.model or name,
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": outcome.logprobs}],
            "usage": usage(outcome), "racer": outcome.record()}


def said(outcome: Outcome) -> tuple[dict, str]:
    """Return the message and the finish reason."""
    if outcome.reply is None:
        why = "no model is likely enough to be right" if not outcome.panel.called else "no answer is sure enough"
        if outcome.certificate is not None and outcome.certificate["policy"] is None:
            why = NONE_CERTIFIED
        return {"role": "assistant", "content": "", "refusal": f"abstained: {why}"}, ABSTAINED
    return {"role": "assistant", **outcome.reply.message}, outcome.reply.finish_reason


def usage(outcome: Outcome) -> dict:
    """Return the tokens of all replies together."""
    tokens = [reply.usage for reply in outcome.all_replies()]
    tokens_in, tokens_out = sum(t.tokens_in for t in tokens), sum(t.tokens_out for t in tokens)
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def chunk(shared: dict, model: str, choices: list[dict], **beside) -> dict:
    return {**shared, "object": "chat.completion.chunk", "model": model, "choices": choices, **beside}


def end(finish: str) -> list[dict]:
    """Return the choices of a chunk that ends a reply."""
    return [{"index": 0, "delta": {}, "finish_reason": finish}]


def chunks(outcome: Outcome, name: str, include_usage: bool) -> Iterator[bytes]:
    """Yield a whole reply as a stream: all of it at once, then its end with `racer`."""
    shared, model = identity(), outcome.model or name
    message, finish = said(outcome)
    if message.get("tool_calls"):
        message = message | {"tool_calls": [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]}
    said_so = {} if outcome.logprobs is None else {"logprobs": outcome.logprobs}
    yield event(chunk(shared, model, [{"index": 0, "delta": message, "finish_reason": None, **said_so}]))
    yield event(chunk(shared, model, end(finish), racer=outcome.record()))
    if include_usage:
        yield event(chunk(shared, model, [], usage=usage(outcome)))
    yield DONE


def broken(message: str, kind: str, outcome: Outcome) -> bytes:
    """Return the event that ends a stream which is not whole."""
    return event({"error": {"message": message, "type": kind, "code": None},
                  "racer": outcome.record() | {"promise_stands": False}})


def event(record: dict) -> bytes:
    return f"data: {json.dumps(record)}\n\n".encode()  # escapes: half of an emoji, the rest to come, has no UTF-8


DONE = b"data: [DONE]\n\n"
