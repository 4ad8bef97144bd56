"""From a pool and queries to a table, against real servers: graded as it must be, nothing paid twice, no more spent."""

import asyncio
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from upstream import Answer, Upstream, completion, cut_off, fails, says, token, with_logprobs

from racer import formats
from racer.collect import graders, journal, queries, run, sandbox
from racer.collect.asking import Asked
from racer.collect.judge import verdict
from racer.config import CollectConfig
from racer.errors import ConfigError, TableError
from racer.pool import Endpoint, Ledger

ROOT = Path(__file__).parents[1]
PROGRAM = "```python\ndef double(x):\n    return 2 * x\n```"
LINES = [dict(id="a", query="capital?", reference="Paris", task="facts", grader="exact"),
         dict(id="b", query="sum?", reference="0.5", task="sums", grader="numeric"),
         dict(id="c", query="pick", reference="B", task="choices", grader="choice"),
         dict(id="d", query="say", reference="^Pa.*s", task="facts", grader="regex")]


def lines(folder: Path, *records, name: str = "queries.jsonl") -> Path:
    (folder / name).write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return folder / name


def pool(folder: Path, up: Upstream, names: tuple[str, ...] = ("x", "y"), file: str = "pool.yaml", **options) -> Path:
    one = dict(api_base=up.base, price_in=1.0, price_out=2.0, retries=0, backoff=0.01, timeout=5.0) | options
    (folder / file).write_text(yaml.safe_dump({"models": [dict(name=n, model=n, **one) for n in names]}))
    return folder / file


def settings(folder: Path, **options) -> CollectConfig:
    return CollectConfig(**dict(pool=f"{folder}/pool.yaml", queries=f"{folder}/queries.jsonl", out=f"{folder}/out",
                                budget_usd=1.0) | options)


def by_query(answers: dict[str, str]):
    """A model that knows what to say to which query."""
    async def behave(body: dict, answer: Answer) -> None:
        await answer.json(completion(answers[body["messages"][-1]["content"]], body))
    return behave


def cells(folder: Path) -> dict[tuple[str, str], float]:
    found = formats.read(folder / "out")
    return {(i, m): s for i, row in zip(found.ids, found.scores, strict=True)
            for m, s in zip(found.models, row, strict=True)}


# ---------------------------------------------------------------- grading


@pytest.mark.parametrize("grader, reference, reply, right", [
    ("exact", "Paris", "I think so.\nAnswer: **paris**", True), ("exact", "Paris", "Paris or Rome", False),
    ("numeric", "1200.5", "So it is $1,200.50", True), ("numeric", "5", "The answer is 5 km.", True),
    ("numeric", "5 km", "5 m", False), ("numeric", "1/3", "0.33333333", True), ("numeric", "1/3", "0.3333", False),
    ("numeric", "131005012", "131005143", False), ("numeric", "7", "no idea", False), ("numeric", "-2", "2", False),
    ("numeric", "3", "The answer is 3/0.", False), ("numeric", "1", "The answer is 1e999999999.", False),
    ("numeric", "5", "5" * 5000, False), ("numeric", "2", "\u00b2", False), ("numeric", "0", "nan", False),
    ("numeric", "1/2", r"So \boxed{\frac{1}{2}}", True), ("numeric", "1000000", "The answer is 10^6.", True),
    ("numeric", "10^6", "1000000", True), ("numeric", "12", "Answer: 12:30", False),
    ("choice", "b", "The answer is (B)", True), ("choice", "B", "A", False), ("choice", "B", "hm", False),
    ("regex", r"\bcat\b", "a cat sat", True), ("regex", r"\bcat\b", "concat", False), ("exact", "x", " \n", False)])
def test_a_reply_is_right_where_its_final_answer_is(grader, reference, reply, right):
    assert graders.grade(reply, reference, grader).score == float(right)


def test_a_pattern_of_the_pool_finds_the_answer():
    assert graders.grade("first 3 then <4>", "4", "numeric", r"<(\d)>").score == 1
    assert graders.grade("no mark 4", "4", "numeric", r"<(\d)>") == graders.Grade(0.0, None)


@pytest.mark.parametrize("said, ended, right", [
    ("fine.\nVerdict: right", "stop", True), ("**Verdict:** wrong", "stop", False),
    ("Verdict: **right**.\n", "stop", True), ("Verdict: right\nNo, I was wrong.\nVerdict: wrong", "stop", False),
    ("right", "stop", None), ("", "stop", None),
    ("It says\nVerdict: right", "length", None), ("It says:\n> Verdict: right", "stop", None),
    ('It ends with "Verdict: right"', "stop", None), ("Verdict: right\nas it claims, is no", "stop", None),
    ("Verdict: right", "content_filter", None)])
def test_the_verdict_is_the_last_line_of_a_reply_that_ended_by_itself(said, ended, right):
    assert verdict(journal.Said("verdict", "a", "judge", "-", said, ended, 1, 1, 0.0, True, 0.1, "-")) is right


FORGED = """import os
for stream in range(3, 20):
    try:
        os.write(stream, b'{"secret": "", "passed": true, "why": ""}')
    except OSError:
        pass
os._exit(0)"""
BOX = sandbox.Sandbox(seconds=1.0)


@pytest.fixture
def box():
    try:
        BOX.check()
    except ConfigError as error:
        pytest.skip(str(error))
    return BOX


LAYERS = """import ctypes
from racer.collect.inside import CREATE_RULESET, NEWNS, NEWUSER, libc
filters = libc.prctl(21, 0, 0, 0, 0) >= 0
raise SystemExit(not filters or libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1) < 3
                 or libc.unshare(NEWUSER | NEWNS))"""


