"""One table of a sweep, one row per job; what differs between seeds, and between jobs that differ in one setting.

Everything is read from the folders of the jobs: nothing is measured anew but the differences, query by query.
"""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from racer import artifact as artifact_file
from racer import intervals
from racer import scores as scores_file
from racer.errors import ConfigError
from racer.jobs import REPORT, Record, records
from racer.kept import losses_of, sets_of
from racer.tracking import flatten

NO_METHOD = ("cache_dir", "run_dir", "tracking", "hydra")  # overrides that make no other job


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its record, its settings as given (key: value), its report where it is done."""

    folder: Path
    record: Record
    given: dict[str, str]
    report: dict | None

    def named(self, keys: Iterable[str]) -> str:
        """Return the settings of these keys, as written; a key that was not given is left out."""
        return ", ".join(f"{key}={self.given[key]}" for key in keys if key in self.given)


def jobs(sweep: Path) -> list[Job]:
    """Return the jobs of a sweep, in its order. Raises `ConfigError` if there are none."""
    found = [_job(sweep, record) for record in records(sweep)]
    if not found:
        raise ConfigError(f"no jobs in {sweep}: run `python scripts/train.py -m hydra.sweep.dir={sweep} ...` first")
    return found


def _job(sweep: Path, record: Record) -> Job:
    given = dict(override.lstrip("+~").partition("=")[::2] for override in record.overrides)
    folder = sweep / record.name
    report = json.loads((folder / REPORT).read_text(encoding="utf-8")) if record.state == "done" else None
    return Job(folder, record, given, report)


def varied(found: list[Job]) -> list[str]:
    """Return the keys in which the jobs differ."""
    keys = sorted({key for job in found for key in job.given if key.split(".")[0] not in NO_METHOD})
    return [key for key in keys if len({job.given.get(key) for job in found}) > 1]


def rows(found: list[Job]) -> list[dict]:
    """Return one row per job: what became of it, its settings, the router's fingerprint, every number of its report."""
    keys = sorted({key for job in found for key in job.given})
    return [{"job": job.record.name, "state": job.record.state, "reason": job.record.reason,
             **{key: job.given.get(key) for key in keys},
             "router": job.report["fingerprint"]["router"] if job.report else None, **flatten(job.report or {})}
            for job in found]


def over_seeds(found: list[Job]) -> list[dict]:
    """Return one row per group of jobs that differ in `seed` alone: each number's mean over seeds, with its interval.

    The interval, Student's t over the seeds, says how much training's chance matters on these very rows; that of a
    report says how much the rows do. Groups of one seed are left out.
    """
    keys, groups = [key for key in varied(found) if key != "seed"], {}
    for job in found:
        if job.report:
            groups.setdefault(job.named(keys), []).append(job)
    return [{**{key: same[0].given.get(key) for key in keys}, "seeds": len(same), **_means(same)}
            for same in groups.values() if len({job.given.get("seed") for job in same}) > 1]


def _means(same: list[Job]) -> dict[str, float]:
    numbers = [{name: value for name, value in flatten(job.report).items() if name.endswith("/value")} for job in same]
    common = [name for name in numbers[0] if all(name in of for of in numbers)]
    means = {name.removesuffix("/value"): intervals.over_seeds(np.array([of[name] for of in numbers]))
             for name in common}
    return flatten(means)


def differences(found: list[Job], against: str, rng: np.random.Generator) -> list[dict]:
    """Return one row per job that has a twin with the setting `against` (`key=value`): how much it differs from it.

    Mean differences over the same test queries with paired bootstrap intervals; the routers and cuts are those at hand.
    Raises `ConfigError` if no job was given `against`, or if two twins were not judged on the same queries.
    """
    key, value = against.split("=", 1)
    done = [job for job in found if job.report]
    if not any(job.given.get(key) == value for job in done):
        raise ConfigError(f"against={against}: no job that is done was given it; the sweep varies "
                          f"{', '.join(varied(found)) or 'nothing'}")
    twins = {_others(job, key): job for job in done if job.given.get(key) == value}
    pairs = [(job, twins[_others(job, key)]) for job in done
             if job.given.get(key) != value and _others(job, key) in twins]
    keys = varied(found)
    return [{**{k: job.given.get(k) for k in keys}, "minus": against, **flatten(_difference(job, twin, rng))}
            for job, twin in pairs]


def _others(job: Job, key: str) -> tuple:
    return tuple(sorted((k, v) for k, v in job.given.items() if k != key and k.split(".")[0] not in NO_METHOD))


def _difference(job: Job, twin: Job, rng: np.random.Generator) -> dict[str, dict]:
    (ids, ours), (their_ids, theirs) = of_queries(job.folder), of_queries(twin.folder)
    if not np.array_equal(ids, their_ids):
        raise ConfigError(f"{job.folder} and {twin.folder} were judged on other test queries: they cannot be paired")
    return {name: intervals.paired(values - theirs[name], rng) for name, values in ours.items() if name in theirs}


def of_queries(run: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the test queries' ids (n,), and what the run's sets did on each: arrays (n,) by the report's names."""
    artifact = artifact_file.load(run / "calibration.json")
    test = scores_file.load(run / "scores.npz").of_split("test")
    chosen = sets_of(test, artifact)
    members = chosen[:, :-1]
    found = {f"risk/{name}": values for name, values in losses_of(chosen, test, artifact).items()}
    found |= {"set_size": members.sum(axis=1), "abstention": ~members.any(axis=1),
              "set_accuracy": (members & test.outcomes).any(axis=1)}
    found |= {} if test.cost is None else {"cost/usd": (members * test.cost).sum(axis=1)}
    return test.ids, {name: values.astype(np.float64) for name, values in found.items()}


def write_csv(path: Path, table: list[dict]) -> None:
    """Write rows of any keys; a cell that a row lacks is empty, a number keeps every bit."""
    names = list(dict.fromkeys(name for row in table for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(table)
