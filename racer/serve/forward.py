"""The router's forward pass off the event loop: what arrives while one runs goes into the next, together."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from racer.estimate import Estimate


class Forward:
    """Estimates of single texts, computed in batches of at most `batch` by one thread.

    Nobody waits for a batch to fill: a text that comes while the thread is idle is read at once. Where more than a
    batch wait, the one that has waited longest goes with those that are most like it in length: less is padded.
    """

    def __init__(self, estimate: Callable[[list[str]], Estimate], batch: int):
        self._estimate, self._batch = estimate, batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="racer-forward")
        self._waiting: list[tuple[str, asyncio.Future]] = []
        self._running: asyncio.Task | None = None

    async def estimate(self, text: str) -> tuple[Estimate, float]:
        """Return what the router says of a text (one row), and the seconds of the forward pass it was in."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            await self._read(self._next())

    def _next(self) -> list[tuple[str, asyncio.Future]]:
        """Take the next batch from those that wait; who left meanwhile is not read."""
        self._waiting = [one for one in self._waiting if not one[1].done()]
        lengths = np.array([len(text) for text, _ in self._waiting])
        nearest = np.argsort(np.abs(lengths - lengths[:1]), kind="stable")
        batch, rest = nearest[:self._batch], np.sort(nearest[self._batch:])
        taken = [self._waiting[i] for i in batch]
        self._waiting = [self._waiting[i] for i in rest]
        return taken

    async def _read(self, batch: list[tuple[str, asyncio.Future]]) -> None:
        if not batch:
            return
        try:
            found, seconds = await asyncio.get_running_loop().run_in_executor(self._thread, self._timed,
                                                                              [text for text, _ in batch])
        except Exception as error:
            if len(batch) > 1:  # one text must not fail the others
                for one in batch:
                    await self._read([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for i, (_, future) in enumerate(batch):
            if not future.done():
                future.set_result((found.take(np.array([i])), seconds))

    def _timed(self, texts: list[str]) -> tuple[Estimate, float]:
        start = perf_counter()
        return self._estimate(texts), perf_counter() - start

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
