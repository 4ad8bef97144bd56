"""How long the calibrations take and what memory they need, beside MAPIE, crepes and plain loops, in one run.

    python benchmarks/calibration.py [queries=1000000]

Writes its section of `docs/performance.md` in a few minutes. Queries are synthetic and seeded: seven models,
probabilities that sum to 1 with the null, outcomes that follow them loosely. Each job runs in a process of its own on
one thread: once on a few rows to load what it needs, then up to `REPEATS` times, of which the fastest counts, in
processor time; memory is the rise of the peak of the process (`resource.getrusage`) above what it held with libraries
and inputs loaded.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from document import machine, markdown, write_section
from tqdm import tqdm

from racer.bounds import dkw_width
from racer.conformal import calibrate
from racer.estimate import Joint, quadrature
from racer.group import calibrate_groups
from racer.losses import least_cut
from racer.online import OnlineCut
from racer.rule import SetRule
from racer.sets import select
from racer.weighted import calibrate_weighted

ROOT = Path(__file__).parents[1]
ALPHA, DELTA, M, NODES = 0.1, 0.1, 7, 15
TASKS = ("mathematics", "code", "law", "history", "biology")
PROBABILITY = SetRule("probability", "learned")
COVERAGE = SetRule("coverage", "joint", prices=(0.2, 0.5, 1.0, 1.5, 3.0, 8.0, 20.0))
REPEATS, PATIENCE, WARM_UP = 5, 20, 200  # runs, seconds, rows


def queries(n: int, seed: int) -> dict[str, np.ndarray]:
    """Return `n` calibration queries, and `n` new ones to make sets for.

    `label` is the likeliest right element, the null included. As the only right class of a query it has the S of our
    loss: what a library for one label calibrates with it is the same number.
    """
    rng = np.random.default_rng(seed)
    difficulty, skill = rng.normal(size=(n, 1)), np.linspace(-0.5, 1.0, M)
    logits = np.column_stack([skill - difficulty + rng.normal(size=(n, M)), difficulty[:, 0] + rng.normal(size=n)])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)  # (n, M+1)
    outcomes = rng.random((n, M)) < 1 / (1 + np.exp(difficulty - skill))  # (n, M)
    right = np.column_stack([outcomes, ~outcomes.any(axis=1)])
    return dict(p=p, outcomes=outcomes, label=np.where(right, p, -1).argmax(axis=1), fresh=rng.permutation(p),
                task=np.array(TASKS)[rng.integers(0, len(TASKS), n)], weight=rng.random(n) + 0.5,
                logits=logits[:, :-1], loadings=rng.random((n, M)))


# ---------------------------------------------------------------- ours


def scores(d: dict) -> np.ndarray:
    return least_cut(PROBABILITY.distance(d["p"]), d["outcomes"], "misrouting")


def served(d: dict) -> float:
    return float(scores(d).sum())


def crc(d: dict) -> float:
    return calibrate(scores(d), ALPHA, "crc").cut


def pac(d: dict) -> float:
    return calibrate(scores(d), ALPHA, "pac", DELTA).cut


def crc_and_sets(d: dict) -> int:
    return int(select(PROBABILITY.distance(d["fresh"]), crc(d)).sum())


def group(d: dict) -> dict[str, float]:
    c = calibrate_groups(scores(d), d["task"], ALPHA, "crc")
    return {name: own.cut for name, own in c.own.items()}


def group_and_sets(d: dict) -> int:
    c = calibrate_groups(scores(d), d["task"], ALPHA, "crc")
    s, cuts = PROBABILITY.distance(d["fresh"]), c.cut_of(d["task"])
    return int(sum(select(s[cuts == cut], cut).sum() for cut in np.unique(cuts)))


def dkw(d: dict) -> float:
    """The band at all cuts, from which any alpha may be chosen; here the cut of `ALPHA`."""
    s = np.sort(scores(d))
    upper = 1 - np.arange(1, len(s) + 1) / len(s) + dkw_width(len(s), DELTA)
    return float(s[np.argmax(upper <= ALPHA)])


def weighted(d: dict) -> float:
    return float(calibrate_weighted(scores(d), d["weight"], ALPHA).cut_of(d["weight"]).mean())


def online(d: dict) -> float:
    return OnlineCut(0.5, ALPHA, 0.0, 1.0, 0.05).run(scores(d)).after.cut


def joint_scores(d: dict) -> float:
    joint = Joint(d["logits"], d["loadings"], *quadrature(NODES))
    return float(COVERAGE.distance(d["p"], joint).sum())


# ---------------------------------------------------------------- plain loops over queries


def loop_scores(d: dict) -> list[float]:
    served = []
    for p, outcomes in zip(d["p"].tolist(), d["outcomes"].tolist(), strict=True):
        right = [1 - chance for chance, is_right in zip(p, outcomes, strict=False) if is_right]
        served.append(min(right) if right else 1 - p[-1])
    return served


def loop_cut(served: list[float]) -> float:
    allowed = max(j for j in range(len(served)) if (j + 1) / (len(served) + 1) <= ALPHA)
    return sorted(served)[len(served) - allowed - 1]


def loop_crc(d: dict) -> float:
    return loop_cut(loop_scores(d))


def loop_group(d: dict) -> dict[str, float]:
    of_task = {}
    for task, s in zip(d["task"].tolist(), loop_scores(d), strict=True):
        of_task.setdefault(task, []).append(s)
    return {task: loop_cut(served) for task, served in of_task.items()}


def loop_joint_scores(d: dict) -> float:
    nodes, weights = (x.tolist() for x in quadrature(NODES))
    costs = COVERAGE.relative_costs(COVERAGE.prices_of(None), M).tolist()
    total = -float(d["p"][:, -1].sum())
    for logits, loadings in zip(d["logits"].tolist(), d["loadings"].tolist(), strict=True):
        right = [[1 / (1 + math.exp(-a - b * z)) for z in nodes] for a, b in zip(logits, loadings, strict=True)]
        missed, waiting = list(weights), set(range(M))
        while waiting:
            gain = {m: sum(p * q for p, q in zip(right[m], missed, strict=True)) / costs[m] for m in waiting}
            best = max(gain, key=gain.get)
            total -= gain[best]
            missed = [q * (1 - p) for q, p in zip(missed, right[best], strict=True)]
            waiting.remove(best)
    return total


# ---------------------------------------------------------------- other libraries


class Recorded:
    """A fitted classifier, as MAPIE wants one, whose features are the probabilities that it predicts."""

    classes_ = np.arange(M + 1)

    def fit(self, x, y):
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.argmax(axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def mapie_split(d: dict):
    from mapie.classification import SplitConformalClassifier

    return SplitConformalClassifier(Recorded(), confidence_level=1 - ALPHA).conformalize(d["p"], d["label"])


def mapie_split_and_sets(d: dict) -> int:
    return int(mapie_split(d).predict_set(d["fresh"])[1].sum())


def mapie_recall(d: dict) -> float:
    """The recall of one label is 1 - our loss. It searches a grid of 100 probabilities; an element is in above it."""
    from mapie.risk_control import MultiLabelClassificationController

    controller = MultiLabelClassificationController(lambda p: p, risk="recall", method="crc", target_level=1 - ALPHA)
    one_hot = np.eye(M + 1, dtype=int)[d["label"]]
    return float(1 - controller.calibrate(d["p"], one_hot).best_predict_param[0])


def crepes_and_sets(d: dict, tasks: bool = False) -> int:
    from crepes import ConformalClassifier

    task, served = (d["task"] if tasks else None), 1 - d["p"][np.arange(len(d["p"])), d["label"]]
    above = 1 - ALPHA - 1e-9  # it keeps an element whose p-value is just alpha, which the promise does not need
    sets = ConformalClassifier().fit(served, bins=task).predict_set(1 - d["fresh"], bins=task, confidence=above,
                                                                   smoothing=False)
    return int(sets.sum())


def crepes_group_and_sets(d: dict) -> int:
    return crepes_and_sets(d, tasks=True)


# ---------------------------------------------------------------- one job, in its own process

NEEDS = {  # the arrays a job reads
    served: "p outcomes", crc: "p outcomes", pac: "p outcomes", dkw: "p outcomes", online: "p outcomes",
    crc_and_sets: "p outcomes fresh", group: "p outcomes task", group_and_sets: "p outcomes fresh task",
    weighted: "p outcomes weight", joint_scores: "p logits loadings", loop_crc: "p outcomes",
    loop_group: "p outcomes task", loop_joint_scores: "p logits loadings", mapie_split_and_sets: "p label fresh",
    mapie_recall: "p label", crepes_and_sets: "p label fresh", crepes_group_and_sets: "p label fresh task"}
JOBS = {job.__name__: job for job in NEEDS}


def measure(name: str, path: str) -> dict:
    """Return seconds, memory (MiB) and the answer of a job on the arrays in a file."""
    job = JOBS[name]
    with np.load(path) as file:
        d = {key: file[key] for key in NEEDS[job].split()}
    job({key: array[:WARM_UP] for key, array in d.items()})
    before, seconds = peak(), []
    for _ in range(REPEATS):
        start = time.process_time()
        answer = job(d)
        seconds.append(time.process_time() - start)
        if sum(seconds) > PATIENCE:  # slow ones run once or twice
            break
    return dict(seconds=min(seconds), memory=peak() - before, answer=answer)


def peak() -> float:
    per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mib


def write(size: str, path: str) -> None:
    np.savez(path, **queries(int(size), seed=0))


def in_process(*arguments) -> dict | None:
    """Return what `measure` or `write` returns in a process of its own, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
                   "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    result = subprocess.run([sys.executable, __file__, *map(str, arguments)], env=environment, check=True,
                            stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


