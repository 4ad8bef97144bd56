"""Programs of models run against tests, in a process of their own with little time, memory and rights.

What it stops (Linux): the network; seeing or ending other processes; keeping any running; where the kernel has
Landlock, writing outside a temporary folder; more memory or time than given; leaving early to look right. What it does
not stop: reading any file that the user may read (nothing read can leave, but a test may depend on it), using the CPUs
up to the time limit, holding memory in many processes at once, a program that searches its interpreter for the secret
that says "passed", and holes of the kernel. Programs of people who mean harm belong on a machine of their own.
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

INSIDE = Path(__file__).with_name("inside.py")
LONGEST = 4096  # bytes that the process inside can have to say
TIMEOUT = "no end within the time limit"
START = 5.0  # seconds beside those of the tests, to start an interpreter


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
            return _verdict(said.read(LONGEST), secret, ended)

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
        return TIMEOUT if process.returncode == -signal.SIGALRM else "it ended before its tests did"
    except subprocess.TimeoutExpired:
        return TIMEOUT
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _verdict(said: bytes, secret: str, ended: str) -> tuple[bool, str]:
    try:
        record = json.loads(said)
    except ValueError:
        return False, ended
    if not isinstance(record, dict) or record.get("secret") != secret:
        return False, ended
    return bool(record["passed"]), record["why"]
