"""Every model asked every query, many at a time, until all is answered or the money is spent."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from tqdm import tqdm

from racer.collect.asking import Asked
from racer.collect.graders import Grade
from racer.collect.grading import NO_VERDICT, Graders
from racer.collect.journal import Said
from racer.collect.queries import Query
from racer.pool import CallFailed

CAPPED = "the spend cap leaves no room"


@dataclass(frozen=True)
class Outcome:
    """What became of one query with one model."""

    said: Said
    grade: Grade


@dataclass
class Collected:
    """The outcomes by (query id, model), and why the others are missing."""

    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    missing: dict[tuple[str, str], str] = field(default_factory=dict)

    def why(self) -> list[str]:
        """Return a line for each model and reason: how many outcomes are missing."""
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
        self.found.missing.pop(cell, None)
        self.found.outcomes[cell] = Outcome(said, grade)
        self.bar.update()
        self.bar.set_postfix_str(f"{self.ledger.spent:.4f} USD, {len(self.found.missing)} missing", refresh=False)
        return True
