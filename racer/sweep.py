"""The jobs of a sweep: each in a folder named by its settings, done once, gone on with when it was killed.

All but a bug lets the sweep go on. Started again, a sweep skips the jobs that are done (`racer.jobs`): those of the
same settings, files and code, whose report is as they left it.
"""

import logging
import os
import shutil
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from racer import hashing
from racer.config import Config, plain
from racer.errors import Infeasible, RacerError
from racer.jobs import REPORT, Record, records
from racer.locks import OneAtATime

NOT_THE_JOB = ("run_dir", "cache_dir", "tracking")  # settings that change no number
FILES = ("data.path", "encoder.path", "router.path", "risk.weights")  # settings that may name a file or folder

log = logging.getLogger(__name__)


def do(cfg: DictConfig, sweep: Path, overrides: list[str], job: Callable[[Config], object],
       number: int = 0) -> None:
    """Do one job in its folder below `sweep`, unless it is done; record what became of it.

    What the user can mend is recorded and not raised, so that the jobs after it have their turn; a bug is both.
    """
    settings = _settings(cfg)
    name, processes = hashing.of_json(settings), PartialState(cpu=cfg.train.cpu)
    (sweep / name).mkdir(parents=True, exist_ok=True)
    with OneAtATime(processes, sweep / name / "job.lock"):
        before = next((r for r in records(sweep) if r.name == name), None)
        record = Record(name, overrides, _content(settings), number=number,
                        wandb=before.wandb if before else uuid.uuid4().hex[:12])
        processes.wait_for_everyone()  # all have read before it is written
        if before and (before.state, before.content) == ("done", record.content):
            log.info("done before: %s", " ".join(overrides) or name)
            return
        _attempt(cfg, sweep, record, job, writes=processes.is_main_process)


def _attempt(cfg: DictConfig, sweep: Path, record: Record, job: Callable[[Config], object], writes: bool) -> None:
    folder = sweep / record.name
    if writes:
        shutil.rmtree(folder / "wandb", ignore_errors=True)  # of an attempt that was killed: this one tells all again
        record.save(sweep)
    try:
        job(_tracked(replace(plain(cfg), run_dir=str(folder)), sweep, record))
        if writes:  # the others may be here before the report is
            record = replace(record, state="done", report=hashing.of_file(folder / REPORT))
    except RacerError as error:
        record = replace(record, state="infeasible" if isinstance(error, Infeasible) else "refused", reason=str(error))
        log.warning("%s: %s: %s", record.state, " ".join(record.overrides), error)
    except Exception as error:
        record = replace(record, state="failed", reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        if writes and record.state != "running":
            record.save(sweep)


def _tracked(config: Config, sweep: Path, record: Record) -> Config:
    """Return the settings with one wandb run a job, in the sweep's group, under a name that tells jobs apart."""
    t = config.tracking
    return replace(config, tracking=replace(t, group=t.group or sweep.resolve().name, id=record.wandb,
                                            name=t.name or " ".join(record.overrides) or record.name))


def _settings(cfg: DictConfig) -> dict:
    """Return the settings that a job is named by; the same job again gets the same folder."""
    kept = OmegaConf.masked_copy(cfg, [key for key in cfg if key not in NOT_THE_JOB])
    return OmegaConf.to_container(kept, resolve=True)


def _content(settings: dict) -> str:
    """Name all that the numbers of a job depend on: settings, the files they name, the code."""
    named = {key: OmegaConf.select(OmegaConf.create(settings), key) for key in FILES}
    paths = {key: Path(os.path.expanduser(os.path.expandvars(str(value)))) for key, value in named.items() if value}
    files = {key: hashing.of_folder(path) if path.is_dir() else hashing.of_file(path)
             for key, path in paths.items() if path.exists()}
    package = Path(__file__).parent
    code = {path.relative_to(package).as_posix(): hashing.of_file(path) for path in sorted(package.rglob("*.py"))}
    return hashing.of_json({"settings": settings, "files": files, "code": code})


class Summary(Callback):
    """What a sweep says at its end, and with which status it exits: 2 if a job of its folder is not done."""

    def on_multirun_end(self, config: DictConfig, **_) -> None:
        if not PartialState().is_main_process:
            return
        sweep = Path(config.hydra.sweep.dir)
        found = records(sweep)
        counts = Counter(record.state for record in found)
        print(f"sweep {sweep}: {len(found)} jobs, " + ", ".join(f"{n} {state}" for state, n in sorted(counts.items())))
        print(f"one table of all: python scripts/gather.py sweep={sweep}")
        for record in found:
            if record.state != "done":
                print(f"error: {record.state}: {' '.join(record.overrides)}: {record.reason or 'killed, or under way'}",
                      file=sys.stderr)
        if set(counts) - {"done"}:
            raise SystemExit(2)
