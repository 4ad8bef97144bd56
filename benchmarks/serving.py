"""What the server adds to a request; whether 300 requests at a time all end, in bounded memory, whatever models do.

    python benchmarks/serving.py

Writes its section of `docs/performance.md` in some ten minutes. The server is `scripts/serve.py` in a process of its
own on one thread, with the default encoder; the models are loopback servers (`tests/upstream.py`) in another process;
the clients are a third. All share the machine. Queries are those of the embedded pool, so texts differ.
"""

import asyncio
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from document import machine, markdown, write_section
from files import ONE_THREAD, ROOT, run_of
from tqdm import tqdm

from racer import Router, kitchen
from racer.pool import Ledger

sys.path.append(str(ROOT / "tests"))
import upstream

AT_A_TIME, ALONE = 300, 100
ROUNDS = 10  # of so many requests, all models healthy, before the bad kinds come; and a few after them
LOADS: list[float] = []  # of the machine, others' work included
TEXTS = kitchen.generate().queries.tolist()
LATE = "31.0"  # seconds: a bucket of the server's metrics, a second beyond the default deadline
SECONDS, TIMEOUT = 0.05, 3  # a healthy model thinks; a call may take
LIE = {"prompt_tokens": -1, "completion_tokens": 10**12}


# ---------------------------------------------------------------- the models


def behaviours(kind: str, models: tuple[str, ...]) -> dict:
    """Return what each model does. Of the bad kinds the three models that are asked most are bad."""
    found = dict.fromkeys(models, thinks)
    bad = {"healthy": None, "killed midway": None, "gone": upstream.hangs_up(), "slow": upstream.slow(60),
           "lying": lies, "malformed": upstream.sends(b"<html>"), "flooding": upstream.floods(),
           "failing": upstream.fails(500), "dying midstream": upstream.dies_mid_stream(3),
           "all slow": upstream.slow(60)}[kind]
    if bad is not None:
        found |= dict.fromkeys(models if kind in ("all slow", "dying midstream") else models[:3], bad)
    return found


async def thinks(body: dict, answer) -> None:
    await asyncio.sleep(SECONDS)
    await upstream.says("The answer is 36.", 20, 8)(body, answer)


async def lies(body: dict, answer) -> None:
    await answer.json(upstream.completion("The answer is 36.", body) | {"usage": LIE})


def models_process(models: tuple[str, ...], pipe) -> None:
    """Run the models until killed; tell where they are, and be told of what kind they are."""
    with upstream.Upstream(behaviours("healthy", models)) as served:
        served.calls = Nothing()
        pipe.send(served.base)
        while True:
            served.behaviours |= behaviours(pipe.recv(), models)
            pipe.send("changed")


class Nothing(list):
    """Keeps no calls: thousands of requests are not the test's own memory."""

    def append(self, _) -> None:
        pass


# ---------------------------------------------------------------- the server


