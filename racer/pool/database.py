"""Files of SQLite that calls write to: what is wrong with one is said when it is opened, and later nobody waits for it.

Every statement runs on the event loop, so none may wait there for the lock of another process.
"""

import sqlite3
from pathlib import Path

from racer.errors import ConfigError

OPENING = 5.0  # seconds that another process may hold a lock while a file is opened or closed


def opened(path: str | Path, tables: str, what: str, wait: float = 0.0) -> sqlite3.Connection:
    """Return a connection to the file, made if it is not there, with `tables` (SQL) in it; raise `ConfigError`.

    `what` it is, in words. Statements wait up to `wait` seconds for the locks of others, then raise
    `sqlite3.OperationalError`.
    """
    db = None
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=OPENING,
                             check_same_thread=False)  # one at a time, but perhaps not that which opened it
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(tables)
    except sqlite3.Error as error:
        if db is not None:
            db.close()
        raise ConfigError(f"{path} cannot be used as {what} ({error}): give the name of a new file or of one that was "
                          "made as such, and see that no other program holds it locked") from None
    waiting(db, wait)
    return db


def waiting(db: sqlite3.Connection, seconds: float) -> None:
    """Let statements wait so long for the locks of others."""
    db.execute(f"PRAGMA busy_timeout={round(1000 * seconds)}")
