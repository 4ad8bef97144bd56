"""What a user can mend is one line that names it and the next step; a bug keeps its traceback."""

import errno
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import composed

from racer import cli, show, stages
from racer.errors import Infeasible
from racer.files import write_json


def said(capsys, do) -> str:
    """Return the one line that `do()` ends with."""
    with pytest.raises(SystemExit) as end, cli.clear_errors():
        do()
    line = capsys.readouterr().err
    assert end.value.code == 2 and line.startswith("error: ") and line.count("\n") == 1
    return line


@pytest.mark.parametrize(("script", "override", "says"), [
    ("route", "qurey=hi", "there is no setting qurey: did you mean query?"),
    ("stage", "risk.aplha=0.1", "there is no setting risk.aplha: did you mean risk.alpha?"),
    ("train", "aplha=0.1", "there is no setting aplha: did you mean risk.alpha?"),
    ("train", "data.pth=x", "there is no setting data.pth: did you mean data.path?"),
    ("train", "sets.zzz=x", "there is no setting sets.zzz, expected one of sets.family, sets.null, "),
    ("prepare", "zzz=x", "there is no setting zzz, expected one of data, out (settings"),
    ("train", "data=kitchn", "there is no data=kitchn: did you mean kitchen? The choices are kitchen, local, "),
    ("train", "encoder=zzz", "there is no encoder=zzz, expected one of mdeberta, minilm, "),
    ("experiment", "experiment=cots", "there is no experiment=cots: did you mean cost? The choices are "),
    ("local_pool", "+more.mine={kid: llm}", "there is no setting kid: did you mean kind?"),
    ("train", "risk.alpha=high", "risk.alpha=high")])
def test_a_misspelled_setting_is_told_the_nearest_or_all(script, override, says, capsys):
    assert says in said(capsys, lambda: composed(override, name=script))


@pytest.mark.parametrize(("do", "path", "says"), [
    (lambda: Path("file").mkdir(parents=True, exist_ok=True), "file", "is a file, where a folder is needed"),
    (lambda: Path("file/x").mkdir(parents=True, exist_ok=True), "file/x", "leads through a file"),
    (lambda: Path("file/x").write_text("x"), "file/x", "leads through a file"),
    (lambda: Path("folder").write_text("x"), "folder", "is a folder, where a file is needed"),
    (lambda: write_json("folder", {}), "folder", "is a folder, where a file is needed"),
    *[(lambda number=number: _raise(OSError(number, "no", "a/b")), "a/b", says) for number, says in (
        (errno.EACCES, "may not be read or written"), (errno.EPERM, "may not be read or written"),
        (errno.EROFS, "lies where nothing can be written"), (errno.ENOSPC, "cannot be written, there is no space"))],
    (lambda: Path("/dev/full").write_text("x"), "the output", "cannot be written, there is no space left")])
def test_a_path_that_cannot_be_written_is_named_with_the_next_step(do, path, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    line = said(capsys, do)
    assert line.startswith(f"error: {path} {says}") and ("give another path" in line or "give a path" in line)


@pytest.mark.parametrize("error", [
    PermissionError(errno.EPERM, "no"), FileNotFoundError(errno.ENOENT, "no", "a/b"), KeyError("x"),
    OSError("no"), ConnectionResetError(errno.ECONNRESET, "no")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)), cli.clear_errors():
        raise error


def _raise(error: Exception) -> None:
    raise error


# ---------------------------------------------------------------- what a new calibration removes


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_removed_is_said_also_where_nothing_comes_in_its_place(fails, tmp_path, capsys):
    for name in ("calibration.json", "report.json"):
        (tmp_path / name).touch()
    (tmp_path / "figures").mkdir()
    with suppress(Infeasible), show.removals(stages.stale(tmp_path), tmp_path):
        stages.clear(tmp_path)
        if fails:
            raise Infeasible("no", n=1, needed=2, reachable=0.5)
        (tmp_path / "calibration.json").touch()
    printed = capsys.readouterr().out
    assert (f"{tmp_path}/calibration.json" in printed) == fails and f"{tmp_path}/figures\n" in printed
    with show.removals(stages.stale(tmp_path), tmp_path):
        pass
    assert capsys.readouterr().out == "" and len(stages.stale(tmp_path)) == (not fails)
