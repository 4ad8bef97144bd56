"""Every model asked every query, many at a time, until all is answered or the money is spent."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from tqdm import tqdm

from racer.collect.asking import CONFIDENCE, Asked
from racer.collect.graders import Grade
from racer.collect.grading import NO_VERDICT, Graders
from racer.collect.journal import Said
from racer.collect.queries import Query
from racer.pool import CallFailed
from racer.pool.confidence import LIKELIHOOD

CAPPED = "the spend cap leaves no room"


@dataclass(frozen=True)
class Outcome:
    """What became of one query with one model.

    `confidence` is how sure the model is of its answer, None where it says nothing of it. `usd` is the price of the
    answer and of that word on it, once it came; None where an endpoint does not count tokens.
    """

    said: Said
    grade: Grade
    usd: float | None
    confidence: float | None = None


@dataclass
class Collected:
    """The outcomes by (query id, model), and why others, or the confidence in them, are missing."""

    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)

    def silent(self) -> set[str]:
        """Return the models that answered, and of none of whose answers a confidence is known."""
        told = {model for (_, model), one in self.outcomes.items() if one.confidence is not None}
        return {model for (_, model), one in self.outcomes.items() if one.grade.answer is not None} - told

    def why(self) -> list[str]:
        """Return a line for each model and reason: how many outcomes, or confidences, are missing."""
        found = Counter((model, reason) for (_, model), reason in self.missing.items())
        return [f"{model}: {n} missing ({reason})" for (model, reason), n in found.items()]


class Collector:
    """The work of one run."""

    def __init__(self, pool: list[Asked], queries: list[Query], graders: Graders, bar: tqdm):
        self.pool, self.queries, self.graders, self.bar = pool, queries, graders, bar
        self.found, self.ledger = Collected(), pool[0].member.ledger

    async def run(self) -> Collected:
        """Ask and grade all that is not known yet; return everything that is known now.

        A call may find no room under the cap only because others are under way that hold more than they will cost:
        so those are tried again as long as any call came through.
        """
        left = {asked.endpoint.name: self.queries for asked in self.pool}
        while any(left.values()):
            before = self._calls()
            capped = await asyncio.gather(*(self._all(asked, left[asked.endpoint.name]) for asked in self.pool))
            left = {asked.endpoint.name: queries for asked, queries in zip(self.pool, capped, strict=True)}
            if self._calls() == before:
                break
        return self.found

    def _calls(self) -> int:
        return sum(asked.calls for asked in {*self.pool, self.graders.judging} - {None})

    async def _all(self, asked: Asked, queries: list[Query]) -> list[Query]:
        """Ask one model these queries, in order, as many at a time as it takes; return those without room."""
        jobs, capped = deque(queries), []

        async def work():
            while jobs:
                query = jobs.popleft()
                if not await self._cell(asked, query):
                    capped.append(query)
        await asyncio.gather(*(work() for _ in range(min(asked.endpoint.concurrency, len(queries)))))
        return capped

    async def _cell(self, asked: Asked, query: Query) -> bool:
        """Do one query with one model; return whether that is over: False if only the cap stands against it."""
        cell = query.id, asked.endpoint.name
        try:
            said = await asked.say("answer", query.id, asked.query(query.query))
            grade = await self.graders.grade(query, said, asked.endpoint.extract)
        except CallFailed as failed:
            self.found.missing[cell] = CAPPED if failed.capped else failed.reason
            return not failed.capped
        if grade is None:
            self.found.missing[cell] = NO_VERDICT
            return True
        over = await self._finish(asked, query, said, grade)
        self.bar.set_postfix_str(f"{self.ledger.spent:.4f} USD, {len(self.found.missing)} missing", refresh=False)
        return over

    async def _finish(self, asked: Asked, query: Query, said: Said, grade: Grade) -> bool:
        """Note an outcome with the model's confidence, or without it if that cannot be had; return as `_cell` does."""
        cell = query.id, asked.endpoint.name
        self.bar.update(cell not in self.found.outcomes)
        self.found.missing.pop(cell, None)
        try:
            self.found.outcomes[cell] = await _outcome(asked, query, said, grade)
        except CallFailed as failed:
            self.found.outcomes[cell] = Outcome(said, grade, said.usd if said.stated else None)
            self.found.missing[cell] = f"its confidence: {CAPPED if failed.capped else failed.reason}"
            return not failed.capped
        return True


async def _outcome(asked: Asked, query: Query, said: Said, grade: Grade) -> Outcome:
    """Return the outcome, after asking how sure the model is of its final answer, if it gave one and is to be asked."""
    usd = said.usd if said.stated else None
    if grade.answer is None:
        return Outcome(said, grade, usd)
    body = asked.member.of_confidence(query.query, grade.answer)
    if body is None:
        return Outcome(said, grade, usd, said.confidence if asked.endpoint.confidence == LIKELIHOOD else None)
    word = await asked.say(CONFIDENCE, query.id, body)
    return Outcome(said, grade, usd + word.usd if said.stated and word.stated else None, word.confidence)
