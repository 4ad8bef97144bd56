"""Files of queries: routed in order with all they had, killed and gone on with, and refused where they must be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

import racer
from racer import journal, routed, rows, stages
from racer.config import RiskConfig, SetsConfig
from racer.errors import ConfigError, RacerError, TableError
from racer.rows import ADDED

ROOT = Path(__file__).parents[1]
RECORDS = [{"query": "What is 7 times 8?", "id": "a", "x": 1},
           {"query": "Wie groß ist 漢字 😀\u2028 zu\nzweit?", "more": [1, None], "deep": {"ü": [{"z": 0}]}, "id": "b"},
           {"id": "c", "query": "What is 7 times 8?", "x": 2.5},
           {"query": "Spell 'saucier' backwards. " * 400, "id": "d", "x": None},
           {"query": "7", "id": "e"},
           {"query": " What is 7 times 9? ", "id": "f", "x": -1},
           {"query": "What is 7 times 8?", "id": "a", "x": 1}]


@pytest.fixture(scope="module")
def router(small_run):
    return racer.Router.load(small_run)


@pytest.fixture
def source(tmp_path):
    return lines(tmp_path / "in.jsonl", RECORDS)


def lines(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=i % 2 == 0) + "\n" for i, r in enumerate(records)), "utf-8")
    return path


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def columns(records: list[dict]) -> list[dict]:
    """Return the records as columns would hold them: every field in every record."""
    names = dict.fromkeys(name for r in records for name in r)
    return [{name: r.get(name) for name in names} for r in records]


# ---------------------------------------------------------------- what comes out


def test_every_line_keeps_its_place_and_fields_and_gets_its_decision(router, source, tmp_path):
    out = router.route_file(source, tmp_path / "out.jsonl", chunk=3)
    routed_lines = read(out)
    decisions = router.route([r["query"] for r in RECORDS])
    for record, line, decision in zip(RECORDS, routed_lines, decisions, strict=True):
        assert list(line.items())[:len(record)] == list(record.items()) and list(line)[len(record):] == list(ADDED)
        assert (tuple(line["members"]), line["abstain"]) == (decision.members, not decision.members)
        np.testing.assert_allclose(line["probabilities"], decision.probabilities, atol=1e-5)
        assert (line["null_admitted"], line["certified"]) == (decision.null_admitted, True)
        assert line["expected_cost"] == pytest.approx(decision.expected_cost)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_jsonl_and_parquet_say_the_same_whichever_comes_in_or_goes_out(router, source, tmp_path):
    straight = read(router.route_file(source, tmp_path / "a.jsonl", chunk=3))
    there = router.route_file(source, tmp_path / "b.parquet", chunk=3)
    assert read(there) == columns(straight)
    names = [name for name in pq.read_schema(there).names if name not in ADDED]
    pq.write_table(pq.read_table(there).select(names), tmp_path / "in.parquet", row_group_size=6)
    for name in ("c.jsonl", "d.parquet"):
        assert read(router.route_file(tmp_path / "in.parquet", tmp_path / name, chunk=3)) == columns(straight)
    (tmp_path / "in.txt").write_bytes("\ufeffWhat is 7 times 8?\r\n\n  7\t\r\nWhat is 7 times 8?".encode())
    texts = read(router.route_file(tmp_path / "in.txt", tmp_path / "e.jsonl", chunk=2))
    assert [r["query"] for r in texts] == ["What is 7 times 8?", "7", "What is 7 times 8?"]
    assert texts[0]["members"] == straight[0]["members"]


def test_parquet_keeps_types_and_groups_small_chunks(router, tmp_path):
    when = datetime(2026, 1, 2)
    table = pa.table({"query": pa.array(["2+2?", "3+3?"] * 5).dictionary_encode(), "when": [when] * 10,
                      "raw": [b"\xff"] * 10, "small": pa.array([1] * 10, pa.int8())})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=4)
    out = pq.ParquetFile(router.route_file(tmp_path / "in.parquet", tmp_path / "out.parquet", chunk=3))
    assert (out.num_row_groups, out.metadata.num_rows) == (1, 10)
    assert out.read().select(table.column_names).equals(table) and out.schema_arrow.types[-6:] == list(ADDED.values())


def test_large_chunks_become_row_groups_of_their_own(router, source, tmp_path, monkeypatch):
    monkeypatch.setattr(routed, "GROUP", 4)
    out = pq.ParquetFile(router.route_file(source, tmp_path / "out.parquet", chunk=2))
    assert [out.metadata.row_group(i).num_rows for i in range(out.num_row_groups)] == [4, 3]
    monkeypatch.setattr(routed, "GROUP_BYTES", 1)
    out = pq.ParquetFile(router.route_file(source, tmp_path / "out.parquet", chunk=2))
    assert [out.metadata.row_group(i).num_rows for i in range(out.num_row_groups)] == [2, 2, 2, 1]


def test_half_a_character_beside_the_query_comes_back_as_it_was(router, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"query": "ü?", "note": "\\ud800"}\n')
    [line] = read(router.route_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl"))
    assert (line["query"], line["note"]) == ("ü?", "\ud800")


@pytest.mark.parametrize("ending", ["out.jsonl", "out.parquet"])
def test_a_repeated_text_is_embedded_once_and_no_more_than_a_chunk_is_in_memory(router, tmp_path, monkeypatch, ending):
    source, embedded = lines(tmp_path / "in.jsonl", RECORDS * 3), []
    embed = type(router.encoder).embed
    monkeypatch.setattr(type(router.encoder), "embed",
                        lambda self, texts, progress=False: embedded.append(len(texts)) or embed(self, texts, progress))
    router.route_file(source, tmp_path / ending, chunk=7)
    assert embedded == [5, 5, 5]


def test_a_chunk_of_long_lines_ends_early(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "BYTES", 100)
    source = lines(tmp_path / "in.jsonl", [{"query": "q" * n} for n in (10, 10, 200, 10, 90, 60, 5)])
    chunks = list(rows.of_file(source, 4).chunks())
    assert [[len(t) for t in c.texts] for c in chunks] == [[10, 10, 200], [10, 90], [60, 5]]
    assert list(rows.of_file(source, 4).chunks(chunks[0].end)) == chunks[1:]  # texts, line numbers, ends


# ---------------------------------------------------------------- killed


class Killed(BaseException):
    """As a kill does, it runs no handler of errors."""


def cut_off(monkeypatch, step: int) -> None:
    """Let the process die at the step-th time that it touches the disk, before or after it did."""
    left = [step]

    def dying(function):
        def run(*arguments, **options):
            for moment in (0, 1):
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                if moment == 0:
                    result = function(*arguments, **options)
            return result
        return run

    monkeypatch.setattr(journal.os, "fsync", dying(os.fsync))
    monkeypatch.setattr(journal, "write_json", dying(journal.write_json))
    monkeypatch.setattr(os, "replace", dying(os.replace))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))


@pytest.mark.parametrize("ending", ["in.jsonl out.jsonl", "in.jsonl out.parquet", "in.parquet out.parquet"])
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(router, source, tmp_path, ending, monkeypatch):
    route, said = type(router).route, {}  # what a chunk is answered is the same every time: asked once, for speed
    monkeypatch.setattr(type(router), "route", lambda self, texts, known: said.setdefault(
        tuple(texts), said.get(tuple(texts)) or route(self, texts, known=known)))
    pq.write_table(pa.Table.from_pylist(columns(RECORDS)), tmp_path / "in.parquet", row_group_size=5)
    source, name = (tmp_path / part for part in ending.split())
    whole = router.route_file(source, tmp_path / f"whole{name.suffix}", chunk=2).read_bytes()
    steps = 0
    while True:
        (folder := tmp_path / str(steps)).mkdir()
        with pytest.MonkeyPatch.context() as patch:
            cut_off(patch, steps)
            try:
                router.route_file(source, folder / name.name, chunk=2)
                break
            except Killed:
                steps += 1
        assert router.route_file(source, folder / name.name, chunk=2).read_bytes() == whole
        assert [p.name for p in folder.iterdir()] == [name.name]
    assert steps > 30  # the loop has been through every step


def test_what_was_done_is_not_done_again(router, source, tmp_path, monkeypatch):
    def route(self, texts, *rest, **more):
        asked.append(texts)
        if len(asked) == 3:
            raise Killed
        return original(self, texts, *rest, **more)

    asked, original = [], type(router).route
    monkeypatch.setattr(type(router), "route", route)
    with pytest.raises(Killed):
        router.route_file(source, tmp_path / "out.jsonl", chunk=2)
    with open(tmp_path / "out.jsonl.partial", "ab") as file:
        file.write(b'{"query": "half a li')  # written, never noted
    router.route_file(source, tmp_path / "out.jsonl", chunk=2)
    assert [len(texts) for texts in asked] == [2, 2, 2, 2, 1] and asked[2] == asked[3]
    assert [r["id"] for r in read(tmp_path / "out.jsonl")] == [r["id"] for r in RECORDS]


def test_a_process_that_is_killed_is_gone_on_with(router, small_run, tmp_path, capsys):
    source = lines(tmp_path / "in.jsonl", [{"query": f"What is {i} times {i % 7}?", "i": i} for i in range(1000)])
    command = [sys.executable, str(ROOT / "scripts" / "route.py"), f"run={small_run}", f"input={source}",
               f"output={tmp_path / 'out.jsonl'}", "chunk=20"]
    state = tmp_path / "out.jsonl.state.json"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (state.exists() and json.loads(state.read_text())["n"] >= 100):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
    n = json.loads(state.read_text())["n"]
    assert 100 <= n < 1000 and not (tmp_path / "out.jsonl").exists()
    router.route_file(source, tmp_path / "out.jsonl", chunk=20, progress=True)
    assert f"{n}/1000" in capsys.readouterr().err  # the bar begins where it was
    whole = router.route_file(source, tmp_path / "whole.jsonl", chunk=20)
    assert (tmp_path / "out.jsonl").read_bytes() == whole.read_bytes()
    assert [r["i"] for r in read(whole)] == list(range(1000))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "whole.jsonl"]


@pytest.fixture
def begun(router, source, tmp_path):
    """An output that was begun and killed: half of it is done."""
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch, 11)
        with pytest.raises(Killed):
            router.route_file(source, tmp_path / "out.jsonl", chunk=2)
    return tmp_path / "out.jsonl"


def test_other_input_calibration_or_chunk_is_refused_and_loses_nothing(router, begun, source, small_run, tmp_path):
    held = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.suffix != ".lock"}
    other = lines(tmp_path / "other.jsonl", [{"query": "one more"}, *RECORDS])
    run = shutil.copytree(small_run, tmp_path / "run")
    stages.calibrate_run(run, SetsConfig(), RiskConfig(alpha=0.3))
    for changed, settings, says in ((router, {"source": other, "chunk": 2}, "input"),
                                    (racer.Router.load(run), {"source": source, "chunk": 2}, "calibration"),
                                    (router, {"source": source, "chunk": 3}, "chunk")):
        with pytest.raises(ConfigError, match=rf"begun under another {says} \(\d queries.*to begin again"):
            changed.route_file(output=begun, **settings)
    assert {name: (tmp_path / name).read_bytes() for name in held} == held
    (moved := tmp_path / "moved.jsonl").write_bytes(source.read_bytes())
    assert len(read(router.route_file(moved, begun, chunk=2))) == len(RECORDS)  # the same content goes on


@pytest.mark.parametrize(("name", "content", "says"), [
    ("out.jsonl.state.json", "[1]", "tells nothing of work to go on with"),
    ("out.jsonl.state.json", "{", "tells nothing of work to go on with"),
    ("out.jsonl.partial", "{", "has 1 bytes, expected at least"),
])
def test_what_was_begun_and_then_changed_by_hand_is_refused(router, begun, source, name, content, says):
    begun.with_name(name).write_text(content)
    with pytest.raises(ConfigError, match=f"{says}.*to begin again"):
        router.route_file(source, begun, chunk=2)


HALF_A_LINE = b'{"query": "more"}\n{"query": "half a li'


@pytest.mark.parametrize("killed", [False, True])
def test_of_a_file_that_grows_what_it_held_at_the_beginning_is_routed(router, source, tmp_path, killed, monkeypatch,
                                                                      caplog):
    def route(self, *rest, **more):
        asked.append(1)
        if len(asked) == 2:
            with open(source, "ab") as file:
                file.write(HALF_A_LINE)
            if killed:
                raise Killed
        return original(self, *rest, **more)

    asked, original, out = [], type(router).route, tmp_path / "out.jsonl"
    whole = router.route_file(source, tmp_path / "whole.jsonl", chunk=2).read_bytes()
    monkeypatch.setattr(type(router), "route", route)
    if killed:
        with pytest.raises(Killed):
            router.route_file(source, out, chunk=2)
    assert router.route_file(source, out, chunk=2).read_bytes() == whole and len(asked) == 4 + killed
    assert f"has grown by {len(HALF_A_LINE)} bytes since {out} was begun" in caplog.text


def test_a_state_of_an_earlier_version_goes_on(router, begun, source):
    state = begun.with_name("out.jsonl.state.json")
    record = json.loads(state.read_text())
    assert record.pop("until") == source.stat().st_size and record["n"] > 0
    state.write_text(json.dumps(record))
    assert len(read(router.route_file(source, begun, chunk=2))) == len(RECORDS)


def test_an_output_that_was_removed_is_made_again_wherever_the_first_was_killed(router, source, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self, *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            router.route_file(source, out)
    assert json.loads(Path(f"{out}.state.json").read_text())["done"]
    out.unlink()
    assert len(read(router.route_file(source, out))) == len(RECORDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_two_processes_do_not_write_one_file(router, source, tmp_path):
    with FileLock(tmp_path / "out.jsonl.lock"), pytest.raises(ConfigError, match="another process is writing"):
        router.route_file(source, tmp_path / "out.jsonl")
    assert len(read(router.route_file(source, tmp_path / "out.jsonl"))) == len(RECORDS)


# ---------------------------------------------------------------- refused

BAD = [(b'{"query": "fine"', "not JSON"), (b'["query"]', "expected an object"),
       (b'{"text": "x"}', "expected a `query`"), (b'{"query": " "}', "not empty"),
       (b'{"query": ["x"]}', "that is a text"), (b'{"query": "\xff"}', "UTF-8"),
       (b'{"query": "a", "id": 1, "id": 2}', "twice"), (b'{"query": "\\ud800"}', "half a character"),
       (b'{"query": "x", "members": []}', "has members already"), (b"[" * 100_000, "not JSON"),
       *((b'{"query": "x", "deep": [%s]}' % number, "not JSON") for number in (b"1e999", b"-1e999", b"NaN"))]


@pytest.mark.parametrize(("line", "says"), BAD)
@pytest.mark.parametrize("ending", ["out.jsonl", "out.parquet"])
def test_a_bad_line_is_named_before_anything_is_routed(router, tmp_path, monkeypatch, line, says, ending):
    monkeypatch.setattr(type(router), "route", None)
    (tmp_path / "in.jsonl").write_bytes(b'{"query": "fine"}\n\n' * 5 + line + b'\n{"query": "fine"}\n')
    with pytest.raises(TableError, match=rf"in\.jsonl, line 11: .*{says}"):
        router.route_file(tmp_path / "in.jsonl", tmp_path / ending, chunk=4)
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(("columns", "says"), [
    ({"query": ["a"] * 4 + [None]}, "row 4: expected a `query`"),
    ({"query": ["a"] * 3 + ["\t", "b"]}, "row 3: expected a `query`"),
    ({"query": [1, 2]}, "a column `query` of text, got int64"),
    ({"text": ["a"]}, "a column `query` of text, got columns text"),
    ({"query": ["a"], "abstain": [True]}, "has abstain already"),
    ({"query": pa.array([], pa.string())}, "is empty"),
    ({"query": ["a"], "when": [datetime(2026, 1, 1)]}, "column when is timestamp"),
    ({"query": ["a"], "deep": [[{"raw": b"x"}]]}, "column deep is list"),
    ({"query": ["a"] * 3, "x": [1.0, 2.0, float("nan")]}, "rows 2 to 2: a number that JSON has no word for"),
    ({"query": ["a"] * 3, "x": [[], [{"y": float("inf")}], []]}, "rows 0 to 1: a number that JSON has no word for"),
])
def test_a_bad_parquet_file_is_refused(router, tmp_path, columns, says):
    pq.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=2)
    with pytest.raises(TableError, match=says):
        router.route_file(tmp_path / "in.parquet", tmp_path / "out.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["in.parquet"]


def test_a_file_that_is_no_parquet_or_is_cut_off_is_refused(router, tmp_path):
    (path := tmp_path / "in.parquet").write_text("no")
    with pytest.raises(TableError, match="not a Parquet file"):
        router.route_file(path, tmp_path / "out.jsonl")
    pq.write_table(pa.table({"query": [f"what is {i}?" for i in range(3000)]}), path, compression="gzip")
    content = bytearray(path.read_bytes())
    content[200:4000] = bytes(3800)
    path.write_bytes(content)
    with pytest.raises(TableError, match="not a Parquet file"):
        router.route_file(path, tmp_path / "out.jsonl")


@pytest.mark.parametrize("content", [b"", b"\n \n\n"])
@pytest.mark.parametrize("name", ["in.jsonl", "in.txt"])
def test_an_empty_file_is_refused(router, tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match="is empty"):
        router.route_file(tmp_path / name, tmp_path / "out.jsonl")


@pytest.mark.parametrize(("records", "says"), [
    ([{"query": "a", "x": 1}, {"query": "b", "x": "one"}], "lines 1 to 2: a field does not fit one Parquet column"),
    ([{"query": "a", "x": 1}] * 2 + [{"query": "b", "x": "one"}], "lines 3 to 3: a field has another type"),
    ([{"query": "a", "x": 2**70}], "does not fit one Parquet column"),
    ([{"query": "a", "x": {}}], "does not fit a Parquet file"),
])
def test_lines_that_are_no_columns_are_refused_as_parquet_and_kept_as_jsonl(router, tmp_path, records, says):
    source = lines(tmp_path / "in.jsonl", records)
    with pytest.raises(TableError, match=f"{says}.*write .jsonl"):
        router.route_file(source, tmp_path / "out.parquet", chunk=2)
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]
    written = read(router.route_file(source, tmp_path / "out.jsonl", chunk=2))
    assert [r.get("x") for r in written] == [r["x"] for r in records]


@pytest.mark.parametrize(("source", "output", "says"), [
    ("nowhere.jsonl", "out.jsonl", "is no file"), ("in.csv", "out.jsonl", "ends in .csv, expected .jsonl"),
    ("in.jsonl", "out.csv", "ends in .jsonl or .parquet"), ("in.jsonl", "no/out.jsonl", "folder does not exist"),
    ("in.jsonl", "in.jsonl", "is the input"), ("in.jsonl", "folder.jsonl", "name of a file")])
def test_names_that_cannot_be_are_refused(router, source, output, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "in.jsonl", RECORDS)
    (tmp_path / "in.csv").write_text("query\nx\n")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match=says):
        router.route_file(source, output)
    assert read(tmp_path / "in.jsonl") == RECORDS


# ---------------------------------------------------------------- what a cut may depend on


def test_the_group_may_be_said_in_some_chunks_only_but_not_in_none(small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    stages.calibrate_run(run, SetsConfig(), RiskConfig("miss", "group", 0.2))
    router = racer.Router.load(run)
    records = [{"query": "2+2?"}, {"query": "2+3?"}, {"query": "2+2?", "task": "logic"}]
    written = read(router.route_file(lines(tmp_path / "in.jsonl", records), tmp_path / "out.jsonl", chunk=2))
    together = router.route([r["query"] for r in records], known={"task": [None, None, "logic"]})
    assert [tuple(r["members"]) for r in written] == [d.members for d in together]
    with pytest.raises(ConfigError, match="say the task of every query"):
        router.route_file(lines(tmp_path / "in.jsonl", records[:2]), tmp_path / "none.jsonl")


@pytest.mark.parametrize(("weight", "says"), [(None, "say the `weight` of every query"), ("much", "is no number")])
def test_a_weight_that_is_missing_is_named_before_anything_is_routed(router, tmp_path, weight, says, monkeypatch):
    from dataclasses import replace

    from racer.calibrations import ByWeight
    from racer.weighted import calibrate_weighted

    known = ByWeight.of(calibrate_weighted(np.linspace(0, 1, 99), np.ones(99), 0.1), None)
    monkeypatch.setattr(router, "artifact", replace(router.artifact, calibration=known))
    records = [{"query": "2+2?", "weight": 1.0}] * 3
    assert len(read(router.route_file(lines(tmp_path / "in.jsonl", records), tmp_path / "out.jsonl", chunk=2))) == 3
    lines(tmp_path / "in.jsonl", [*records, {"query": "2+2?", "weight": weight}])
    with pytest.raises(RacerError, match=f"lines 3 to 4: .*{says}"):
        router.route_file(tmp_path / "in.jsonl", tmp_path / "again.jsonl", chunk=2)
    assert not list(tmp_path.glob("again*"))
