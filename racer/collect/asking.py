"""One call of one model for a collection: known already, or made now and noted at once."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

from aiolimiter import AsyncLimiter

from racer.collect.journal import Journal, Said
from racer.pool import Bill, Cache, CallFailed, Endpoint, Ledger, Member, confidence
from racer.pool.usage import price

CONFIDENCE = "confidence"  # the purpose of a call that asks how sure a model is of its answer
STRIKES = 20  # calls of a model that fail one after the other, until it is given up for this run


class Asked:
    """A model of the pool with the journal of its replies. `calls` counts those made in this run."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, journal: Journal):
        self.endpoint, self.member, self.journal = endpoint, Member(endpoint, ledger), journal
        self.calls, self.strikes = 0, Counter()  # strikes by purpose: who answers may still fail to say how sure it is
        rate = endpoint.rate  # waited for here, where no time limit runs; the member's own then lets a call through
        self._limiter = None if rate is None else AsyncLimiter(1, 60 / rate)
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._same: defaultdict[tuple, asyncio.Lock] = defaultdict(asyncio.Lock)  # equal requests at the same time
        self._made: set[tuple] = set()  # what was asked in this run

    def query(self, text: str) -> dict:
        """Return the request body that a query is for this model."""
        return self.member.of_query({"messages": [{"role": "user", "content": text}]})

    def request(self, body: dict) -> str:
        """Return the hash of what the endpoint is sent: another prompt, limit or parameter is another request."""
        return Cache.key(self.endpoint.api_base, self.member.fitted(body))

    def known(self, purpose: str, query: str, body: dict) -> Said | None:
        """Return the reply that the journal holds, None if the call is still to be made.

        Its USD are its tokens at the pool file's prices; the journal keeps what was paid.
        """
        said = self.journal.reply(purpose, query, self.endpoint.name, self.request(body))
        return None if said is None else replace(said, usd=price(self.endpoint, said.tokens_in, said.tokens_out))

    async def say(self, purpose: str, query: str, body: dict, serves: Callable[[Said], bool] = lambda _: True) -> Said:
        """Return the reply about a query, without a call if the journal holds it; raise `CallFailed`.

        A reply of an earlier run that does not serve its purpose is asked for again, once in this run.
        """
        key = purpose, query, self.request(body)
        async with self._same[key]:
            known = self.known(purpose, query, body)
            if known is not None and (key in self._made or serves(known)):
                return known
            said = await self._call(purpose, query, body)
            self._made.add(key)
            return said

    async def close(self) -> None:
        await self.member.close()

    async def _call(self, purpose: str, query: str, body: dict) -> Said:
        async with self._slots:
            if self.strikes[purpose] >= STRIKES:
                raise CallFailed(f"given up after {STRIKES} failures in a row", billed=False)
            if self._limiter is not None:
                await self._limiter.acquire()
            bill, start = Bill(), perf_counter()
            at = datetime.now(UTC).isoformat(timespec="seconds")
            try:
                reply = await self.member.ask(body, bill, self.endpoint.timeout)
            except CallFailed as failed:
                if not failed.capped:
                    self.calls, self.strikes[purpose] = self.calls + 1, self.strikes[purpose] + (not failed.refused)
                    self.journal.fail(purpose=purpose, id=query, model=self.endpoint.name, reason=failed.reason,
                                      usd=bill.usd, at=at)
                raise
            said = Said(purpose, query, self.endpoint.name, self.request(body), reply.text, reply.finish_reason,
                        reply.usage.tokens_in, reply.usage.tokens_out, reply.usd, reply.usage.stated,
                        round(perf_counter() - start, 3), at,
                        self.member.sure(reply) if purpose == CONFIDENCE else confidence.likelihood(reply.logprobs))
            self.journal.say(said)
        self.calls, self.strikes[purpose] = self.calls + 1, 0
        return said
