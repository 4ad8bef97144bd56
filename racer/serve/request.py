"""What a client asks: a chat request checked, and the text that the router reads."""

import json
from dataclasses import dataclass, field

from racer.answers import ANSWER_KINDS
from racer.pool.file import NOT_OF_CLIENTS, TOKEN_KEYS
from racer.pool.member import content_text

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TURNS = ("user", "assistant", "tool", "function")
CONTEXTS = ("turns", "last", "all")
OURS = ("model", "stream", "stream_options", "racer")  # keys of a request that are not handed on


class Refused(Exception):
    """A request that cannot be served: an HTTP status, a message for the client, and the parameter at fault."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", param: str | None = None,
                 headers: dict[str, str] | None = None, beside: dict | None = None):
        super().__init__(message)
        self.status, self.message, self.kind, self.param = status, message, kind, param
        self.headers, self.beside = headers or {}, beside or {}


@dataclass(frozen=True)
class Ask:
    """One chat request.

    `body` is handed on to the models: `messages` and parameters. `text` is what the router reads. `known` holds what
    else is known of the query: `task`, `group`, `weight`. `kind` of answers and number of `options` where the client
    says so; `replies`: the client wants to see what every model said.
    """

    body: dict
    text: str
    stream: bool = False
    include_usage: bool = False
    known: dict = field(default_factory=dict)
    kind: str | None = None
    options: int | None = None
    replies: bool = False


def parse(data: bytes, name: str, context: str, side: str) -> Ask:
    """Return the request in a body of bytes; raise `Refused`.

    `name` is the model that we offer; `context` and `side` as in `text_of`.
    """
    record = parse_json(data)
    check_name(record.get("model"), name)
    messages = _messages(record.get("messages"))
    if record.get("n") not in (None, 1):
        raise Refused(400, "n must be 1: one answer is returned, whoever is asked", param="n")
    if barred := [key for key in NOT_OF_CLIENTS if key != "n" and record.get(key) is not None]:
        raise Refused(400, f"{barred[0]} cannot be set: by it a call could cost more than is held for it, or another "
                      "model answer", param=barred[0])
    stream, options = record.get("stream"), record.get("stream_options") or {}
    if stream not in (None, True, False) or not isinstance(options, dict):
        raise Refused(400, "stream must be true or false, stream_options an object", param="stream")
    for key in TOKEN_KEYS:
        if (value := record.get(key)) is not None and (isinstance(value, bool) or not isinstance(value, int)
                                                       or value < 1):
            raise Refused(400, f"{key} must be a whole number of at least 1", param=key)
    body = {k: v for k, v in record.items() if k not in (*OURS, *NOT_OF_CLIENTS)} | {"messages": messages}
    usage = bool(options.get("include_usage"))
    return Ask(body, text_of(messages, context, side), bool(stream), usage, **hints(record))


def parse_query(record: dict) -> Ask:
    """Return the request in a record of `query` and `racer`; raise `Refused`."""
    query = record["query"]
    if not isinstance(query, str) or not query.strip():
        raise Refused(400, "query must be a text that is not empty", param="query")
    if strange := sorted(record.keys() - {"query", "racer", "model"}):
        raise Refused(400, f"beside query there may be racer, got {', '.join(strange)}", param=strange[0])
    return Ask({}, query, **hints(record))


def check_name(asked, name: str) -> None:
    """Raise `Refused` unless the model asked for is the one that we offer."""
    if asked != name:
        raise Refused(404, f"the model {asked!r} does not exist here: ask for {name!r}", "not_found_error", "model")


def parse_json(data: bytes) -> dict:
    """Return a JSON object; raise `Refused` for anything else, numbers beyond floats and texts that are no Unicode
    included: no model could be sent these.
    """
    try:
        record = json.loads(data)
        json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON in UTF-8") from None
    if not isinstance(record, dict):
        raise Refused(400, "the body must be a JSON object")
    return record


def hints(record: dict) -> dict:
    """Return what the client says under `racer` of the query and the answer it wants."""
    given = {} if record.get("racer") is None else record["racer"]
    known = ("task", "group", "weight", "kind", "options", "replies")
    if not isinstance(given, dict) or (strange := sorted(given.keys() - set(known))):
        which = "" if not isinstance(given, dict) else f", got {', '.join(strange)}"
        raise Refused(400, f"racer must be an object with some of {', '.join(known)}{which}", param="racer")
    types = {"task": str, "group": str, "weight": int | float, "kind": str, "options": int, "replies": bool}
    for key, value in given.items():
        if not isinstance(value, types[key]) or (isinstance(value, bool) and key != "replies"):
            raise Refused(400, f"racer.{key} is {value!r}, which it cannot be", param=f"racer.{key}")
    if given.get("kind") not in (None, *ANSWER_KINDS):
        raise Refused(400, f"racer.kind must be one of {', '.join(ANSWER_KINDS)}", param="racer.kind")
    if given.get("options", 0) < 0:
        raise Refused(400, "racer.options must be at least 0", param="racer.options")
    return {"known": {k: given[k] for k in ("task", "group", "weight") if k in given},
            **{k: given[k] for k in ("kind", "options", "replies") if k in given}}


def text_of(messages: list[dict], context: str, side: str) -> str:
    """Return the text of a conversation that the router reads.

    `context` is one of CONTEXTS: `turns` are all messages but those of the system, `last` the last message of the
    user, `all` the system's too. If that is one message, its text is read as it is: the form of the queries that the
    router was calibrated on. Else the messages stand below each other with their roles, so that what the encoder cuts
    off, at `side`, is the oldest: newest first if it cuts on the right, else last.
    """
    roles = ROLES if context == "all" else TURNS
    turns = [(m["role"], content_text(m.get("content"))) for m in messages if m["role"] in roles]
    if context == "last":
        turns = [turn for turn in turns if turn[0] == "user"][-1:]
    turns = [turn for turn in turns if turn[1].strip()]
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in (turns[::-1] if side == "right" else turns))


def _messages(messages) -> list[dict]:
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages must be a list with at least one message", param="messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Refused(400, f"message {i} must be an object with a role, one of {', '.join(ROLES)}",
                          param=f"messages[{i}]")
        if not _is_text(message.get("content")):
            raise Refused(400, f"the content of message {i} must be a text, or parts of type text: the router reads "
                          "nothing else", param=f"messages[{i}].content")
    last = [content_text(m.get("content")) for m in messages if m["role"] == "user"][-1:]
    if not last or not last[0].strip():
        raise Refused(400, "the last message of the user is missing or empty", param="messages")
    return messages


def _is_text(content) -> bool:
    if isinstance(content, list):
        return all(isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in content)
    return content is None or isinstance(content, str)