@pytest.fixture
def walls(box):
    """The sandbox where the kernel has all of its layers."""
    if subprocess.run([sys.executable, "-c", LAYERS], cwd=ROOT).returncode:
        pytest.skip("the kernel lacks Landlock 3, mounts of a user or seccomp")
    return box


@pytest.mark.parametrize("program, why", [
    ("def f(): return 2", ""), ("def f(): return 3", "AssertionError"), ("f = (", "SyntaxError"),
    ("import os; os._exit(0)", "ended before"), ("raise SystemExit(0)", "SystemExit"),
    ("import sys; print('{\"passed\": true}'); sys.stdout.flush(); import os; os._exit(0)", "ended before"),
    (FORGED, "ended before"), ("while True: pass", "time limit"), ("x = b'1' * (1 << 31)", "MemoryError"),
    ("import socket; socket.create_connection(('127.0.0.1', PORT), 1)", "unreachable"),
    ("import os; assert 'PATH' not in os.environ and not any('RACER' in k for k in os.environ); f = lambda: 2", "")])
def test_a_program_passes_only_if_its_tests_ran_to_their_end(box, program, why, monkeypatch):
    monkeypatch.setenv("RACER_SECRET", "1")
    with Upstream({}) as up:
        passed, said = box.run(program.replace("PORT", str(up.port)), "assert f() == 2")
    assert passed == (not why) and why in said


def test_a_program_leaves_nothing_behind(box, tmp_path):
    program = (f"import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(2)\n"
               f"    open({str(tmp_path / 'late')!r}, 'w')\nopen('here', 'w').write('fine')")
    free = replace(box, cut_off=False)
    passed, said = box.run(program, f"import os; assert os.path.exists('here'); open({str(tmp_path / 'x')!r}, 'w')")
    assert not passed and "Error: [Errno" in said and not list(tmp_path.iterdir())
    assert free.run("x = 1", f"open({str(tmp_path / 'y')!r}, 'w')")[0] and (tmp_path / "y").exists()  # so it could
    time.sleep(2.2)
    assert not (tmp_path / "late").exists()


STAYS = "import ctypes, os\nctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\n"  # where the process that waits for it ends
LINGERS = STAYS + "try:\n    os.setsid()\nexcept OSError:\n    pass\nos.execvp('sleep', ['TAG', '60'])"
LEAVES = STAYS + "if os.fork() == 0:\n    os.setsid()\n    os.fork()\n    os.execvp('sleep', ['TAG', '60'])"


def running(tag: str) -> bool:
    """Whether a process of this machine has the tag in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if tag.encode() in path.read_bytes():
                return True
    return False


@pytest.mark.parametrize("cut_off", [True, False])
@pytest.mark.parametrize("program, why", [(LINGERS, "time limit"), (LEAVES, ""), (LEAVES + "\nos._exit(0)", "before")])
def test_no_process_of_a_program_goes_on(box, tmp_path, program, why, cut_off):
    passed, said = replace(box, cut_off=cut_off).run(program.replace("TAG", str(tmp_path)), "pass")
    assert passed == (not why) and why in said and not running(str(tmp_path))


@pytest.mark.parametrize("cut_off", [True, False])
def test_a_program_ends_too_where_the_time_is_up_outside_first(box, tmp_path, cut_off):
    task = dict(program=LINGERS.replace("TAG", str(tmp_path)), tests="", secret="", seconds=60, memory=1 << 30,
                cut_off=cut_off)
    with open(tmp_path / "said", "wb") as said:
        assert sandbox._run(json.dumps(task).encode(), str(tmp_path), said, 1.0) == sandbox.TIMEOUT
    assert not running(str(tmp_path))


@pytest.mark.parametrize("change", ["truncate({!r}, 0)", "chmod({!r}, 0o600)", "utime({!r}, (0, 0))", "unlink({!r})"])
def test_files_elsewhere_stay_as_they_are(walls, tmp_path, change):
    def kept() -> list[tuple[int, int, float]]:
        return [(at.st_size, at.st_mode, at.st_mtime) for at in (path.stat() for path in tmp_path.iterdir())]
    (tmp_path / "kept").write_text("x")
    before, program = kept(), f"import os\nos.{change.format(str(tmp_path / 'kept'))}"
    passed, said = walls.run(program, "pass")
    assert not passed and "Error: [Errno" in said and kept() == before
    assert replace(walls, cut_off=False).run(program, "pass")[0] and kept() != before  # so it could


@pytest.mark.parametrize("layer, change", [("write_here_only", "truncate({!r}, 0)"),
                                           ("own_view", "chmod({!r}, 0o600)")])
def test_each_layer_holds_by_itself(walls, tmp_path, layer, change):
    here, kept = tmp_path / "here", tmp_path / "kept"
    here.mkdir()
    kept.write_text("x")
    script = (f"import os\nfrom racer.collect import inside\ninside.libc.unshare(inside.NEWUSER)\n"
              f"inside.libc.prctl(inside.NO_NEW_PRIVS, 1, 0, 0, 0)\ninside.{layer}()\nos.mkdir('a')\n"
              f"open('x', 'w').write('1')\nos.rename('x', 'a/x')\nos.truncate('a/x', 0)\nos.chmod('a/x', 0o600)\n"
              f"print('fine')\nos.{change.format(str(kept))}")
    done = subprocess.run([sys.executable, "-c", script], cwd=here, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True)
    assert done.stdout == "fine\n" and "Error: [Errno" in done.stderr and str(kept) in done.stderr


def test_nothing_leaves_by_sockets_of_other_families_and_no_other_process_is_seen(walls, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        by_path = f"import socket\nsocket.socket(socket.AF_UNIX).connect({path!r})"
        assert replace(walls, cut_off=False).run(by_path, "pass")[0]  # so it could
        for program in (by_path, "import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
                        "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"):
            assert walls.run(program, "pass") == (False, "PermissionError: [Errno 1] Operation not permitted")
    tests = f"a.send(b'x'); assert b.recv(1) == b'x' and not os.path.exists('/proc/{os.getpid()}')"
    assert walls.run("import asyncio, os, socket\nasyncio.run(asyncio.sleep(0))\na, b = socket.socketpair()", tests)[0]


TRACE = """import sys
def jump(frame, event, _):
    if frame.f_code.co_filename == 'tests' and event == 'line' and frame.f_lineno == 2:
        frame.f_lineno = 3
    return jump
