"""What was answered already: a file that only grows, so that a killed collection loses nothing and repeats nothing.

Each line of `journal.jsonl` is one record: `said`, a reply with its request's hash, tokens and USD; `failed`, a call
that gave none; `tested`, what a program's tests said. A line counts once it has its end; one cut off by a kill is
removed, so that call is made again.
"""

import json
import os
from collections import defaultdict
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from racer.errors import ConfigError
from racer.locks import alone

FILE = "journal.jsonl"


@dataclass(frozen=True)
class Said:
    """A reply: of whom, to which query (`id`) and request (its hash); `purpose` is `answer`, `verdict` or `confidence`.

    `stated`: tokens and USD are by the endpoint's own count, else the most that the call can have taken. `confidence`
    is how sure the model is of its answer, as far as this reply tells: an answer by the probabilities of its tokens,
    if they came with it. None in records of earlier versions.
    """

    purpose: str
    id: str
    model: str
    request: str
    reply: str
    finish_reason: str
    tokens_in: int
    tokens_out: int
    usd: float
    stated: bool
    seconds: float
    at: str
    confidence: float | None = None


class Journal:
    """The records of a folder; made by `opened`."""

    def __init__(self, path: Path):
        self.path = path
        self.said: dict[tuple[str, str, str, str], Said] = {}
        self.tested: dict[str, tuple[bool, str]] = {}
        self._read()
        self._file = open(path, "ab")  # noqa: SIM115 - closed by `opened`

    def reply(self, purpose: str, query: str, model: str, request: str) -> Said | None:
        """Return what a model said to this very request about a query, None if that is not known."""
        return self.said.get((purpose, query, model, request))

    def say(self, said: Said) -> None:
        """Note a reply; once this returns, no kill can lose it."""
        self._append({"said": asdict(said)})
        self._know({"said": asdict(said)})

    def fail(self, **record) -> None:
        """Note a call that gave no reply; it is made again by the next run."""
        self._append({"failed": record})

    def test(self, key: str, passed: bool, why: str) -> None:
        """Note what the tests of a program said, under a hash of all that they ran on."""
        self._append({"tested": {"key": key, "passed": passed, "why": why}})
        self.tested[key] = passed, why

    def pace(self) -> dict[str, tuple[float, float]]:
        """Return, by model, the mean output tokens and seconds of its answers so far."""
        found = defaultdict(list)
        for said in self.said.values():
            if said.purpose == "answer" and said.stated:
                found[said.model].append((said.tokens_out, said.seconds))
        return {m: (sum(t for t, _ in of) / len(of), sum(s for _, s in of) / len(of)) for m, of in found.items()}

    def close(self) -> None:
        self._file.close()

    def _append(self, record: dict) -> None:
        self._file.write((json.dumps(record) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content[:content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                self._know(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ConfigError(f"{self.path}, line {number}: no record of a collection ({error}): it was changed "
                                  "since; remove this line to have that call made again") from None
        if len(whole) < len(content):
            with open(self.path, "r+b") as file:
                file.truncate(len(whole))

    def _know(self, record: dict) -> None:
        if "said" in record:
            said = Said(**record["said"])
            self.said[said.purpose, said.id, said.model, said.request] = said
        elif "tested" in record:
            self.tested[record["tested"]["key"]] = record["tested"]["passed"], record["tested"]["why"]
        elif "failed" not in record:
            raise KeyError("neither said, failed nor tested")


@contextmanager
def opened(folder: Path):
    """Give the journal of a folder, to begin or to go on; raise `ConfigError` if another process is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / "collect.lock", f"collecting into {folder}", "give another out"), \
            closing(Journal(folder / FILE)) as journal:
        yield journal