# ---------------------------------------------------------------- the whole run

ALONE = {"S of each query alone": "served", "`crc`": "crc", "`pac`": "pac", "`dkw`, the band at all cuts": "dkw",
         "`group`, five tasks, `crc` each": "group", "`online`, one step per query": "online",
         "`weighted`, and the cut of each of as many new queries": "weighted",
         "scores of `coverage` with a joint of 15 nodes, no calibration": "joint_scores"}
BESIDE = [  # what is asked, ours, theirs, their name, share of all queries they get, how the answers compare
    ("`crc`: the cut", "crc", "loop_crc", "plain loop", 1, "equal"),
    ("`group`: five cuts", "group", "loop_group", "plain loop", 1, "equal"),
    ("`crc`: the cut, and the sets of as many new queries", "crc_and_sets", "mapie_split_and_sets",
     "MAPIE `SplitConformalClassifier`, lac", 1, "equal"),
    ("`crc`: the cut", "crc", "mapie_recall", "MAPIE `MultiLabelClassificationController`, recall, crc", 1 / 200,
     "grid"),
    ("`crc`: the cut, and the sets of as many new queries", "crc_and_sets", "crepes_and_sets",
     "crepes `ConformalClassifier`", 1 / 100, "equal"),
    ("`group`: five cuts, and the sets of as many new queries", "group_and_sets", "crepes_group_and_sets",
     "crepes `ConformalClassifier`, Mondrian", 1 / 100, "equal"),
    ("scores of `coverage` with a joint of 15 nodes", "joint_scores", "loop_joint_scores", "plain loop", 1 / 100,
     "rounding")]


