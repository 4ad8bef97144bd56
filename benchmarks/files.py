"""How long routing a file takes, what memory it needs at several lengths, and whether a million lines survive kills.

    python benchmarks/files.py [lines=1000000]
    python benchmarks/files.py memory=true

The first writes the section Files of `docs/performance.md` in about a quarter of an hour on one core; the second, in
some minutes, the one on memory with the default encoder: the peak of one routing as it goes. The queries are drawn from
those of the embedded pool, with replacement; every line has a number, by which loss and repeats are seen. The long
files are routed by a random tiny encoder that reads 16 bytes of a query: what is measured there is the handling of
files, not an encoder. The shorter ones are routed by the default encoder. Each routing is `scripts/route.py` in a
process of its own on one thread; seconds are processor time, memory is the peak of the whole process (`os.wait4`).
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from document import machine, markdown, write_section
from tqdm import tqdm

from racer import Router, config, hashing, kitchen, pipeline
from racer.rows import CHUNK

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "outputs" / "files"
ENCODERS = {"tiny": ["encoder=tiny", "encoder.max_length=16", "train.epochs=2"], "minilm": []}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
              "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def run_of(name: str) -> Path:
    """Return the folder of a run with this encoder, trained once."""
    run = RUNS / name
    if not (run / "report.json").exists():
        pipeline.run(config.composed("train", [*ENCODERS[name], f"run_dir={run}", "tracking.wandb=off"]))
    return run


def write_lines(path: Path, n: int) -> Path:
    """Write `n` queries of the embedded pool, drawn with replacement and numbered."""
    queries = [json.dumps(text) for text in kitchen.generate().queries]
    with open(path, "w", encoding="utf-8") as file:
        for i, row in enumerate(np.random.default_rng(0).integers(len(queries), size=n).tolist()):
            file.write(f'{{"id": {i}, "query": {queries[row]}}}\n')
    return path


def route(run: Path, source: Path, output: Path, kill_at: tuple[int, ...] = ()) -> dict:
    """Route a file, killed by SIGKILL once at each of these numbers of queries; return seconds, MiB and kills."""
    command = [sys.executable, str(ROOT / "scripts" / "route.py"), f"run={run}", f"input={source}", f"output={output}"]
    seconds, peak, begun = 0.0, 0.0, time.monotonic()
    for n in (*kill_at, None):
        with open(f"{output}.log", "w") as log:
            process = subprocess.Popen(command, env=os.environ | ONE_THREAD, stdout=log, stderr=log)
        if n is not None:
            _wait_for(Path(f"{output}.state.json"), n, process)
            process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != (0 if n is None else -signal.SIGKILL):
            raise RuntimeError(Path(f"{output}.log").read_text())
        seconds, peak = seconds + usage.ru_utime + usage.ru_stime, max(peak, usage.ru_maxrss / 2**10)
    return {"seconds": seconds, "peak": peak, "clock": time.monotonic() - begun, "kills": len(kill_at)}


def _wait_for(state: Path, n: int, process: subprocess.Popen) -> None:
    while not (state.exists() and json.loads(state.read_text())["n"] >= n):
        time.sleep(0.01)
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            raise RuntimeError(f"{state}: the routing ended before it could be killed at {n}; take more lines")


def check(source: Path, output: Path) -> None:
    """Raise unless every line is there once, in its place, with a decision, and equal queries of a chunk agree."""
    with open(source, encoding="utf-8") as asked, open(output, encoding="utf-8") as told:
        for i, (a, b) in enumerate(zip(asked, told, strict=True)):
            record, answer = json.loads(a), json.loads(b)
            if record != {"id": i, "query": answer["query"]} or answer["id"] != i or "members" not in answer:
                raise RuntimeError(f"{output}, line {i + 1}: {b[:200]}")


def same(a: Path, b: Path) -> str:
    return "equal" if hashing.of_file(a) == hashing.of_file(b) else "DIFFERENT"


def latency(run: Path) -> dict[str, float]:
    """Return milliseconds of processor time: of one query alone (median of 100), and a query in a batch of `CHUNK`."""
    router, texts = Router.load(run), kitchen.generate().queries.tolist()
    router.route(texts[-64:])
    alone = []
    for text in texts[:100]:
        start = time.process_time()
        router.route([text])
        alone.append(time.process_time() - start)
    start = time.process_time()
    router.route(texts[:CHUNK])
    return {"alone": 1000 * statistics.median(alone), "together": 1000 * (time.process_time() - start) / CHUNK}


def peaks(run: Path, marks: list[int]) -> list[float]:
    """Return the peak MiB of one process that routes a file, at each of these numbers of queries."""
    with tempfile.TemporaryDirectory(dir=RUNS) as folder:
        source, output = write_lines(Path(folder) / "in.jsonl", marks[-1] + CHUNK), Path(folder) / "out.jsonl"
        command = [sys.executable, str(ROOT / "scripts" / "route.py"), f"run={run}", f"input={source}",
                   f"output={output}"]
        found = []
        with subprocess.Popen(command, env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            for n in tqdm(marks, desc="memory", unit="mark"):
                _wait_for(Path(f"{output}.state.json"), n, process)
                status = Path(f"/proc/{process.pid}/status").read_text()  # Linux
                found.append(int(status.split("VmHWM:")[1].split()[0]) / 2**10)
        check(source, output)
    return found


def memory() -> None:
    marks = [CHUNK * k for k in (1, 2, 4, 6, 8, 10, 12)]
    found = peaks(run_of("minilm"), marks)
    rows = [[f"{n:,}", f"{peak:,.0f}"] for n, peak in zip(marks, found, strict=True)]
    half = found[marks.index(marks[-1] // 2)]
    write_section("Files: memory with the default encoder", MEMORY.format(
        machine=machine(), chunk=CHUNK, rise=found[-1] - half,
        rows="\n".join(markdown(["queries routed", "peak MiB so far"], rows))))


def main(n: int) -> None:
    tiny, minilm = run_of("tiny"), run_of("minilm")
    rows, said = [], {}
    with tempfile.TemporaryDirectory(dir=RUNS) as folder:
        at = Path(folder)
        few, some, many = n // 300, n // 50, n // 10
        sources = {size: write_lines(at / f"{size}.jsonl", size) for size in (n // 1000, few, some, many, n)}
        jobs = [(tiny, n, ".jsonl", 3), (minilm, n // 1000, ".jsonl", 0), (minilm, few, ".jsonl", 0)]
        jobs += [(tiny, *rest) for suffix in (".jsonl", ".parquet")
                 for rest in ((some, suffix, 0), (some, suffix, 2), (many, suffix, 0))]
        for run, size, suffix, kills in tqdm(jobs, desc="route", unit="file"):
            output = at / f"{run.name}-{size}-{kills}{suffix}"
            job = route(run, sources[size], output, tuple(size * (k + 1) // (kills + 1) for k in range(kills)))
            if suffix == ".jsonl":
                check(sources[size], output)
            elif pq.read_table(output, columns=["id"])["id"].to_pylist() != list(range(size)):
                raise RuntimeError(f"{output}: a row is lost, or there twice")
            whole = at / f"{run.name}-{size}-0{suffix}"
            if kills and whole.exists():
                said[suffix] = same(whole, output)
            rows.append([run.name, suffix.removeprefix("."), f"{size:,}", str(kills) if kills else "",
                         f"{job['peak']:,.0f}", f"{job['seconds']:,.0f}", f"{job['clock']:,.0f}"])
    one = latency(minilm)
    head = ["encoder", "output", "lines", "kills", "peak MiB", "processor s", "clock s"]
    write_section("Files", TEXT.format(
        command=" ".join(["python benchmarks/files.py", *sys.argv[1:]]), machine=machine(), chunk=CHUNK,
        rows="\n".join(markdown(head, rows)), jsonl=said[".jsonl"], parquet=said[".parquet"], **one))


TEXT = """Made by `{command}` on {machine}. Lines are queries of the embedded pool, drawn with replacement and \
numbered. `tiny` is a random encoder that reads 16 bytes of a query, there to measure the handling of files; `minilm` \
is the default encoder. Each routing is `scripts/route.py`, `chunk={chunk}`, in a process of its own on one thread; \
processor seconds include its start. The peak is of the whole process, libraries and router included. "clock s" is \
what a shared machine gave.

{rows}

Every line of every output was there once, in its place: checked by the numbers. Files that were killed (SIGKILL, at \
even distances) and gone on with are {jsonl} byte for byte to those that were not as JSONL, {parquet} as Parquet, at \
the lengths where both were made. A query that comes again within a chunk is embedded once.

In Python, `minilm` on one thread takes {alone:.1f} ms of processor time for `router.route([text])` (median of 100), \
and {together:.1f} ms a query in one call with {chunk}.
"""

MEMORY = """Made by `python benchmarks/files.py memory=true` on {machine}: one file, routed by `minilm` with \
`chunk={chunk}`, in one process on one thread. The peak is of the whole process. It rises over \
the first chunks, while the process meets its longest queries; over the later half by {rise:.0f} MiB. With `tiny`, \
above, it does not rise in a million lines.

{rows}
"""


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    memory() if given.get("memory") == "true" else main(int(given.get("lines", 1_000_000)))
