"""Programs of models run against tests, in a process of their own with little time, memory and rights.

What it stops (Linux): the network; seeing or ending other processes; keeping any running; more memory or time than
given; leaving early to look right; other meanings of `compile`, `exec`, `all` and the like while the tests run. Where
the kernel has Landlock, from its version 3 on: changing what files outside a temporary folder hold, or which there are.
Where it lets a user mount (5.12 on): changing their mode, times and attributes too. Where it has seccomp (x86-64,
ARM64): sockets by path, such as of a database. What is missing of these three is not said.

What it does not stop: reading any file that the user may read (nothing read can leave, but a test may depend on it),
using the CPUs up to the time limit, holding memory in many processes at once, filling the disk by many files, and holes
of the kernel. Nor a program that sets out to fool its tests, for they share an interpreter: it can return what equals
everything, change a library that they use or a name that they call, read them and the secret that says "passed" in the
frames of its callers, or go on beside them in a thread. Programs of people who mean harm belong on a machine of their
own.

With `cut_off` false only time, memory and the size of files are limited, and what a program leaves running is ended
where the kernel says what that is.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from racer.errors import ConfigError
from racer.hashing import of_json

INSIDE = Path(__file__).with_name("inside.py")
LONGEST = 4096  # bytes that the process inside can have to say
TIMEOUT = "no end within the time limit"
START = 5.0  # seconds beside those of the tests, to start an interpreter
WAY = 2  # of testing, counted up where a verdict may be another than before


@dataclass(frozen=True)
class Sandbox:
    """Limits for one program with its tests: seconds, bytes of memory; `cut_off`: no network, no rights."""

    seconds: float = 10.0
    memory: int = 1 << 30
    cut_off: bool = True

    def run(self, program: str, tests: str) -> tuple[bool, str]:
        """Return whether a program passes its tests (Python that raises if not), and why it does not."""
        secret = secrets.token_hex(16)
        task = json.dumps({"program": program, "tests": tests, "secret": secret, "seconds": self.seconds,
                           "memory": self.memory, "cut_off": self.cut_off})
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
            ended = _run(task.encode(), folder, said, self.seconds + START)
            said.seek(0)
            answer = said.read(LONGEST).decode(errors="replace")
        if not answer.startswith(secret):
            return False, ended
        why = answer.removeprefix(secret)
        return not why, why

    def key(self, program: str, tests: str) -> str:
        """Return a hash of all that a verdict depends on."""
        return of_json([WAY, program, tests, self.seconds, self.memory, self.cut_off])

    def check(self) -> None:
        """Raise `ConfigError` if this machine cannot run programs so."""
        passed, why = self.run("x = 1", "assert x == 1")
        if not passed:
            raise ConfigError(f"the grader python cannot run here as it must ({why}): use Linux with user namespaces, "
                              "or set tests_cut_off=false, which leaves the programs network and rights")


def _run(task: bytes, folder: str, said, seconds: float) -> str:
    """Run the process inside; return how it ended, in words."""
    process = subprocess.Popen([sys.executable, "-I", str(INSIDE)], stdin=subprocess.PIPE, stdout=said,
                               stderr=subprocess.DEVNULL, cwd=folder, env={}, start_new_session=True)
    try:
        process.communicate(task, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGALRM)  # it ends the program as if its own time were up
        with suppress(subprocess.TimeoutExpired):
            process.wait(START)
        return TIMEOUT
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return TIMEOUT if process.returncode == signal.SIGALRM else "it ended before its tests did"
