"""What runs inside the sandbox: a process that waits, and one that takes rights away from itself and runs a program.

A script of its own for `python -I`, with nothing of this package. From stdin it reads one JSON object: `program`,
`tests`, `secret`, `seconds`, `memory` (bytes), `cut_off` (network, other processes, writing). To stdout it writes
the secret and, if the program fails its tests, why; after that nothing of the program runs. The process that waits
exits with the number of SIGALRM if the time was up, and leaves no process behind.
"""

import builtins
import ctypes
import json
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from types import ModuleType

NEWUSER, NEWPID, NEWNET, NEWIPC, NEWNS = 0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x00020000  # linux/sched.h
PDEATHSIG, SECCOMP, SUBREAPER, NO_NEW_PRIVS = 1, 22, 36, 38  # linux/prctl.h
MOUNT_SETATTR, CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 442, 444, 445, 446  # the same number on all machines
READ_ONLY, BIND, HERE, RECURSIVE = 1, 1 << 12, -100, 0x8000  # linux/mount.h, linux/fcntl.h
PRIVATE = 1 << 18
CAPABILITIES = 0x20080522  # linux/capability.h: the third version of what capset takes
FIRST_WRITES = sum(1 << bit for bit in (1, *range(4, 13)))  # linux/landlock.h: write, remove, make
LATER_WRITES = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # by the version that has them: move, truncate, control a device
SCOPES, SCOPED_SINCE = 0b11, 6  # abstract sockets, signals
CALLS = {"x86_64": (0xC000003E, 41, 53), "aarch64": (0xC00000B7, 198, 199)}  # linux/audit.h; socket, socketpair
IO_URING, OTHER_CALLS = 425, 0x40000000  # makes sockets too; numbers from here on are calls of another kind (x32)
LOAD, AND, EQUAL, AT_LEAST, RETURN, ALLOW, REFUSE = 0x20, 0x54, 0x15, 0x35, 0x06, 0x7FFF0000, 0x00050001  # filters
INET, INET6, STREAM = 2, 10, 1  # linux/socket.h
FILE, OPEN = 1 << 24, 64  # bytes a file may have; files open at a time
libc = ctypes.CDLL(None, use_errno=True)


def own_namespaces() -> None:
    """Give what is started from here on no network and no sight of other processes; raise if that cannot be."""
    if libc.unshare(NEWUSER | NEWPID | NEWNET | NEWIPC):
        raise OSError(ctypes.get_errno(), "no namespace of its own for network and processes")


def watch(child: int, seconds: float) -> None:
    """Wait for the program, so many seconds at most; end it and all that came of it; exit."""
    def late(*_) -> None:
        raise TimeoutError
    code = 0
    try:
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        os.waitpid(child, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
    except TimeoutError:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        code = signal.SIGALRM
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)  # the first of its namespace: with it end all that it started
            os.waitpid(child, 0)
    end_children()
    os._exit(code)


def end_children() -> None:
    """End what the program left running, where the kernel says what that is."""
    with suppress(OSError):
        while left := children():
            for process in left:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def children() -> list[int]:
    with open("/proc/thread-self/children") as file:
        return [int(process) for process in file.read().split()]


def give_up_rights() -> None:
    """Leave what a program needs no right to, as far as the kernel lets: each line is worth something by itself."""
    os.setsid()  # no signal to its group reaches the process that waits
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    own_view()
    libc.capset((ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)())  # the view stays as it is
    write_here_only()
    internet_sockets_only()


def own_view() -> None:
    """See no processes but its own in /proc, and all files but those of the working folder as read-only."""
    if libc.unshare(NEWNS):
        return
    if libc.mount(b"proc", b"/proc", b"proc", READ_ONLY, None):  # refused where a container hides some of it
        libc.mount(b"none", b"/proc", b"tmpfs", READ_ONLY, None)
    if libc.mount(b".", b".", None, BIND, None) == 0:
        os.chdir(os.getcwd())
        if mount_setattr(b"/", RECURSIVE, READ_ONLY, 0) == 0 and mount_setattr(b".", 0, 0, READ_ONLY):
            raise OSError(ctypes.get_errno(), "the working folder stays read-only")


def mount_setattr(path: bytes, flags: int, on: int, off: int) -> int:
    attributes = (ctypes.c_uint64 * 4)(on, off, PRIVATE, 0)
    return libc.syscall(MOUNT_SETATTR, HERE, path, flags, attributes, ctypes.c_size_t(32))


