"""One at a time, between jobs on any machine that sees the folder, and between the processes of one job."""

import os
from pathlib import Path
from typing import Protocol

from filelock import FileLock


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