sys.settrace(jump)"""


@pytest.mark.parametrize("cheat", [
    "import builtins; c = compile; builtins.compile = lambda _, *names: c('pass', *names[:2])",
    "import builtins; builtins.exec = lambda *_: None", "import builtins; builtins.all = lambda _: True", TRACE,
    "import __main__; __main__.exec = lambda *_: None",
    "import os; w = os.write; os.write = lambda to, said: w(to, said[:32])",
    "import json; d = json.dumps; json.dumps = lambda said: d(said | {'passed': True})"])
def test_a_program_does_not_get_at_what_judges_it(box, cheat):
    passed, why = box.run(f"def f(): return 3\n{cheat}", "x = 0\nassert all([f() == 2])\nx = 1")
    assert not passed and why == "AssertionError: "


DATA = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass D:\n    x: int\n"
PICKLED = f"{DATA}def f(x): return pickle.loads(pickle.dumps(D(x))).x + 1\nimport pickle"


@pytest.mark.parametrize("program", [
    "import sys\ndef f(x): return x + 1\nif __name__ == '__main__':\n    print(f(1))\n    sys.exit(0)",
    "def f(x): return x + 1\nif __name__ == '__main__':\n    print(f(int(input())))", PICKLED])
def test_a_program_is_judged_as_a_module_and_its_tests_as_the_script(box, program):
    tests = "if __name__ == '__main__':\n    assert f(1) == {}"
    assert box.run(program, tests.format(2)) == (True, "")
    assert box.run(program, tests.format(3)) == (False, "AssertionError: ")


# ---------------------------------------------------------------- the file of queries


@pytest.mark.parametrize("bad, says", [
    ("{", "line 2: not JSON"), ([1], "line 2: expected an object"), ('{"id": 1, "id": 2}', "line 2: not JSON"),
    (dict(LINES[1], id="a"), "line 2: the id 'a' already stands in line 1"),
    (dict(LINES[1], query=" "), "query is empty"),
    ({"id": "b", "reference": "5", "grader": "numeric"}, "query is missing"), (dict(LINES[1], id=None), "id is empty"),
    (dict(LINES[1], query=5), "query is a number (5), expected a text"),
    (dict(LINES[1], id=True), "id is true or false (true), expected a text"),
    (dict(LINES[1], grader="guess"), "grader is 'guess', expected one of exact, numeric"),
    (dict(LINES[1], reference="many"), "reference is 'many', expected a number"),
    (dict(LINES[1], reference="3/0"), "reference is '3/0', expected a number"),
    (dict(LINES[1], reference="1e999999999"), "expected a number"),
    (dict(LINES[1], reference="nan"), "expected a number"),
    (dict(LINES[2], reference="BC"), "expected one letter"), (dict(LINES[3], reference="("), "regular expression"),
    (dict(LINES[3], grader="python", reference="assert ("), "Python tests"), (dict(LINES[1], reference=None), "needs"),
    (dict(LINES[1], weight=1), "unknown field weight"), (dict(LINES[1], query=["x"]), 'query is a list (["x"])'),
    (dict(LINES[1], query="\ud800"), "half a character")])
def test_a_bad_line_is_named_before_anything_is_asked(tmp_path, bad, says):
    with Upstream({}) as up:
        pool(tmp_path, up)
        path = lines(tmp_path, LINES[0], bad if isinstance(bad, str) else json.dumps(bad))
        what = re.escape(says.removeprefix("line 2: "))
        with pytest.raises(TableError, match=f"{re.escape(str(path))}, line 2: .*{what}"):
            run.collect(settings(tmp_path))
    assert not up.calls and not (tmp_path / "out").exists()


def test_numbers_may_stand_as_numbers_and_a_judge_needs_no_reference(tmp_path):
    path = lines(tmp_path, dict(id=7, query="q", reference=2, grader="numeric"), "", dict(id="8", query="r",
                                                                                         grader="judge"))
    first, second = queries.read(path)
    assert (first.id, first.reference, first.task, second.reference) == ("7", "2", "all", "")


def test_a_file_that_is_no_jsonl_is_told_what_is_expected(tmp_path):
    pq.write_table(pa.table({"query": ["capital?"] * 9, "id": list(range(250, 259))}), tmp_path / "q.parquet")
    with pytest.raises(TableError, match=r"q\.parquet: not text in UTF-8 .*expected JSONL.* id, query, reference"):
        queries.read(tmp_path / "q.parquet")


@pytest.mark.parametrize("grader", ["exact", "judge"])
@pytest.mark.parametrize(("given", "says"), [
    ({"judge": "commis"}, "judge=commis is no entry of the pool, which has x, y; as a pool file: pool=commis is nei"),
    ({"judge": "x", "judge_prompt": "nofile"}, "judge_prompt=nofile is no file"),
    ({"judge_prompt": "nofile"}, "judge_prompt=nofile is no file")])
def test_a_judge_and_its_prompt_are_checked_even_if_no_query_needs_them(grader, given, says, tmp_path):
    with Upstream({}) as up:
        pool(tmp_path, up)
        lines(tmp_path, dict(LINES[0], grader=grader))
        with pytest.raises(ConfigError, match=says):
            run.collect(settings(tmp_path, **given))
    assert not up.calls and not (tmp_path / "out").exists()


def test_who_judges_must_be_said(tmp_path):
    with Upstream({}) as up:
        pool(tmp_path, up)
        lines(tmp_path, dict(LINES[0], grader="judge"))
        with pytest.raises(ConfigError, match="judge=NAME"):
            run.collect(settings(tmp_path))


# ---------------------------------------------------------------- collecting


def test_the_table_holds_what_every_model_said_and_whether_it_is_right(tmp_path, capsys):
    good = {"capital?": "Answer: paris", "sum?": "It is 1/2.", "pick": "B", "say": "Paris"}
    bad = {"capital?": "Rome", "sum?": "5", "pick": "", "say": "Paaaris"}
    with Upstream({"x": by_query(good), "y": by_query(bad)}) as up:
        pool(tmp_path, up)
        lines(tmp_path, *LINES)
        assert run.collect(settings(tmp_path, simulated=True))
    found = formats.read(tmp_path / "out")
    assert found.ids.tolist() == list("abcd") and found.models == ("x", "y") and found.simulated
    assert found.scores.tolist() == [[1, 0], [1, 0], [1, 0], [1, 1]]
    assert found.answers[:, 0].tolist() == ["paris", "1/2", "B", "Paris"] and found.answers[2, 1] is None
    assert found.reference.tolist() == [r["reference"] for r in LINES]
    assert np.allclose(found.cost, (10 + 2 * 5) / 1e6) and (found.output_tokens == 5).all()
    assert found.card["answer_kinds"] == {"facts": "text", "sums": "number", "choices": "choice"}
    kept = [json.loads(line)["said"] for line in (tmp_path / "out/journal.jsonl").read_text().splitlines()]
    assert {(s["id"], s["model"]): s["reply"] for s in kept}["a", "x"] == "Answer: paris" and len(kept) == 8
    assert "x: 4 calls, about 0.0016 USD" in (said := capsys.readouterr().out) and "8 of 8 outcomes" in said


def test_half_a_character_in_a_reply_stands_in_nobodys_way(tmp_path):
    with Upstream({"x": says("nice \ud83d"), "y": says("Paris")}) as up:
        pool(tmp_path, up)
        lines(tmp_path, LINES[0])
        assert run.collect(settings(tmp_path)) and run.collect(settings(tmp_path)) and len(up.calls) == 2
    assert formats.read(tmp_path / "out").answers.tolist() == [["nice \ufffd", "Paris"]]


def test_programs_and_judges_grade_too_and_are_not_asked_again(tmp_path, box, monkeypatch):
    records = [dict(id="p", query="write", reference="assert double(4) == 8", task="code", grader="python"),
               dict(id="j", query="why?", reference="because {answer}", task="open", grader="judge")]

    async def judge(body: dict, answer: Answer) -> None:
        text = body["messages"][-1]["content"]
        right = "because {answer}" in text and "<answer>\ngood\n" in text  # a reference is no place to fill in
        await answer.json(completion(f"Hm.\nVerdict: {'right' if right else 'wrong'}", body))
    with Upstream({"x": by_query({"write": PROGRAM, "why?": "good"}), "judge": judge,
                   "y": by_query({"write": "x = 1", "why?": "poor"})}) as up:
        pool(tmp_path, up)
        judged = pool(tmp_path, up, ("judge",), "judge.yaml")
        lines(tmp_path, *records)
        assert run.collect(settings(tmp_path, judge=str(judged)))
        calls = Counter(up.asked())
        monkeypatch.setattr(sandbox.Sandbox, "run", lambda *_: (True, ""))
        assert run.collect(settings(tmp_path, judge=str(judged)))
        assert cells(tmp_path) == {("p", "x"): 1, ("p", "y"): 0, ("j", "x"): 1, ("j", "y"): 0}
        monkeypatch.setattr(sandbox, "WAY", 0)
        assert run.collect(settings(tmp_path, judge=str(judged)))  # a verdict of another way to test is none
    assert calls == {"x": 2, "y": 2, "judge": 2} == Counter(up.asked()) and cells(tmp_path)["p", "y"] == 1


def test_equal_replies_are_judged_once(tmp_path):
    with Upstream({"x": says("same"), "y": says("same"), "judge": says("Verdict: right")}) as up:
        pool(tmp_path, up)
        judged = pool(tmp_path, up, ("judge",), "judge.yaml")
        lines(tmp_path, dict(LINES[0], grader="judge"))
        assert run.collect(settings(tmp_path, judge=str(judged)))
    assert Counter(up.asked()) == {"x": 1, "y": 1, "judge": 1} and set(cells(tmp_path).values()) == {1.0}


def test_a_judge_without_a_verdict_leaves_the_outcome_missing(tmp_path):
    with Upstream({"x": says("fine"), "y": says("fine")}) as up:  # x judges itself, and says no verdict
        pool(tmp_path, up)
        lines(tmp_path, LINES[0], dict(LINES[1], grader="judge"))
        assert not run.collect(settings(tmp_path, judge="x"))
    with pytest.raises(TableError, match="1 of 2 queries lack"):
        formats.read(tmp_path / "out")
    assert formats.read(tmp_path / "out", missing="drop").ids.tolist() == ["a"]


def test_a_verdict_that_did_not_come_is_asked_for_again_once_a_run_and_paid(tmp_path, capsys):
    turns = Counter()

    async def judge(body: dict, answer: Answer) -> None:
        turns["asked"] += 1
        said = completion("It says\nVerdict: right" if turns["asked"] < 3 else "No.\nVerdict: wrong", body,
                          1000, 1000)  # .003 USD
        await answer.json(cut_off(said) if turns["asked"] < 3 else said)
    with Upstream({"x": says("same"), "y": says("same"), "judge": judge}) as up:
        pool(tmp_path, up)
        judged = pool(tmp_path, up, ("judge",), "judge.yaml")
        lines(tmp_path, dict(LINES[0], grader="judge"))
        for asked, complete in ((1, False), (2, False), (3, True), (3, True)):
            assert run.collect(settings(tmp_path, judge=str(judged))) is complete and turns["asked"] == asked
            said = capsys.readouterr().out
            assert f"spent {2 * 20e-6 + asked * 0.003:.4f} of 1 USD" in said and ("no verdict" in said) is not complete
    assert set(cells(tmp_path).values()) == {0.0} and Counter(up.asked()) == {"x": 1, "y": 1, "judge": 3}


def test_a_letter_at_the_end_of_a_reply_that_was_cut_off_is_no_answer(tmp_path):
    async def cut(body: dict, answer: Answer) -> None:
        await answer.json(cut_off(completion("The answer is B", body)))
    with Upstream({"x": cut, "y": says("The answer is B")}) as up:
        pool(tmp_path, up, confidence="verbalised")
        lines(tmp_path, LINES[2])
        assert run.collect(settings(tmp_path))
        assert run.collect(settings(tmp_path))
    assert cells(tmp_path) == {("c", "x"): 0, ("c", "y"): 1} and Counter(up.asked()) == {"x": 1, "y": 2}


def test_a_regular_expression_that_never_ends_leaves_the_outcome_missing(tmp_path, capsys):
    with Upstream({"x": says("a" * 60 + "b"), "y": says("aa")}) as up:
        pool(tmp_path, up)
        lines(tmp_path, dict(LINES[3], reference="(a|aa)+$"))
        assert not run.collect(settings(tmp_path))
    assert "x: 1 missing (the regular expression of its reference takes too long" in capsys.readouterr().out


def test_what_failed_is_missing_not_wrong_and_asked_again(tmp_path, capsys):
    with Upstream({"x": says("Paris"), "y": fails(500, times=1, then=says("Paris"))}) as up:
        pool(tmp_path, up, concurrency=1)
        lines(tmp_path, LINES[0], LINES[3])
        assert not run.collect(settings(tmp_path))
        assert "y: 1 missing (status 500)" in capsys.readouterr().out
        assert formats.read(tmp_path / "out", missing="drop").scores.tolist() == [[1, 1]]
        assert run.collect(settings(tmp_path))
    assert set(cells(tmp_path).values()) == {1.0} and Counter(up.asked()) == {"x": 2, "y": 3}


def test_a_model_that_only_fails_is_given_up(tmp_path, capsys):
    with Upstream({"x": says("a"), "y": fails(401)}) as up:
        pool(tmp_path, up, concurrency=1)
        lines(tmp_path, *(dict(LINES[0], id=f"{i}") for i in range(30)))
        assert not run.collect(settings(tmp_path))
    assert Counter(up.asked()) == {"x": 30, "y": 20}
    assert "y: 10 missing (given up after 20 failures in a row)" in capsys.readouterr().out


def test_another_prompt_is_another_request_and_a_new_model_costs_its_own_calls_only(tmp_path):
    with Upstream({m: says("Paris") for m in "xyz"}) as up:
        lines(tmp_path, LINES[0], LINES[3])
        pool(tmp_path, up)
        assert run.collect(settings(tmp_path))
        pool(tmp_path, up, ("x", "y", "z"))
        assert run.collect(settings(tmp_path))
        assert Counter(up.asked()) == {"x": 2, "y": 2, "z": 2} and len(cells(tmp_path)) == 6
        pool(tmp_path, up, prompt="Well: {query}")
        assert run.collect(settings(tmp_path))
    assert Counter(up.asked()) == {"x": 4, "y": 4, "z": 2}


@pytest.mark.parametrize("options, known", [
    ({}, "7c9b9e801f6ae3b37e8c49a0d51755b0afb9a0e2d72b23996e2b0b40b02d19e5"),
    (dict(prompt="Well: {query}", max_tokens=7, parameters={"temperature": 0}),
     "1523072a9b64c73dab8593b89c47e0baf5f030d643d7e3c6d99c1bdf82d215da")])
def test_a_request_has_the_name_it_always_had(tmp_path, options, known):
    """As in journals of earlier versions: a finished collection is not asked again by a new one."""
    async def name() -> str:
        one = Endpoint("x", "up/x", "http://127.0.0.1:9/v1", 1.0, 2.0, **options)
        with journal.opened(tmp_path) as noted:
            asked = Asked(one, Ledger(), noted)
            return asked.request(asked.query("capital?"))
    assert asyncio.run(name()) == known


def test_a_prompt_is_around_queries_and_not_around_what_a_judge_is_asked(tmp_path):
    with Upstream({"x": says("Verdict: right"), "y": says("fine")}) as up:
        pool(tmp_path, up, prompt="Well: {query}")
        lines(tmp_path, dict(LINES[0], grader="judge"))
        assert run.collect(settings(tmp_path, judge="x"))
    sent = [(call.body["model"], call.body["messages"][0]["content"]) for call in up.calls]
    assert sorted(sent)[-1] == ("y", "Well: capital?") and ("x", "Well: capital?") in sent and len(sent) == 4
    assert sum(text.startswith("You judge whether") and "Well" not in text for _, text in sent) == 2


def test_a_dry_run_asks_nobody(tmp_path, capsys):
    with Upstream({}) as up:
        pool(tmp_path, up)
        lines(tmp_path, *LINES)
        assert run.collect(settings(tmp_path, dry_run=True))
    assert not up.calls and "all: 8 calls" in capsys.readouterr().out


# ---------------------------------------------------------------- how sure the models are


def sure_of(words: dict[str, str], p: float = 0.8, tokens_out: int = 1):
    """A model that says "Paris" with likelihood .5, and of its answer what `words` have for the query in the prompt.

    Where it is asked for log-probabilities about its answer, "A" has probability `p` and "B" half of the rest.
    """
    async def behave(body: dict, answer: Answer) -> None:
        text = body["messages"][0]["content"]
        if "proposed answer" not in text:
            said = completion("Paris", body)
            half = token("Paris", math.log(0.5)), token("", 0.0)
            return await answer.json(with_logprobs(said, *half) if body.get("logprobs") else said)
        assert "<proposed answer>\nParis\n</proposed answer>" in text
        word = next(word for query, word in words.items() if f"<question>\n{query}\n</question>" in text)
        said = completion(word, body, 100, tokens_out)
        top = {"A": math.log(p), "B": math.log((1 - p) / 2)}
        await answer.json(with_logprobs(said, token(word, -0.1, top)) if body.get("logprobs") else said)
    return behave


def asked_of_answers(up: Upstream) -> int:
    return sum("proposed answer" in call.body["messages"][0]["content"] for call in up.calls)


CAPITALS = [dict(LINES[0], id=f"{i}", query=f"capital {i}?") for i in range(4)]
WORDS = {one["query"]: f"{20 * i}%" for i, one in enumerate(CAPITALS)}


@pytest.mark.parametrize("way, sure, usd, calls", [
    ("likelihood", [0.5] * 4, 20, 0), ("p_true", [0.8 / 0.9] * 4, 20 + 102, 8),
    ("verbalised", [0.0, 0.2, 0.4, 0.6], 20 + 102, 8)])
def test_how_sure_each_model_is_stands_in_the_table_and_its_price_too(tmp_path, capsys, way, sure, usd, calls):
    with Upstream({"x": sure_of(WORDS), "y": sure_of(WORDS)}) as up:
        pool(tmp_path, up, confidence=way)
        lines(tmp_path, *CAPITALS)
        assert run.collect(settings(tmp_path))
        first = len(up.calls)
        assert run.collect(settings(tmp_path)) and len(up.calls) == first  # nothing is asked twice
    found = formats.read(tmp_path / "out")
    assert np.allclose(found.confidence, np.array([sure, sure]).T) and set(found.scores.ravel()) == {1.0}
    assert np.allclose(found.cost, usd / 1e6) and (found.output_tokens == 5).all()
    assert asked_of_answers(up) == calls and first == 8 + calls
    said = capsys.readouterr().out
    assert ("x (confidence): 4 calls" in said) == ("x (confidence): 0 calls" in said) == (way != "likelihood")


def test_without_the_key_nothing_more_is_asked_and_the_table_has_no_such_column(tmp_path, capsys):
    with Upstream({"x": sure_of(WORDS), "y": sure_of(WORDS)}) as up:
        pool(tmp_path, up)
        lines(tmp_path, *CAPITALS)
        assert run.collect(settings(tmp_path))
    assert len(up.calls) == 8 and formats.read(tmp_path / "out").confidence is None
    assert not any("logprobs" in call.body for call in up.calls) and "(confidence)" not in capsys.readouterr().out


def test_log_probabilities_that_came_anyway_become_the_confidence_once_the_pool_file_says_so(tmp_path):
    with Upstream({"x": sure_of(WORDS), "y": sure_of(WORDS)}) as up:
        lines(tmp_path, *CAPITALS)
        for way in (None, "likelihood", None):
            pool(tmp_path, up, parameters={"logprobs": True}, confidence=way)
            assert run.collect(settings(tmp_path)) and len(up.calls) == 8
            found = formats.read(tmp_path / "out").confidence
            assert found is None if way is None else (found == 0.5).all()


def test_of_a_reply_without_a_final_answer_and_by_a_model_that_does_not_say_nothing_is_known(tmp_path, capsys):
    with Upstream({"x": says("hm"), "y": sure_of({"capital?": "who knows"})}) as up:
        pool(tmp_path, up, confidence="verbalised", extract="(Paris)")
        lines(tmp_path, LINES[0])
        assert run.collect(settings(tmp_path)) and run.collect(settings(tmp_path))
    found = formats.read(tmp_path / "out")
    assert found.confidence is None and Counter(up.asked()) == {"x": 1, "y": 2}
    said = capsys.readouterr().out
    assert "y: none of its answers came with a confidence (confidence: verbalised)" in said and "x: none" not in said
    assert np.allclose(found.cost, [[20e-6, 122e-6]])


def test_a_price_is_unknown_where_the_word_on_the_answer_is_not_counted(tmp_path):
    with Upstream({"x": sure_of(WORDS, tokens_out=2), "y": says("Paris 7")}) as up:  # of one token allowed
        pool(tmp_path, up, confidence="p_true")
        lines(tmp_path, CAPITALS[0])
        assert run.collect(settings(tmp_path))
    found = formats.read(tmp_path / "out")
    assert found.cost is None and found.confidence[0, 0] > 0.5 and np.isnan(found.confidence[0, 1])
    assert (found.output_tokens == 5).all()


def test_where_the_word_on_an_answer_fails_the_outcome_stays_and_it_is_asked_again(tmp_path, capsys):
    turns = Counter()
    well = sure_of(WORDS)

    async def behave(body: dict, answer: Answer) -> None:
        about = "proposed answer" in body["messages"][0]["content"]
        turns[about] += 1
        await (fails(503) if about and turns[about] <= 3 else well)(body, answer)
    with Upstream({"x": behave, "y": well}) as up:
        pool(tmp_path, up, confidence="verbalised", concurrency=1)
        lines(tmp_path, *CAPITALS)
        assert not run.collect(settings(tmp_path))
        said, found = capsys.readouterr().out, formats.read(tmp_path / "out")
        assert "x: 3 missing (its confidence: status 503)" in said and "8 of 8 outcomes" in said
        assert np.isnan(found.confidence[:, 0]).tolist() == [True] * 3 + [False] and set(found.scores.ravel()) == {1.0}
        assert np.allclose(found.cost, np.array([[20] * 3 + [122], [122] * 4]).T / 1e6)
        assert run.collect(settings(tmp_path))
    assert np.allclose(formats.read(tmp_path / "out").confidence[:, 0], [0, 0.2, 0.4, 0.6])
    assert "x (confidence): 3 calls" in capsys.readouterr().out and turns == {False: 4, True: 7}


def test_a_model_that_never_says_how_sure_it_is_is_left_alone_for_that_and_still_answers(tmp_path, capsys):
    well = sure_of({})

    async def behave(body: dict, answer: Answer) -> None:
        await (fails(500) if "proposed answer" in body["messages"][0]["content"] else well)(body, answer)
    many = [dict(LINES[0], id=f"{i}", query=f"capital {i}?") for i in range(30)]
    with Upstream({"x": behave, "y": well}) as up:
        pool(tmp_path, up, confidence="verbalised", concurrency=1)
        lines(tmp_path, *many)
        pool_file = yaml.safe_load((tmp_path / "pool.yaml").read_text())
        del pool_file["models"][1]["confidence"]
        (tmp_path / "pool.yaml").write_text(yaml.safe_dump(pool_file))
        assert not run.collect(settings(tmp_path))
    assert asked_of_answers(up) == 20 and Counter(up.asked()) == {"x": 50, "y": 30}
    assert "x: 10 missing (its confidence: given up after 20 failures in a row)" in capsys.readouterr().out


def test_the_cap_holds_for_words_on_answers_too(tmp_path, capsys):
    with Upstream({"x": sure_of(WORDS), "y": sure_of(WORDS)}) as up:
        pool(tmp_path, up, confidence="verbalised", max_tokens=100)  # held: .0013 for an answer, .0017 for it
        lines(tmp_path, *CAPITALS)
        assert not run.collect(settings(tmp_path, budget_usd=0.0015))
        assert "x: 4 missing (its confidence: the spend cap leaves no room)" in capsys.readouterr().out
        assert len(up.calls) == 8 and asked_of_answers(up) == 0
        assert run.collect(settings(tmp_path)) and len(up.calls) == 16


def test_a_kill_between_an_answer_and_the_word_on_it_loses_nothing(tmp_path):
    """A journal that ends anywhere: what stands in it is not asked again, what does not is."""
    with Upstream({"x": sure_of(WORDS), "y": sure_of(WORDS)}) as up:
        pool(tmp_path, up, confidence="p_true")
        lines(tmp_path, *CAPITALS)
        assert run.collect(settings(tmp_path))
        path = tmp_path / "out/journal.jsonl"
        noted, whole = path.read_bytes().splitlines(keepends=True), formats.read(tmp_path / "out")
        assert Counter(json.loads(line)["said"]["purpose"] for line in noted) == {"answer": 8, "confidence": 8}
        for kept in (0, 5, 9, 15):
            path.write_bytes(b"".join(noted[:kept]) + noted[kept][:40])
            before = len(up.calls)
            assert run.collect(settings(tmp_path)) and len(up.calls) - before == 16 - kept
            assert np.array_equal(formats.read(tmp_path / "out").confidence, whole.confidence)


def test_a_journal_of_an_earlier_version_goes_on(tmp_path):
    with Upstream({"x": sure_of(WORDS), "y": sure_of(WORDS)}) as up:
        pool(tmp_path, up)
        lines(tmp_path, *CAPITALS)
        assert run.collect(settings(tmp_path))
        path = tmp_path / "out/journal.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert all(record["said"].pop("confidence", 0) is None for record in records)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        assert run.collect(settings(tmp_path)) and len(up.calls) == 8
        pool(tmp_path, up, confidence="verbalised")
        assert run.collect(settings(tmp_path)) and len(up.calls) == 16 and asked_of_answers(up) == 8
    assert formats.read(tmp_path / "out").confidence[1].tolist() == [0.2, 0.2]


# ---------------------------------------------------------------- money


@pytest.mark.parametrize("way, tokens", [(None, (10, 5)), ("verbalised", (110, 6))])
def test_costs_in_the_table_are_at_the_prices_of_the_pool_file_and_the_journal_keeps_what_was_paid(tmp_path, way,
                                                                                                  tokens):
    sure = {} if way is None else {"confidence": way}
    with Upstream({"x": sure_of(WORDS), "y": sure_of(WORDS)}) as up:
        pool(tmp_path, up, **sure)
        lines(tmp_path, *CAPITALS[:2])
        assert run.collect(settings(tmp_path))
        pool(tmp_path, up, price_in=10.0, price_out=30.0, **sure)
        lines(tmp_path, *CAPITALS[:3])
        assert run.collect(settings(tmp_path)) and len(up.calls) == 6 * (1 if way is None else 2)
    found = formats.read(tmp_path / "out")
    assert np.allclose(found.cost, (10 * tokens[0] + 30 * tokens[1]) / 1e6)
    assert [one["usd_per_1m_output"] for one in found.card["models"]] == [30.0, 30.0]
    noted = [json.loads(line)["said"] for line in (tmp_path / "out/journal.jsonl").read_text().splitlines()]
    old, new = (tokens[0] + 2 * tokens[1]) / 1e6, (10 * tokens[0] + 30 * tokens[1]) / 1e6
    assert sum(said["usd"] for said in noted) == pytest.approx(4 * old + 2 * new)


def test_the_cap_stops_and_says_what_is_missing_and_more_money_goes_on(tmp_path, capsys):
    async def bills(body: dict, answer: Answer) -> None:
        await answer.json(completion("Paris", body, 1000, 1000))  # .003 USD; held at about .0033 at most
    with Upstream({"x": bills, "y": bills}) as up:
        pool(tmp_path, up)
        lines(tmp_path, *(dict(LINES[0], id=f"{i}") for i in range(20)))
        assert not run.collect(settings(tmp_path, budget_usd=0.05))
        said, first = capsys.readouterr().out, len(up.calls)
        spent = 0.003 * first
        assert 0.045 < spent <= 0.05 and f"spent {spent:.4f} of 0.05 USD" in said
        assert f"{first} of 40 outcomes" in said and "missing (the spend cap leaves no room)" in said
        assert not run.collect(settings(tmp_path, budget_usd=0.05)) and len(up.calls) == first
        assert run.collect(settings(tmp_path)) and len(up.calls) == 40
        assert f"all: {40 - first} calls" in capsys.readouterr().out


def test_money_held_by_calls_under_way_is_waited_for(tmp_path):
    with Upstream({"x": says("Paris"), "y": says("Paris")}) as up:  # .00002 USD a call, held at .003
        pool(tmp_path, up)
        lines(tmp_path, *(dict(LINES[0], id=f"{i}") for i in range(20)))
        assert run.collect(settings(tmp_path, budget_usd=0.01))
    assert len(up.calls) == 40


# ---------------------------------------------------------------- a kill


def test_a_killed_run_loses_nothing_and_repeats_nothing(tmp_path):
    """SIGKILL in the middle: no call whose reply stands in the journal is made again, and the table is whole."""
    async def behave(body: dict, answer: Answer) -> None:
        await answer.json(completion(body["messages"][-1]["content"].split()[-1], body))
        time.sleep(0.01)
    records = [dict(id=f"{i}", query=f"say {i}", reference=f"{i}", task="t", grader="numeric") for i in range(60)]
    out = tmp_path / "out"
    with Upstream({"x": behave, "y": behave}) as up:
        pool(tmp_path, up, concurrency=2)
        lines(tmp_path, *records)
        command = [sys.executable, "scripts/collect.py", f"pool={tmp_path}/pool.yaml",
                   f"queries={tmp_path}/queries.jsonl", f"out={out}", "budget_usd=1"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(6000):
            if len(up.calls) >= 30:
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        noted = (out / "journal.jsonl").read_bytes()
        noted = noted[:noted.rfind(b"\n") + 1]
        done = {(s["id"], s["model"]) for s in (json.loads(line)["said"] for line in noted.splitlines())}
        assert 20 <= len(done) < 120 and not (out / "outcomes.parquet").exists()
        (out / "journal.jsonl").write_bytes(noted + b'{"said": {"purpose": "answer", "id": "59", "mod')  # cut off
        first = len(up.calls)
        assert run.collect(settings(tmp_path))
        again = {(call.body["messages"][-1]["content"].split()[-1], call.body["model"]) for call in up.calls[first:]}
        calls = len(up.calls)
        assert run.collect(settings(tmp_path)) and len(up.calls) == calls  # what was cut off stands in nobody's way
    assert not done & again and calls <= 120 + 4  # four were under way: answered perhaps, and not noted
    assert set(cells(tmp_path).values()) == {1.0} and len(cells(tmp_path)) == 120


def test_a_journal_that_was_changed_is_refused_by_its_line(tmp_path):
    with Upstream({"x": says("Paris"), "y": says("Rome")}) as up:
        pool(tmp_path, up)
        lines(tmp_path, LINES[0])
        assert run.collect(settings(tmp_path))
        path = tmp_path / "out/journal.jsonl"
        path.write_text(path.read_text().replace('"reply"', '"words"', 1))
        with pytest.raises(ConfigError, match=r"journal.jsonl, line 1: no record"):
            run.collect(settings(tmp_path))
