"""A folder of files routed part by part, here and on a local Ray cluster: the same bytes as each file by itself."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from racer import Router, parts
from racer.config import RouteConfig
from racer.errors import ConfigError, TableError
from racer.routing import route_file

ROOT = Path(__file__).parents[1]


@pytest.fixture
def log(tmp_path) -> Path:
    """A log in three parts, beside what is no part."""
    folder = tmp_path / "log"
    folder.mkdir()
    for i in (0, 1):
        (folder / f"part-{i}.jsonl").write_text("".join(
            json.dumps({"query": f"What is {n} + {i}?", "n": n}) + "\n" for n in range(5 + i)))
    (folder / "part-2.txt").write_text("What is 15 % of 240?\n")
    (folder / "_SUCCESS").write_text("")
    (folder / ".hidden").write_text("")
    return folder


def config(run: Path, log: Path, **more) -> RouteConfig:
    return RouteConfig(run=str(run), input=str(log), output=str(log.parent / "out"), chunk=3, **more)


def by_file(run: Path, log: Path) -> dict[str, bytes]:
    """Return what routing each file of the log by itself writes."""
    router, alone = Router.load(run), log.parent / "alone"
    alone.mkdir()
    names = {"part-0.jsonl": "part-0.jsonl", "part-1.jsonl": "part-1.jsonl", "part-2.txt": "part-2.jsonl"}
    return {to: route_file(router, log / name, alone / to, 3).read_bytes() for name, to in names.items()}


def written(log: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (log.parent / "out").iterdir() if path.is_file()}


def test_each_part_is_routed_as_a_file_by_itself(small_run, log):
    paths = parts.route_folder(config(small_run, log))
    assert [p.name for p in paths] == ["part-0.jsonl", "part-1.jsonl", "part-2.jsonl"]
    assert written(log) == by_file(small_run, log)


def test_a_part_is_done_once_until_it_changes(small_run, log, monkeypatch):
    parts.route_folder(config(small_run, log))
    routed = []
    route_rows = parts.route_rows
    monkeypatch.setattr(parts, "route_rows", lambda *given: routed.append(given[-1].name) or route_rows(*given))
    parts.route_folder(config(small_run, log))
    assert routed == []
    (log / "part-1.jsonl").write_text('{"query": "Another?"}\n')
    (log.parent / "out" / "part-0.jsonl").unlink()
    parts.route_folder(config(small_run, log))
    assert routed == ["part-0.jsonl", "part-1.jsonl"]
    assert json.loads(written(log)["part-1.jsonl"])["query"] == "Another?"


def test_a_part_that_grew_while_it_was_routed_is_routed_again_whole(small_run, log, monkeypatch):
    class Killed(BaseException):
        pass

    def route(self, *rest, **more):
        with open(log / "part-0.jsonl", "a") as file:
            file.write('{"query": "Another?"}\n')
        asked.append(1)
        if len(asked) == 2:
            raise Killed
        return original(self, *rest, **more)

    asked, original = [], Router.route
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Router, "route", route)
        parts.route_folder(config(small_run, log))
    parts.route_folder(config(small_run, log))
    assert len(written(log)["part-0.jsonl"].splitlines()) == 5
    parts.route_folder(config(small_run, log))
    assert len(written(log)["part-0.jsonl"].splitlines()) == 7


def test_a_part_killed_before_its_note_was_written_is_not_taken_for_what_it_was(small_run, log, monkeypatch):
    parts.route_folder(config(small_run, log))
    before, first = written(log), (log / "part-0.jsonl").read_text()
    (log / "part-0.jsonl").write_text('{"query": "Another?"}\n')
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(parts, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        parts.route_folder(config(small_run, log))
    assert written(log) != before
    (log / "part-0.jsonl").write_text(first)
    parts.route_folder(config(small_run, log))
    assert written(log) == before


def test_a_bad_part_is_named_and_stops_no_other(small_run, log):
    (log / "part-0.jsonl").write_text('{"query": "fine"}\n{"text": "no query"}\n')
    with pytest.raises(TableError, match=r"1 of 3 files could not be routed.*part-0.jsonl, line 2"):
        parts.route_folder(config(small_run, log))
    assert sorted(written(log)) == ["part-1.jsonl", "part-2.jsonl"]


def test_folders_that_do_not_fit_are_refused(small_run, log, tmp_path):
    (tmp_path / "empty").mkdir()
    (log / "part-2.jsonl").write_text('{"query": "the same name as the text"}\n')
    for given, says in ((dict(input=str(log)), "a .txt and a .jsonl of one name"),
                        (dict(input=str(tmp_path / "empty")), "holds no file"),
                        (dict(input=str(log / "part-0.jsonl"), engine="ray"), "is no folder: engine=ray routes"),
                        (dict(input=str(log), output=str(log)), "the name of another folder"),
                        (dict(input=str(log), output=None), "input=FOLDER output=FOLDER")):
        with pytest.raises(ConfigError, match=says):
            parts.route_folder(RouteConfig(**{"run": str(small_run), "output": str(tmp_path / "out")} | given))
    with pytest.raises(ConfigError, match="workers=2 is for engine=ray"):
        RouteConfig(workers=2)


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'racer[ray]'")
def test_on_a_ray_cluster_parts_are_the_same_bytes(small_run, log):
    (log / "part-3.jsonl").write_text("no query\n")
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "route.py"), f"run={small_run}", f"input={log}",
                           f"output={log.parent / 'out'}", "engine=ray", "workers=2", "chunk=3"], text=True,
                          capture_output=True, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and "1 of 4 files could not be routed" in done.stderr, done.stderr
    assert "part-3.jsonl, line 1: not JSON" in done.stderr and "Traceback" not in done.stderr
    assert written(log) == by_file(small_run, log)
