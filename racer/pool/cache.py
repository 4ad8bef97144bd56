"""Replies kept on disk, by everything that was sent: the same request is not paid for twice."""

import hashlib
import json
import logging
import sqlite3
from pathlib import Path

from racer.pool import database

TABLES = "CREATE TABLE IF NOT EXISTS replies (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, reply TEXT)"
WAIT = 0.005  # seconds for the lock of another process

log = logging.getLogger(__name__)


class Cache:
    """At most `entries` replies in a file; the oldest go first. Prompts are stored as hashes only, replies as text.

    A file that cannot be read or written, as one that another process holds locked, costs nobody a reply: nothing is
    found in it, or kept, and a warning is logged once.
    """

    def __init__(self, path: str | Path, entries: int = 100_000):
        self.path, self.entries, self._warned = path, entries, False
        self._db = database.opened(path, TABLES, "a cache of replies", WAIT)

    @staticmethod
    def key(api_base: str, body: dict) -> str:
        """Return the name of a request: of the endpoint and all that it is sent, the key left out."""
        return hashlib.sha256(json.dumps([api_base, body], sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> dict | None:
        """Return the completion that was kept, or None."""
        try:
            row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])
        except (sqlite3.Error, ValueError, TypeError) as error:
            return self._warn(error)

    def put(self, key: str, completion: dict) -> None:
        """Keep a completion."""
        try:
            done = self._db.execute("INSERT OR REPLACE INTO replies (key, reply) VALUES (?, ?)",
                                    (key, json.dumps(completion)))
            self._db.execute("DELETE FROM replies WHERE number <= ?", (done.lastrowid - self.entries,))
        except sqlite3.Error as error:
            self._warn(error)

    def close(self) -> None:
        self._db.close()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            log.warning("the cache %s fails (%s): replies are asked for again, and paid for", self.path, error)
        self._warned = True
