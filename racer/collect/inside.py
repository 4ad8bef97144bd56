"""What runs inside the sandbox: it takes rights away from itself, then runs a program and its tests.

A script of its own for `python -I`, with nothing of this package. From stdin it reads one JSON object: `program`,
`tests`, `secret`, `seconds`, `memory` (bytes), `cut_off` (network, other processes, writing). To stdout it writes one
more, {"secret": ..., "passed": ..., "why": ...}, after which nothing of the program runs.
"""

import ctypes
import json
import os
import resource
import signal
import sys

NEWUSER, NEWPID, NEWNET, NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000  # linux/sched.h
PDEATHSIG, NO_NEW_PRIVS = 1, 38  # linux/prctl.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # of Landlock, the same number on all machines
WRITES = sum(1 << bit for bit in (1, *range(4, 13)))  # linux/landlock.h: write, remove, make; of its first version
FILE, OPEN = 1 << 24, 64  # bytes a file may have; files open at a time
libc = ctypes.CDLL(None, use_errno=True)


def cut_off(seconds: float) -> None:
    """Go on, for so many seconds, in a process without network, sight of other processes and, where Landlock is there,
    the right to write elsewhere; raise if that cannot be.
    """
    if libc.unshare(NEWUSER | NEWPID | NEWNET | NEWIPC):
        raise OSError(ctypes.get_errno(), "no namespace of its own for network and processes")
    if child := os.fork():  # the child is the first process of its namespace: with it end all that it started
        signal.setitimer(signal.ITIMER_REAL, seconds)  # ends this one, and so the child
        os._exit(0 if os.waitpid(child, 0)[1] == 0 else 1)
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    write_here_only()


class Beneath(ctypes.Structure):
    """Rights below a folder, as Landlock takes them."""

    _pack_, _fields_ = 1, [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]
    _layout_ = "ms"  # what packed means, to newer interpreters


def write_here_only() -> None:
    """Leave the right to write outside the working folder behind, where the kernel has Landlock."""
    ruleset = libc.syscall(CREATE_RULESET, ctypes.byref(ctypes.c_uint64(WRITES)), ctypes.c_size_t(8), 0)
    if ruleset >= 0:
        here = Beneath(WRITES, os.open(".", os.O_PATH))
        libc.syscall(ADD_RULE, ruleset, 1, ctypes.byref(here), 0)
        libc.syscall(RESTRICT_SELF, ruleset, 0)
        os.close(here.folder)
        os.close(ruleset)


def limit(seconds: float, memory: int) -> None:
    """Set the limits of time, memory, files."""
    cpu = int(seconds) + 1
    for what, most in ((resource.RLIMIT_CPU, cpu), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, FILE),
                       (resource.RLIMIT_NOFILE, OPEN), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))


def judged(program: str, tests: str) -> str:
    """Return why a program fails its tests; empty if it passes."""
    names = {"__name__": "__main__"}
    try:
        exec(compile(program, "program", "exec"), names)
        exec(compile(tests, "tests", "exec"), names)
    except BaseException as error:  # SystemExit too: who leaves early has passed nothing
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def main() -> None:
    task = json.load(sys.stdin)
    answer, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    if task["cut_off"]:
        cut_off(task["seconds"])
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    limit(task["seconds"], task["memory"])
    secret = task.pop("secret")
    why = judged(task.pop("program"), task.pop("tests"))
    os.write(answer, json.dumps({"secret": secret, "passed": not why, "why": why}).encode("utf-8", "replace"))
    os._exit(0)


if __name__ == "__main__":
    main()
