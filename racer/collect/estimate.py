"""What a collection will cost before it begins: of every model its calls, about how much, and at most how much."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from racer.collect.asking import CONFIDENCE, Asked
from racer.collect.graders import answer_in
from racer.collect.judge import Judge
from racer.collect.queries import Query
from racer.pool import usage
from racer.pool.confidence import ASKED

CHARACTERS = 4  # bytes of a prompt per token, about


@dataclass(frozen=True)
class Estimate:
    """Of one model: calls still to be made, USD about and at most, seconds about (None: nothing is known) and at most.

    At most is what the spend cap holds back for a call: a token for every byte, and all output allowed.
    """

    model: str
    calls: int
    usd: float
    most_usd: float
    seconds: float | None
    most_seconds: float


def of_answers(asked: Asked, queries: Iterable[Query], reply_tokens: int) -> Estimate:
    """Return the estimate of the answers a model has not given; `reply_tokens` long until its own length is known."""
    asked_of = [(q.id, asked.query(q.query)) for q in queries]
    bodies = [body for i, body in asked_of if asked.known("answer", i, body) is None]
    return _estimate(asked, asked.endpoint.name, bodies, reply_tokens)


def of_verdicts(asked: Asked, judge: Judge, queries: Iterable[Query], models: int, reply_tokens: int) -> Estimate:
    """Return the estimate of all verdicts, on replies of which each is taken to be `reply_tokens` long."""
    reply = "x" * (CHARACTERS * reply_tokens)
    bodies = [judge.request(q, reply) for q in queries if q.grader == "judge"] * models
    return _estimate(asked, f"{asked.endpoint.name} (judge)", bodies, reply_tokens)


def of_confidences(asked: Asked, queries: Iterable[Query], reply_tokens: int) -> Estimate | None:
    """Return the estimate of the calls that ask a model how sure it is, None if none do.

    Answers that are not there yet are taken to be `reply_tokens` long.
    """
    if asked.endpoint.confidence not in ASKED:
        return None
    return _estimate(asked, f"{asked.endpoint.name} (confidence)", list(_about(asked, queries, reply_tokens)),
                     reply_tokens)


def _about(asked: Asked, queries: Iterable[Query], reply_tokens: int) -> Iterator[dict]:
    """Yield the requests about answers that are still to be made."""
    for query in queries:
        said = asked.known("answer", query.id, asked.query(query.query))
        answer = "x" * (CHARACTERS * reply_tokens)
        if said is not None and (answer := answer_in(said.reply, query.grader, asked.endpoint.extract,
                                                    said.finish_reason)) is None:
            continue
        body = asked.member.of_confidence(query.query, answer)
        if asked.known(CONFIDENCE, query.id, body) is None:
            yield body


def _estimate(asked: Asked, name: str, bodies: list[dict], reply_tokens: int) -> Estimate:
    one, seen = asked.endpoint, asked.journal.pace().get(asked.endpoint.name)
    fitted = [asked.member.fitted(b) for b in bodies]
    tokens_in = sum(len(m["content"].encode()) for b in fitted for m in b["messages"]) / CHARACTERS
    tokens_out = sum(min(seen[0] if seen else reply_tokens, b[one.max_tokens_key]) for b in fitted)
    most = sum(usage.worst(one, b).usd for b in fitted)
    usd = min((tokens_in * one.price_in + tokens_out * one.price_out) / 1e6, most)
    waits = len(bodies) * 60 / one.rate if one.rate else 0.0
    about = max(len(bodies) * seen[1] / one.concurrency, waits) if seen else None
    return Estimate(name, len(bodies), usd, most, about, max(len(bodies) * one.timeout / one.concurrency, waits))