class Beneath(ctypes.Structure):
    """Rights below a folder, as Landlock takes them."""

    _pack_, _fields_ = 1, [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]
    _layout_ = "ms"  # what packed means, to newer interpreters


def write_here_only() -> None:
    """Leave the right to write outside the working folder behind, where the kernel has Landlock."""
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version > 0:
        rights = FIRST_WRITES | sum(right for since, right in LATER_WRITES.items() if version >= since)
        handled = (ctypes.c_uint64 * 3)(rights, 0, SCOPES if version >= SCOPED_SINCE else 0)
        ruleset = libc.syscall(CREATE_RULESET, handled, ctypes.c_size_t(24), 0)
        here = Beneath(rights, os.open(".", os.O_PATH))
        libc.syscall(ADD_RULE, ruleset, 1, ctypes.byref(here), 0)
        libc.syscall(RESTRICT_SELF, ruleset, 0)
        os.close(here.folder)
        os.close(ruleset)


class Filter(ctypes.Structure):
    """A filter of system calls, as seccomp takes it."""

    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def internet_sockets_only() -> None:
    """Leave sockets of other families behind, which do not end at the network's namespace; pairs of streams stay."""
    if os.uname().machine in CALLS and sys.maxsize > 1 << 32:
        machine, socket, pair = CALLS[os.uname().machine]
        steps = b"".join([step(LOAD, 4), step(EQUAL, machine, no=2), step(LOAD, 0), step(AT_LEAST, OTHER_CALLS, no=1),
                          step(RETURN, REFUSE), only(IO_URING, 0, 0), only(socket, 0, ~0, INET, INET6),
                          only(pair, 1, 15, STREAM), step(RETURN, ALLOW)])
        libc.prctl(SECCOMP, 2, ctypes.byref(Filter(len(steps) // 8, steps)), 0, 0)


def only(call: int, argument: int, mask: int, *values: int) -> bytes:
    """Return steps that refuse a system call unless its argument has, under the mask, one of the values."""
    among = [step(EQUAL, value, yes=len(values) - i) for i, value in enumerate(values)]
    body = [step(LOAD, 16 + 8 * argument), step(AND, mask & 0xFFFFFFFF), *among, step(RETURN, REFUSE),
            step(RETURN, ALLOW)]
    return step(LOAD, 0) + step(EQUAL, call, no=len(body)) + b"".join(body)


def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """Return a step of a filter; `yes`, `no`: how many to leave out after a comparison that holds, or does not."""
    return struct.pack("=HBBI", code, yes, no, value)


def limit(seconds: float, memory: int) -> None:
    """Set the limits of time, memory, files."""
    cpu = int(seconds) + 1
    for what, most in ((resource.RLIMIT_CPU, cpu), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, FILE),
                       (resource.RLIMIT_NOFILE, OPEN), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))


def judged(program: str, tests: str) -> str:
    """Return why a program fails its tests; empty if it passes.

    The program is a module of its own and not `__main__`, the tests go on in it as `__main__`. What judges is compiled
    and taken at hand before the program runs, which may put others in its place.
    """
    run, trace, profile, own = exec, sys.settrace, sys.setprofile, dict(vars(builtins))
    module = ModuleType("program")
    sys.modules["program"] = sys.modules["__main__"] = module
    names = vars(module)
    try:
        checks = compile(tests, "tests", "exec")
        run(compile(program, "program", "exec"), names)
        trace(None)
        profile(None)
        names |= {"__name__": "__main__", "__builtins__": own}
        run(checks, names)
    except BaseException as error:  # SystemExit too: who leaves early has passed nothing
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def main() -> None:
    task = json.load(sys.stdin)
    answer, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    if task["cut_off"]:
        own_namespaces()
    elif sys.platform == "linux":
        libc.prctl(SUBREAPER, 1, 0, 0, 0)  # what its children leave running becomes its own
    if child := os.fork():
        watch(child, task["seconds"])
    if task["cut_off"]:
        give_up_rights()
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    limit(task["seconds"], task["memory"])
    secret, write, leave = task["secret"].encode(), os.write, os._exit
    why = judged(task["program"], task["tests"])
    write(answer, secret + why.encode("utf-8", "replace"))
    leave(0)


if __name__ == "__main__":
    main()
