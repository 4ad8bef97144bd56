"""One at a time, between jobs on any machine that sees the folder, and between the processes of one job."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from racer.errors import ConfigError


class Processes(Protocol):
    """The processes of one training, as accelerate's `Accelerator` and `PartialState` know them."""

    is_main_process: bool

    def wait_for_everyone(self) -> None: ...


class OneAtATime:
    """The right to do one thing, as a context manager: other jobs wait and then find it done; processes share it."""

    def __init__(self, processes: Processes, path: str | os.PathLike):
        self.processes, self.lock = processes, FileLock(Path(path))

    def __enter__(self) -> None:
        if self.processes.is_main_process:
            self.lock.acquire()
        self.processes.wait_for_everyone()

    def __exit__(self, *_) -> None:
        if self.processes.is_main_process:
            self.lock.release()


@contextmanager
def alone(lock: Path, doing: str, instead: str) -> Iterator[None]:
    """Hold `lock`, which is gone afterwards; raise `ConfigError` at once if another process has it.

    `doing` is what that process does, `instead` what else one may do than wait for it.
    """
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)  # while it is held, so that it is nobody else's
    except Timeout:
        raise ConfigError(f"another process is {doing} (it holds {lock}): wait for it, or {instead}") from None
