"""Replies kept on disk, by everything that was sent: the same request is not paid for twice."""

import hashlib
import json
import sqlite3
from pathlib import Path


class Cache:
    """At most `entries` replies in a file; the oldest go first. Prompts are stored as hashes only, replies as text."""

    def __init__(self, path: str | Path, entries: int = 100_000):
        self.entries = entries
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5,
                                   check_same_thread=False)  # one at a time, but perhaps not that which opened it
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS replies "
                         "(number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, reply TEXT)")

    @staticmethod
    def key(api_base: str, body: dict) -> str:
        """Return the name of a request: of the endpoint and all that it is sent, the key left out."""
        return hashlib.sha256(json.dumps([api_base, body], sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> dict | None:
        """Return the completion that was kept, or None."""
        row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, completion: dict) -> None:
        """Keep a completion."""
        done = self._db.execute("INSERT OR REPLACE INTO replies (key, reply) VALUES (?, ?)",
                                (key, json.dumps(completion)))
        self._db.execute("DELETE FROM replies WHERE number <= ?", (done.lastrowid - self.entries,))

    def close(self) -> None:
        self._db.close()