def agreement(ours, theirs, kind: str) -> str:
    """Return whether the answers agree as they should: cuts and counts of set members equal, or as `kind` allows."""
    if kind == "equal":
        return "same answer" if ours == theirs else f"DIFFERS: {ours} and {theirs}"
    if kind == "grid":  # theirs is the next of a hundred steps on the safe side
        return "same, up to its grid" if 0 <= theirs - ours <= 0.0101 else f"DIFFERS: {ours} and {theirs}"
    return "same, up to rounding" if math.isclose(ours, theirs, rel_tol=1e-9) else f"DIFFERS: {ours} and {theirs}"


def main(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths, done = {}, {}
        for size in sorted({max(round(n * share), WARM_UP) for *_, share, _ in BESIDE} | {n}):
            paths[size] = Path(folder) / f"{size}.npz"
            in_process("write", size, paths[size])  # not here: a child would inherit the peak of its parent
        wanted = [(name, n) for name in ALONE.values()]
        wanted += [(name, max(round(n * share), WARM_UP)) for _, *names, _, share, _ in BESIDE for name in names]
        bar = tqdm(dict.fromkeys(wanted), desc="measure", unit="job")
        for name, size in bar:
            bar.set_postfix_str(f"{name}, {size} queries")
            done[name, size] = in_process("measure", name, paths[size])
    write_section("Calibration", document(n, done))


def document(n: int, done: dict[tuple[str, int], dict]) -> str:
    alone = [[title, seconds(done[name, n]), memory(done[name, n])] for title, name in ALONE.items()]
    beside = []
    for title, ours, theirs, library, share, kind in BESIDE:
        size = max(round(n * share), WARM_UP)
        a, b = done[ours, size], done[theirs, size]
        beside.append([title, f"{size:,}", library, seconds(a), seconds(b), f"{b['seconds'] / a['seconds']:,.0f} x",
                       memory(a), memory(b), agreement(a["answer"], b["answer"], kind)])
    return TEXT.format(
        command=" ".join(["python benchmarks/calibration.py", *sys.argv[1:]]), n=f"{n:,}", m=M, alpha=ALPHA,
        repeats=REPEATS, patience=PATIENCE, machine=machine(), mapie=version("mapie"), crepes=version("crepes"),
        numpy=version("numpy"),
        alone="\n".join(markdown(["what", "seconds", "MiB"], alone)),
        beside="\n".join(markdown(["what", "queries", "beside", "ours, s", "theirs, s", "ratio", "ours, MiB",
                                "theirs, MiB", "answers"], beside)))


TEXT = """Made by `{command}`: {n} synthetic queries by {m} models, seeded, alpha = {alpha}, on \
{machine}, numpy {numpy}, MAPIE {mapie}, crepes {crepes}. Each job runs in its own process on one thread. Seconds are \
processor time, which neighbours on a shared machine disturb less than the clock; the fastest of {repeats} runs \
counts, of fewer where they take more than {patience} s together. MiB is the rise of the peak memory of the process \
above libraries and inputs.

### A calibration of {n} queries

From probabilities (n, {m} + 1) and outcomes (n, {m}) to S, by the family `probability`, and from S to the cut. Every \
row but the last contains the first.

{alone}

### Beside others

Same data, same alpha, one run. "queries" is what both got: fewer than {n} where theirs takes too long for a run of \
a few minutes. MAPIE and crepes know one right class per query. They are given the likeliest right \
element, the null included, whose score is the S of our loss; ours finds it from the outcomes, inside its time. Cuts, \
or the number of members in all sets, are compared.

- MAPIE computes its quantile when it predicts, so the sets belong to the job. Its classifier returns given arrays.
- MAPIE's multi-label control takes any set of right labels, but its recall is the share of them that is found, which \
is our loss only where there is one. It searches a grid of 100 probabilities by a loop over queries and grid.
- crepes computes a p-value per query and class, each a pass over the calibration scores; `smoothing=False`, as \
the cut is not randomised. Fitting only stores the scores.
- The plain loops are what one writes first: a list of S, a sort, a count.

{beside}
"""


def seconds(job: dict) -> str:
    return f"{job['seconds']:.3g}"


def memory(job: dict) -> str:
    return f"{job['memory']:,.0f}" if job["memory"] >= 1 else "< 1"


if __name__ == "__main__":
    if sys.argv[1:2] in (["measure"], ["write"]):
        print(json.dumps({"measure": measure, "write": write}[sys.argv[1]](*sys.argv[2:])))
    else:
        given = dict(argument.split("=", 1) for argument in sys.argv[1:])
        main(int(given.get("queries", 1_000_000)))