@dataclass
class Running:
    """The server under test and its models."""

    process: subprocess.Popen
    models: multiprocessing.Process
    pipe: Connection
    base: str
    upstream: str
    spend: Path

    def become(self, kind: str) -> None:
        """Let the models be of this kind from now on."""
        self.pipe.send(kind)
        self.pipe.recv()

    def memory(self, which: str) -> float:
        """Return MiB of the server: VmRSS now, VmHWM at most so far; raise if it has ended."""
        if (code := self.process.poll()) is not None:
            raise RuntimeError(f"the server ended with {code}: see server.log in the folder of its run")
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith(which))) / 1024


    def late(self) -> tuple[int, int]:
        """Return how many requests took more than `LATE` seconds by the server's clock, and how many came at all."""
        text = httpx.get(f"{self.base.removesuffix('/v1')}/metrics", timeout=60).text
        chat = r'racer_request_seconds_bucket\{le="%s",route="/v1/chat/completions"\} (\S+)'
        within, total = (int(float(re.search(chat % re.escape(le), text)[1])) for le in (LATE, "+Inf"))
        return total - within, total

    def processor(self) -> float:
        """Return the seconds of processor time that the server has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class serving:
    """A server of `run` in front of models that are healthy at first, by `with`."""

    def __init__(self, run: Path, order: tuple[str, ...], folder: Path):
        self.run, self.order, self.folder = run, order, folder

    def __enter__(self) -> Running:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        models = context.Process(target=models_process, args=(self.order, theirs), daemon=True)
        models.start()
        base = ours.recv()
        pool, spend = self.folder / "pool.yaml", self.folder / "spend.db"
        spend.unlink(missing_ok=True)
        entry = {"api_base": base, "price_in": 1.0, "price_out": 2.0, "timeout": TIMEOUT, "backoff": 0.1,
                 "concurrency": 1000}
        pool.write_text(json.dumps({"models": [{"name": n, "model": n} | entry for n in self.order]}))
        command = [sys.executable, str(ROOT / "scripts" / "serve.py"), f"run={self.run}", f"pool={pool}", "port=0",
                   f"spend_file={spend}"]
        log = self.run / "server.log"
        with open(log, "w") as out:
            process = subprocess.Popen(command, env=os.environ | ONE_THREAD, stdout=out, stderr=out)
        while not (found := re.search(r"serving .* at (http://\S+/v1),", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        self.running = Running(process, models, ours, found[1], base, spend)
        return self.running

    def __exit__(self, *_) -> None:
        self.running.process.terminate()
        self.running.process.wait(60)
        self.running.models.kill()
        self.running.models.join()


# ---------------------------------------------------------------- the clients


@dataclass(frozen=True)
class Ended:
    """How one request ended: `answered`, `error STATUS`, `error event` of a stream, or `LOST`."""

    how: str
    seconds: float
    replaced: bool = False


async def one(client: httpx.AsyncClient, base: str, text: str, stream: bool) -> Ended:
    body = {"model": "racer", "messages": [{"role": "user", "content": text}], "stream": stream}
    start = time.monotonic()
    try:
        response = await client.post(f"{base}/chat/completions", json=body)
        how, replaced = ending(response, stream)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        how, replaced = f"LOST ({type(error).__name__})", False
    return Ended(how, time.monotonic() - start, replaced)


def ending(response: httpx.Response, stream: bool) -> tuple[str, bool]:
    """Return how a request ended, and whether a model was replaced; raise if it is neither an answer nor an error."""
    if response.status_code != 200:
        response.json()["error"]["message"]
        return f"error {response.status_code}", False
    if not stream:
        record = response.json()
        record["choices"][0]["message"]["content"]
        return "answered", bool(record["racer"]["replaced"])
    events = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    if events[-1] == "[DONE]":
        return "answered", bool(json.loads(events[-2])["racer"]["replaced"])
    json.loads(events[-1])["error"]["message"]
    return "error event", False


async def crowd(base: str, n: int, at_a_time: int, stream: bool = False, kill=None) -> list[Ended]:
    """Send `n` requests, `at_a_time` under way; call `kill` when a third of them has ended."""
    queue, ended = iter(range(n)), []
    limits = httpx.Limits(max_connections=at_a_time, max_keepalive_connections=at_a_time)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        async def worker() -> None:
            nonlocal kill
            for i in queue:
                ended.append(await one(client, base, TEXTS[i % len(TEXTS)], stream))
                if kill is not None and 3 * len(ended) >= n:
                    kill()
                    kill = None
        await asyncio.gather(*(worker() for _ in range(at_a_time)))
    return ended


# ---------------------------------------------------------------- the measurements


def alone(running: Running, model: str) -> dict[str, list[float]]:
    """Return milliseconds of requests one at a time: as the server tells them, by the clock of a client, and of the
    same call made straight to a model.
    """
    found = {name: [] for name in ("forward", "upstream", "overhead", "client", "direct")}
    with httpx.Client(timeout=60) as client:
        for i in range(-10, ALONE):  # the first warm up
            body = {"model": "racer", "messages": [{"role": "user", "content": TEXTS[i]}]}
            start = time.perf_counter()
            response = client.post(f"{running.base}/chat/completions", json=body)
            middle = time.perf_counter()
            client.post(f"{running.upstream}/chat/completions", json=body | {"model": model})
            end = time.perf_counter()
            if i < 0:
                continue
            for part in response.headers["server-timing"].split(", "):
                name, value = part.split(";dur=")
                found[name].append(float(value))
            found["client"].append(1000 * (middle - start))
            found["direct"].append(1000 * (end - middle))
    return found


def row(name: str, ended: list[Ended]) -> list[str]:
    """Return a row of the table of ends."""
    counts, times = Counter(e.how for e in ended), sorted(e.seconds for e in ended)
    ends = ", ".join(f"{count} {how}" for how, count in sorted(counts.items()))
    return [name, f"{len(ended):,}", ends, str(sum(e.replaced for e in ended)), f"{times[len(times) // 2]:.1f}",
            f"{times[-1]:.1f}"]


def single(run: Path) -> Path:
    """Return a copy of the run whose sets hold one model, so that replies are streamed as they come."""
    copy = run.with_name(f"{run.name}-single")
    if not (copy / "calibration.json").exists():
        shutil.copytree(run, copy, dirs_exist_ok=True)
        (copy / "calibration.json").unlink()
        subprocess.run([sys.executable, str(ROOT / "scripts" / "calibrate.py"), f"run={copy}", "sets.max_size=1",
                        "risk.alpha=0.6"], check=True, env=os.environ | ONE_THREAD)
    return copy


def most_asked(run: Path) -> tuple[str, ...]:
    """Return the models, those that are asked most first."""
    router = Router.load(run)
    asked = Counter(name for decision in router.route(TEXTS[:AT_A_TIME]) for name in decision.members)
    return tuple(sorted(router.models, key=lambda name: -asked[name]))


def memory_row(name: str, running: Running) -> list[str]:
    return [name, f"{running.memory('VmRSS'):.0f}", f"{running.memory('VmHWM'):.0f}"]


@dataclass
class Seen:
    """What came of it: how requests ended, by kind; memory; processor seconds by kind; USD held; how many late."""

    ended: dict[str, list[Ended]] = field(default_factory=lambda: defaultdict(list))
    memory: list[list[str]] = field(default_factory=list)
    processor: Counter = field(default_factory=Counter)
    held: float = 0.0
    late: Counter = field(default_factory=Counter)

    def stop(self, running: Running) -> None:
        """Note what a server says of itself at its end."""
        late, total = running.late()
        self.late.update(late=late, total=total)


def try_one(running: Running, kind: str, stream: bool, seen: Seen) -> None:
    """Send requests while the models are of this kind, and note what came of them."""
    running.become(kind)
    kill = running.models.kill if kind == "killed midway" else None
    name = f"{kind}, streams" if stream else kind
    before = running.processor()
    seen.ended[name] += asyncio.run(crowd(running.base, AT_A_TIME, AT_A_TIME, stream, kill))
    LOADS.append(os.getloadavg()[0])
    seen.memory.append(memory_row(f"then {AT_A_TIME} requests, models {name}", running))
    seen.processor[name] += running.processor() - before
    ledger = Ledger(None, running.spend)
    seen.held = max(seen.held, ledger.held)
    ledger.close()


def main() -> None:
    run = run_of("minilm")
    order, seen = most_asked(run), Seen()
    with tempfile.TemporaryDirectory() as folder:
        with serving(run, order, Path(folder)) as running:
            times = alone(running, order[0])
            seen.memory.append(memory_row("at rest", running))
            for kind in tqdm(KINDS, desc="models", unit="round"):
                try_one(running, kind, False, seen)
            seen.stop(running)
        with serving(single(run), order, Path(folder)) as running:
            seen.memory.append(memory_row("another, of single models, at rest", running))
            for kind in tqdm(("healthy", "dying midstream"), desc="streams", unit="kind"):
                try_one(running, kind, True, seen)
            seen.stop(running)
    cells = {name: (statistics.median(v), sorted(v)[int(0.95 * len(v))]) for name, v in times.items()}
    latency = [[LABELS[name], f"{a:.1f}", f"{b:.1f}"] for name, (a, b) in cells.items()]
    rows = [row(name, ended) for name, ended in seen.ended.items()]
    write_section("Serving", TEXT.format(
        machine=machine(), alone=ALONE,
        latency="\n".join(markdown(["one request at a time", "median ms", "95 % ms"], latency)),
        ends="\n".join(markdown(["models", "requests", "ended", "with a replacement", "median s", "longest s"], rows)),
        memory="\n".join(markdown(["server", "MiB", "peak MiB"], seen.memory)), at=AT_A_TIME, timeout=TIMEOUT,
        think=1000 * SECONDS, load=max(LOADS), cores=os.cpu_count(),
        held=f"{seen.held:.6f}", each=1000 * seen.processor["healthy"] / len(seen.ended["healthy"]),
        late=seen.late["late"], total=seen.late["total"], le=float(LATE), lost=sum("LOST" in r[2] for r in rows)))


KINDS = (*["healthy"] * ROUNDS, "failing", "gone", "slow", "lying", "flooding", "all slow", *["healthy"] * 2,
         "killed midway")
LABELS = {"forward": "the encoder's forward pass", "upstream": "calls of models", "overhead": "everything else in the "
          "server", "client": "the whole, by the client's clock", "direct": "the same query straight to a model"}
TEXT = """Made by `python benchmarks/serving.py` on {machine}, on which the server (one thread, the default encoder), \
the models (loopback servers) and the clients ran together, beside the work of others (load average up to {load:.1f} \
on {cores} cores). Times are by the clock. What bounds the number of requests in a second here is processor time.

