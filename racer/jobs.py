"""What became of the jobs of a sweep, as their folders tell it: `DIR/NAME/job.json`.

A job is `running` (under way, or killed), `done`, `infeasible` (the level cannot be promised on this table), `refused`
(its settings contradict each other, or its table is not as it must be) or `failed` (a bug).
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from racer import hashing
from racer.files import write_json

JOB, REPORT = "job.json", "report.json"


@dataclass(frozen=True)
class Record:
    """What became of a job. `content` names all that its numbers depend on, `report` is the sha256 of its report."""

    name: str
    overrides: list[str]
    content: str
    state: str = "running"
    reason: str = ""
    report: str = ""
    number: int = 0  # its place in the sweep that it was last a part of
    wandb: str = ""  # the id of its run: a job that is started again is the same run

    def save(self, sweep: Path) -> None:
        write_json(sweep / self.name / JOB, asdict(self))


def records(sweep: Path) -> list[Record]:
    """Return the records of a sweep's jobs, in its order. A job whose report was changed since is `changed`."""
    found = [_checked(sweep, Record(**json.loads(path.read_text(encoding="utf-8"))))
             for path in sweep.glob(f"*/{JOB}")]
    return sorted(found, key=lambda record: (record.number, record.overrides))


def _checked(sweep: Path, record: Record) -> Record:
    path = sweep / record.name / REPORT
    if record.state != "done" or (path.is_file() and hashing.of_file(path) == record.report):
        return record
    return replace(record, state="changed", reason=f"{REPORT} is not the one that this job wrote: start the sweep "
                                                   "again, it does the job anew")
