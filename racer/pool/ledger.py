"""What was spent, and the cap that no call may pass: money is held back before a call, and settled after it."""

import logging
import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from racer.pool import database

DIGITS = 12  # after the point of a USD to which money is held back, rounded up: what is released is what was held
TABLES = """CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, spent REAL, held REAL);
INSERT OR IGNORE INTO ledger (id, spent, held) VALUES (1, 0, 0)"""

PATIENCE = 1.0  # seconds for which the file may be locked before that is worth a word

log = logging.getLogger(__name__)


@dataclass
class Bill:
    """What one request has cost so far, in USD, calls that failed included."""

    usd: float = 0.0


class CapReached(Exception):
    """The cap leaves no room for what a call may cost."""


class Busy(Exception):
    """The file is locked by another process, or cannot be written: try again in a while."""


@dataclass
class Hold:
    """Money held back for one call. `settle` says what it cost; else all of it counts."""

    usd: float

    def settle(self, usd: float) -> None:
        self.usd = usd


class Ledger:
    """The sum of all calls in USD, in a file where `path` says so; it may be shared by several processes.

    With a `cap`, spent and held together never exceed it. Calls under way when a process was killed stay held at their
    worst case: whether they were billed is not known. What finished calls cost while the file is locked is written as
    soon as it is not, by `pay`; until then all that they held stays held for other processes.
    """

    def __init__(self, cap: float | None = None, path: str | Path | None = None):
        self.cap = float("inf") if cap is None else cap
        self._db = database.opened(path or ":memory:", TABLES, "a file of the money spent")
        self._failing: float | None = None  # since when statements fail; infinity once that was said
        self._back, self._cost = 0.0, 0.0  # of finished calls, not written yet: USD that were held, and spent

    @property
    def spent(self) -> float:
        """USD of finished calls."""
        return self._db.execute("SELECT spent FROM ledger").fetchone()[0] + self._cost

    @property
    def held(self) -> float:
        """USD that calls under way may cost at most."""
        return max(round(self._db.execute("SELECT held FROM ledger").fetchone()[0] - self._back, DIGITS), 0.0)

    @contextmanager
    def hold(self, usd: float, bill: Bill) -> Iterator[Hold]:
        """Hold back `usd`, the most that a call can cost, while it is under way; raise `CapReached` without room.

        Raises `Busy`, without waiting, if the file cannot be written. Afterwards what it was settled at is added to the
        bill, or all that was held: a call that was cut off may have cost that.
        """
        back = math.ceil(round(usd * 10**DIGITS, 3)) / 10**DIGITS
        if not self.pay() or (fits := self._write(f"UPDATE ledger SET held = round(held + ?1, {DIGITS}) "
                                                  "WHERE spent + held + ?1 <= ?2", back, self.cap)) is None:
            raise Busy
        if not fits:
            raise CapReached(f"the spend cap of {self.cap:g} USD leaves no room for a call of up to {usd:.6f} USD")
        hold = Hold(usd)
        try:
            yield hold
        finally:
            bill.usd += hold.usd
            self._back, self._cost = round(self._back + back, DIGITS), self._cost + hold.usd
            self.pay()

    def pay(self) -> bool:
        """Write what finished calls cost, as far as that is not written; return False if the file cannot be written."""
        if not self._back and not self._cost:
            return True
        if self._write(f"UPDATE ledger SET held = max(round(held - ?, {DIGITS}), 0), spent = spent + ?", self._back,
                       self._cost) is None:
            return False
        self._back = self._cost = 0.0
        return True

    def close(self) -> None:
        """Write what is left to write, for which others' locks are waited for once more."""
        if self._back or self._cost:
            database.waiting(self._db, database.OPENING)
            if not self.pay():
                log.error("%g USD that were spent could not be written to the file; the %g USD that were held for them "
                          "stay held", self._cost, self._back)
        self._back = self._cost = 0.0  # nothing is left for `pay`
        self._db.close()

    def _write(self, statement: str, *numbers: float) -> int | None:
        """Return how many rows a statement changed, None if the file cannot be written."""
        try:
            changed = self._db.execute(statement, numbers).rowcount
        except sqlite3.Error as error:
            now = monotonic()
            self._failing = now if self._failing is None else self._failing
            if now - self._failing > PATIENCE:
                log.warning("the file of the money spent cannot be written (%s): no call begins until it can", error)
                self._failing = math.inf
            return None
        self._failing = None
        return changed
