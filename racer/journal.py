"""How long work on one file goes on where it was killed, without loss or repeat.

Beside OUTPUT stand, while it is made: `OUTPUT.partial`, the work so far; `OUTPUT.state.json`, how much of that counts
and what it was made of; `OUTPUT.lock`, so that two processes do not write one file.
"""

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from racer.errors import ConfigError
from racer.files import write_json
from racer.locks import alone


@dataclass(frozen=True)
class State:
    """How far the work is: `position` in the input, `n` queries done, `size` bytes of the partial file that count.

    `until`: how many bytes of the input are read, where it may have grown since; None: all.
    """

    made_of: dict[str, str]
    position: tuple[int, int] = (0, 0)
    n: int = 0
    size: int = 0
    done: bool = False
    until: int | None = None


class Journal:
    """The work on one output; made by `opened`."""

    def __init__(self, output: Path, made_of: dict[str, str], until: int | None = None):
        self.output, self.partial, self.state_file = output, _partial(output), _state_file(output)
        self.state = self._read(State(made_of, until=until))

    def add(self, content: bytes, position: tuple[int, int], n: int) -> None:
        """Append the work on `n` queries that end at `position`; once this returns, no kill can lose it."""
        with open(self.partial, "ab") as file:
            file.truncate(self.state.size)  # what was written but never noted is written again
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._note(replace(self.state, position=position, n=self.state.n + n, size=self.state.size + len(content)))

    def finish(self, make: Callable[[Path, Path], None]) -> None:
        """Make the output of the partial file, which `make(partial, output)` moves or removes last of all."""
        self._note(replace(self.state, done=True))
        if self.partial.exists():  # else it was killed after that, before the state was gone
            make(self.partial, self.output)
        self.state_file.unlink()

    def _note(self, state: State) -> None:
        write_json(self.state_file, asdict(state))
        self.state = state

    def _read(self, fresh: State) -> State:
        """Return the state to go on from; raise `ConfigError` if it is of other work, or does not fit its file."""
        if (state := left(self.output)) is None:
            return fresh
        then, now = state.made_of, fresh.made_of
        again = _again(self.output)
        if others := sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key)):
            raise ConfigError(f"{self.output} was begun under another {', '.join(others)} ({state.n} queries are "
                              f"done): start it with the same as then, give another output, or {again}")
        size = self.partial.stat().st_size if self.partial.exists() else 0
        if not state.done and size < state.size:
            raise ConfigError(f"{self.partial} has {size} bytes, expected at least {state.size}: it was changed since, "
                              f"{again}")
        return state


def left(output: Path) -> State | None:
    """Return the state that earlier work on an output left, None where nothing is left to go on with.

    Raises `ConfigError` if its file says nothing of it.
    """
    file = _state_file(output)
    try:
        state = State(**json.loads(file.read_text(encoding="utf-8")))
        state = replace(state, position=tuple(state.position), made_of=dict(state.made_of))
    except FileNotFoundError:
        return None
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} tells nothing of work to go on with ({error}): {_again(output)}") from None
    gone = state.done and not _partial(output).exists() and not output.exists()  # it was whole, and removed since
    return None if gone else state


@contextmanager
def opened(output: Path, made_of: dict[str, str], until: int | None = None):
    """Give the journal of an output, to begin or to go on; only what is the same in `made_of` goes on.

    `until` bytes of the input are read. Raises `ConfigError` if the work was begun with anything else, or if another
    process is at it.
    """
    with alone(Path(f"{output}.lock"), f"writing {output}", "give another output"):
        yield Journal(output, made_of, until)


def _again(output: Path) -> str:
    return f"remove {_state_file(output)} and {_partial(output)} to begin again"


def _partial(output: Path) -> Path:
    return Path(f"{output}.partial")


def _state_file(output: Path) -> Path:
    return Path(f"{output}.state.json")