### What the server adds

{alone} requests, one at a time, to models that answer after {think:.0f} ms. The first three rows are those of \
`Server-Timing`: from the end of the request's body to the finished response. Calls of models hold the client's own \
work; the last two rows are seen from outside.

{latency}

### {at} requests at a time

Settings are the defaults (deadline 30 s, 64 requests at work, the others wait), but for the timeout of a call, \
{timeout} s. Of the bad kinds the three models that are asked most are bad, of "all slow" and "dying midstream" all \
seven; "gone" takes a request and hangs up; "lying" says that it used 10^12 tokens; "killed midway" is SIGKILL to the \
process of all models when a third of the requests has ended. Streams are of one member each. Answers are completions, \
abstentions included; errors are explicit ones: 502 no model replied, 503 no place became free in time, 504 the \
deadline passed. Kinds with a request that ended in neither way: {lost}. Most money still held back after a kind: \
{held} USD. A request to healthy models took {each:.0f} ms of the server's processor time, the forward pass and the \
calls of its set included.

Times are those of the clients, who count from before they connect, {at} of them at once on the same cores. By the \
server's own clock, from the head of a request to the end of its response, {late} of {total:,} requests took more than \
{le:.0f} s.

{ends}

### Memory of the server

The whole process, libraries and router included; all kinds one after the other in one process, streams in another.

{memory}
"""

if __name__ == "__main__":
    main()
