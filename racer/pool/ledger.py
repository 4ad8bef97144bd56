"""What was spent, and the cap that no call may pass: money is held back before a call, and settled after it."""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DIGITS = 12  # after the point of a USD to which money is held back, rounded up: what is released is what was held


@dataclass
class Bill:
    """What one request has cost so far, in USD, calls that failed included."""

    usd: float = 0.0


class CapReached(Exception):
    """The cap leaves no room for what a call may cost."""


@dataclass
class Hold:
    """Money held back for one call. `settle` says what it cost; else all of it counts."""

    usd: float

    def settle(self, usd: float) -> None:
        self.usd = usd


class Ledger:
    """The sum of all calls in USD, in a file where `path` says so; it may be shared by several processes.

    With a `cap`, spent and held together never exceed it. Calls under way when a process was killed stay held at their
    worst case: whether they were billed is not known.
    """

    def __init__(self, cap: float | None = None, path: str | Path | None = None):
        self.cap = float("inf") if cap is None else cap
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=5,
                                   check_same_thread=False)  # one at a time, but perhaps not that which opened it
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, spent REAL, held REAL)")
        self._db.execute("INSERT OR IGNORE INTO ledger VALUES (1, 0, 0)")

    @property
    def spent(self) -> float:
        """USD of finished calls."""
        return self._db.execute("SELECT spent FROM ledger").fetchone()[0]

    @property
    def held(self) -> float:
        """USD that calls under way may cost at most."""
        return self._db.execute("SELECT held FROM ledger").fetchone()[0]

    @contextmanager
    def hold(self, usd: float, bill: Bill) -> Iterator[Hold]:
        """Hold back `usd`, the most that a call can cost, while it is under way; raise `CapReached` without room.

        Afterwards what it was settled at is added to the bill, or all that was held: a call that was cut off may have
        cost that.
        """
        back = math.ceil(round(usd * 10**DIGITS, 3)) / 10**DIGITS
        fits = self._db.execute(f"UPDATE ledger SET held = round(held + ?1, {DIGITS}) WHERE spent + held + ?1 <= ?2",
                                (back, self.cap))
        if not fits.rowcount:
            raise CapReached(f"the spend cap of {self.cap:g} USD leaves no room for a call of up to {usd:.6f} USD")
        hold = Hold(usd)
        try:
            yield hold
        finally:
            bill.usd += hold.usd
            self._db.execute(f"UPDATE ledger SET held = max(round(held - ?, {DIGITS}), 0), spent = spent + ?",
                             (back, hold.usd))

    def close(self) -> None:
        self._db.close()
