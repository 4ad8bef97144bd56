"""The calls of one query: who was called, what they said, who failed, and who took their place."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from racer.pool.failures import CallFailed
from racer.pool.ledger import Bill
from racer.pool.member import Reply, says_something
from racer.pool.pool import Pool


@dataclass(frozen=True)
class Failed:
    """A model that gave no reply, or no word on it, and why; `by` comes next in its place, None where nobody does."""

    model: str
    error: CallFailed
    by: str | None


@dataclass
class Panel:
    """Calls of one query with request `body`, all of them before `end` (a time of the event loop).

    `spares` are who comes next, best first; each takes one place at most. `seconds` is the time with a call under way.
    `questioned` are those who were asked how sure they are of their answers, `remarks` what they said to that.
    `ours`: the body is a request of our own, sent as it is; else it is a user's, in the prompt of each entry.
    """

    pool: Pool
    body: dict
    end: float
    spares: list[str]
    ours: bool = False
    bill: Bill = field(default_factory=Bill)
    called: list[str] = field(default_factory=list)
    replies: dict[str, Reply] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    questioned: list[str] = field(default_factory=list)
    remarks: list[Reply] = field(default_factory=list)
    seconds: float = 0.0
    streamed: dict[str, float] = field(default_factory=dict)  # whose reply came as a stream, to its end, and its USD

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.end - asyncio.get_running_loop().time()

    async def ask_set(self, members: Iterable[str]) -> None:
        """Call all members at the same time; the next spare takes the place of each that fails, or says nothing."""
        with self._clock():
            await asyncio.gather(*(self._seat(name) for name in members))

    async def ask_each(self, names: Iterable[str]) -> dict[str, CallFailed]:
        """Call these at the same time, without replacement; return who failed. To say nothing is no failure here."""
        names = list(names)
        with self._clock():
            found = await asyncio.gather(*map(self._call, names))
        return {name: failed for name, failed in zip(names, found, strict=True) if failed is not None}

    async def ask_how_sure(self, query: str, answers: Mapping[str, str]) -> dict[str, float | None]:
        """Return how sure each of these models is of its final answer to the query, None where it does not say.

        Those that are to be asked are asked at the same time. A call that fails is noted as failed; nobody takes the
        place, for the answer is there.
        """
        with self._clock():
            found = await asyncio.gather(*(self._how_sure(name, query, text) for name, text in answers.items()))
        return dict(zip(answers, found, strict=True))

    async def stream(self, name: str) -> AsyncIterator[dict]:
        """Yield the chunks of one member, or of the spare that takes its place if it fails before it has said anything;
        raise `CallFailed` if nobody is left, or if the stream breaks after its first words.
        """
        while True:
            self.called.append(name)
            member, before = self.pool.members[name], self.bill.usd
            chunks = member.stream(member.of_query(self.body, streamed=True), self.bill, self.left)
            try:
                with self._clock():
                    held = await _first_words(chunks)
                break
            except CallFailed as failed:
                if (name := self.fail(name, failed)) is None:
                    raise
        try:
            for chunk in held:
                yield chunk
            while True:
                with self._clock():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                yield chunk
            self.streamed[name] = self.bill.usd - before
        except CallFailed as failed:
            self.failed.append(Failed(name, failed, None))
            raise
        finally:
            await chunks.aclose()

    def took_over(self, failed: Failed) -> str | None:
        """Return who was called in the place of a model that failed, None if nobody was."""
        return failed.by if failed.by in self.called else None

    def fail(self, name: str, failed: CallFailed) -> str | None:
        """Note a failure; return who is to take the place, None if nobody is left or no time is."""
        by = self.spares.pop(0) if self.spares and self.left > 0 else None
        self.failed.append(Failed(name, failed, by))
        return by

    async def _seat(self, name: str | None) -> None:
        while name is not None:
            failed = await self._call(name)
            if failed is None and self.replies[name].empty:
                failed = CallFailed("empty reply")
                del self.replies[name]
            name = None if failed is None else self.fail(name, failed)

    async def _call(self, name: str) -> CallFailed | None:
        self.called.append(name)
        member = self.pool.members[name]
        body = self.body if self.ours else member.of_query(self.body)
        try:
            self.replies[name] = await member.ask(body, self.bill, self.left)
        except CallFailed as failed:
            return failed

    async def _how_sure(self, name: str, query: str, answer: str) -> float | None:
        member = self.pool.members[name]
        if (body := member.of_confidence(query, answer)) is None:
            return self.replies[name].confidence
        self.questioned.append(name)
        try:
            self.remarks.append(remark := await member.ask(body, self.bill, self.left))
        except CallFailed as failed:
            why = CallFailed(f"its confidence: {failed.reason}", refused=failed.refused, capped=failed.capped)
            self.failed.append(Failed(name, why, None))
            return None
        return member.sure(remark)

    @contextmanager
    def _clock(self):
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds += perf_counter() - start


async def _first_words(chunks: AsyncIterator[dict]) -> list[dict]:
    """Return the chunks of a stream up to the first that says something; raise `CallFailed` if none does."""
    held = []
    async for chunk in chunks:
        held.append(chunk)
        if says_something(chunk):
            return held
    raise CallFailed("empty reply")
