"""The main job of a collection: check everything, say what it will cost, ask, grade, write the table."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tqdm import tqdm

from racer import prompts
from racer.collect import estimate, journal, queries, result
from racer.collect.asking import Asked
from racer.collect.collector import Collected, Collector
from racer.collect.grading import Graders
from racer.collect.journal import Journal
from racer.collect.judge import PLACES, Judge
from racer.collect.queries import Query
from racer.collect.sandbox import Sandbox
from racer.config import CollectConfig
from racer.errors import ConfigError
from racer.pool import Endpoint, Ledger, read

MIB = 1 << 20
SPEND = "spend.sqlite"


def collect(settings: CollectConfig) -> bool:
    """Collect as the settings say and write the table; return whether nothing is missing (or nothing was asked for).

    Raises `ConfigError` or `TableError` before anything is spent if pool, queries, judge or sandbox are not as they
    must be. Outcomes that are missing are named on the terminal and are no zeros in the table.
    """
    pool, asked = read(settings.pool), queries.read(settings.queries)
    if len(pool) < 2:
        raise ConfigError(f"{settings.pool} names one model, expected at least two: with one there is nothing to route")
    judge, sandbox = _judge(settings, asked, pool), _sandbox(settings, asked)
    out = Path(settings.out)
    with journal.opened(out) as known:
        ledger = Ledger(settings.budget_usd, out / SPEND)
        try:
            found = asyncio.run(_run(settings, pool, asked, judge, sandbox, known, ledger))
            return found is None or _finish(settings, found, asked, pool, ledger)
        except KeyboardInterrupt:
            print("stopped; what was answered is kept, and the same command goes on", flush=True)
            return False
        finally:
            ledger.close()


def _judge(settings: CollectConfig, asked: list[Query], pool: list[Endpoint]) -> Judge | None:
    """Return who judges, None where no query needs it; a judge or a prompt that is given is checked all the same."""
    needed = any(query.grader == "judge" for query in asked)
    if settings.judge is not None:
        _check_judge(settings.judge, pool)
        judge = Judge.of(settings.judge, settings.judge_prompt, pool)
        return judge if needed else None
    if settings.judge_prompt is not None:
        prompts.read("judge_prompt", settings.judge_prompt, "judge.txt", PLACES)
    if needed:
        raise ConfigError(f"{settings.queries} has queries with the grader judge: say who judges by judge=NAME, an "
                          "entry of the pool, or judge=FILE.yaml, a pool file with one entry")
    return None


def _check_judge(judge: str, pool: list[Endpoint]) -> None:
    """Raise `ConfigError` if the judge is neither an entry of the pool nor a pool file."""
    names = [one.name for one in pool]
    if judge not in names:
        try:
            read(judge)
        except ConfigError as error:
            raise ConfigError(f"judge={judge} is no entry of the pool, which has {', '.join(names)}; as a pool file: "
                              f"{error}") from None


def _sandbox(settings: CollectConfig, asked: list[Query]) -> Sandbox:
    sandbox = Sandbox(settings.tests_seconds, settings.tests_memory * MIB, settings.tests_cut_off)
    if any(query.grader == "python" for query in asked):
        sandbox.check()
    return sandbox


async def _run(settings: CollectConfig, pool: list[Endpoint], asked: list[Query], judge: Judge | None,
               sandbox: Sandbox, known: Journal, ledger: Ledger) -> Collected | None:
    """Show what it will cost, then ask; None for a dry run."""
    async with AsyncExitStack() as stack:
        models = [Asked(one, ledger, known) for one in pool]
        judging = _judging(judge, models, ledger, known)
        for one in {*models, judging} - {None}:
            stack.push_async_callback(one.close)
        estimates = [estimate.of_answers(one, asked, settings.reply_tokens) for one in models]
        sure = [estimate.of_confidences(one, asked, settings.reply_tokens) for one in models]
        estimates.extend(one for one in sure if one is not None)
        if judge is not None:
            estimates.append(estimate.of_verdicts(judging, judge, asked, len(pool), settings.reply_tokens))
        _show(estimates, ledger)
        if settings.dry_run:
            return None
        cells = len(pool) * len(asked)
        with tqdm(total=cells, desc="collect", unit="answer") as bar:
            return await Collector(models, asked, Graders(known, sandbox, judge, judging), bar).run()


def _judging(judge: Judge | None, models: list[Asked], ledger: Ledger, known: Journal) -> Asked | None:
    if judge is None:
        return None
    same = [one for one in models if one.endpoint is judge.endpoint]
    return same[0] if same else Asked(judge.endpoint, ledger, known)


def _show(estimates: list[estimate.Estimate], ledger: Ledger) -> None:
    """Print what is to be asked, what it will cost and how long it will take."""
    for one in estimates:
        about = "unknown" if one.seconds is None else f"about {one.seconds:.0f} s"
        print(f"{one.model}: {one.calls} calls, about {one.usd:.4f} USD, at most {one.most_usd:.4f}; time {about}, "
              f"at most {one.most_seconds:.0f} s")
    spent = ledger.spent + ledger.held  # held: by calls that a kill cut off, at the most they can have cost
    print(f"all: {sum(e.calls for e in estimates)} calls, about {sum(e.usd for e in estimates):.4f} USD, at most "
          f"{sum(e.most_usd for e in estimates):.4f}; spent so far {spent:.4f} of {ledger.cap:g} USD", flush=True)


def _finish(settings: CollectConfig, found: Collected, asked: list[Query], pool: list[Endpoint], ledger: Ledger
            ) -> bool:
    """Write the table, say what is missing; return whether nothing is."""
    print(f"spent {ledger.spent + ledger.held:.4f} of {settings.budget_usd:g} USD")
    if found.outcomes:
        name = Path(settings.out).resolve().name
        card = {"name": name, "simulated": settings.simulated, "description": f"collected from {len(pool)} models"}
        print(f"written: {result.table(found, asked, pool, card).save(settings.out)} "
              f"({len(found.outcomes)} of {len(asked) * len(pool)} outcomes)")
    for line in found.why():
        print(line)
    silent = found.silent()
    for one in pool:
        if one.confidence is not None and one.name in silent:
            print(f"{one.name}: none of its answers came with a confidence (confidence: {one.confidence}); does its "
                  "endpoint give log-probabilities, or the model a number?")
    if found.missing:
        print("what is missing is not counted as wrong; start the same command again to ask for it (with a larger "
              "budget_usd, if that stopped it), or train with data.missing=drop, which leaves queries without an "
              "outcome out")
    return not found.missing
