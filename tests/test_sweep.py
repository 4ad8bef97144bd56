"""A sweep: jobs done once, killed and started again, jobs that cannot be, and the table of all."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CONF, WITHOUT_FIGURES
from hydra import compose, initialize_config_dir
from test_tracking import records as wandb_records

from racer import comparison, gather, hashing, intervals, jobs, sweep
from racer import config as schemas
from racer.errors import ConfigError, Infeasible
from racer.tracking import Tracker

ROOT = Path(__file__).parents[1]


def cfg(*overrides: str):
    schemas.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=[*overrides])


def launched(*arguments: str, cwd: Path) -> subprocess.Popen:
    (cwd / "sitecustomize.py").write_text(WITHOUT_FIGURES)
    return subprocess.Popen([sys.executable, str(ROOT / "scripts" / "train.py"), "-m", *arguments], cwd=cwd, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{cwd}{os.pathsep}{ROOT}"})


def table(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_sweep_killed_half_way_and_started_again_trains_two_routers_and_ends_with_one_table(tmp_path):
    command = ("hydra.sweep.dir=DIR", "cache_dir=cache", "data.n=150", "train.epochs=1", "tracking.wandb=off",
               "encoder.max_length=32", "encoder=tiny,minilm", "risk.alpha=0.3,0.4,0.5", "sets.family=coverage,gap")
    first = launched(*command, cwd=tmp_path)
    while first.poll() is None and sum(r.state == "done" for r in sweep.records(tmp_path / "DIR")) < 5:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    before = {r.name: r for r in sweep.records(tmp_path / "DIR")}
    done = {name for name, r in before.items() if r.state == "done"}
    assert 5 <= len(done) < 12
    times = {name: (tmp_path / "DIR" / name / "report.json").stat().st_mtime_ns for name in done}
    second = launched(*command, "hydra/launcher=machine", cwd=tmp_path)  # side by side
    said, errors = second.communicate()
    assert second.returncode == 0, errors
    assert "12 jobs, 12 done" in said
    assert len([p for p in (tmp_path / "cache" / "routers").iterdir() if p.is_dir()]) == 2
    assert all((tmp_path / "DIR" / name / "report.json").stat().st_mtime_ns == at for name, at in times.items())
    gather.write_csv(tmp_path / "DIR" / "table.csv", gather.rows(gather.jobs(tmp_path / "DIR")))
    comparison.draw(gather.jobs(tmp_path / "DIR"), tmp_path / "DIR" / "comparison.png")
    rows = table(tmp_path / "DIR" / "table.csv")
    assert {r["state"] for r in rows} == {"done"} and len({r["router"] for r in rows}) == 2
    settings = Counter((r["encoder"], r["risk.alpha"], r["sets.family"]) for r in rows)
    assert len(settings) == 12 and set(settings.values()) == {1}
    for row in rows:
        report = json.loads((tmp_path / "DIR" / row["job"] / "report.json").read_text())
        assert (report["alpha"], report["family"]) == (float(row["risk.alpha"]), row["sets.family"])
        assert report["fingerprint"]["router"] == row["router"]
        for end in ("value", "low", "high"):
            assert float(row[f"set_size/{end}"]) == report["set_size"][end]
            assert float(row[f"risk/misrouting/{end}"]) == report["risk"]["misrouting"][end]
    assert [p.name for p in (tmp_path / "DIR").glob("*.png")] == ["comparison.png"]


def test_slurm_and_local_presets_compose():
    schemas.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        slurm, machine = (compose("train", overrides=[f"hydra/launcher={name}"], return_hydra_config=True)
                          .hydra.launcher for name in ("slurm", "machine"))
    assert slurm._target_.endswith("SlurmLauncher") and slurm.max_num_timeout > 0 and slurm.nodes == 1
    assert machine._target_.endswith("JoblibLauncher") and machine.n_jobs == 2


# One job, its work stood in for by a function: what is recorded, and when it is done again.

def reporting(calls: list, numbers: dict | None = None):
    def job(settings):
        calls.append(settings)
        (Path(settings.run_dir) / "report.json").write_text(json.dumps(numbers or {}))
    return job


def test_a_job_is_done_once_and_again_when_settings_files_or_its_report_change(tmp_path):
    data, calls = tmp_path / "data.csv", []
    data.write_text("a")
    given = (f"data.path={data}", "risk.alpha=0.2")

    def do(*overrides):
        sweep.do(cfg(*overrides), tmp_path / "S", list(overrides), reporting(calls))
        return len(calls)

    assert [do(*given), do(*given)] == [1, 1]
    assert do(*given, "cache_dir=elsewhere", "tracking.wandb=off", "run_dir=x") == 1  # change no number
    assert do(given[0], "risk.alpha=0.3") == 2
    data.write_text("b")
    assert [do(*given), do(*given)] == [3, 3]
    [record] = [r for r in sweep.records(tmp_path / "S") if r.overrides == list(given)]
    (tmp_path / "S" / record.name / "report.json").write_text("changed by a later stage")
    assert [r.state for r in sweep.records(tmp_path / "S")] == ["changed", "done"]
    assert do(*given) == 4 and len(sweep.records(tmp_path / "S")) == 2


def test_the_code_is_part_of_what_a_job_depends_on(tmp_path, monkeypatch):
    package = tmp_path / "racer"
    (package / "router").mkdir(parents=True)
    (package / "router" / "fit.py").write_text("old")
    monkeypatch.setattr(sweep, "__file__", str(package / "sweep.py"))
    calls = []
    for code, times in (("old", 1), ("old", 1), ("new", 2)):
        (package / "router" / "fit.py").write_text(code)
        sweep.do(cfg(), tmp_path / "S", [], reporting(calls))
        assert len(calls) == times


@pytest.mark.parametrize(("error", "state", "raised"), [
    (Infeasible("too few", n=3, needed=9, reachable=0.3), "infeasible", False), (ConfigError("no"), "refused", False),
    (ValueError("a bug"), "failed", True), (KeyboardInterrupt(), "running", True)])
def test_what_became_of_a_job_is_recorded_and_the_job_comes_again(error, state, raised, tmp_path):
    def job(_):
        raise error

    if raised:
        with pytest.raises(type(error)):
            sweep.do(cfg(), tmp_path, ["seed=0"], job)
    else:
        sweep.do(cfg(), tmp_path, ["seed=0"], job)
    [record] = sweep.records(tmp_path)
    assert record.state == state and str(error) in record.reason
    sweep.do(cfg(), tmp_path, ["seed=0"], reporting([]))
    assert [(r.state, r.reason) for r in sweep.records(tmp_path)] == [("done", "")]


def test_a_helper_process_waits_works_and_writes_nothing(tmp_path, monkeypatch):
    waits, calls = [], []
    monkeypatch.setattr(sweep, "PartialState", lambda **_: SimpleNamespace(
        is_main_process=False, wait_for_everyone=lambda: waits.append(len(calls))))
    sweep.do(cfg(), tmp_path, [], calls.append)
    assert len(calls) == 1 and waits == [0, 0] and sweep.records(tmp_path) == []
    sweep.Summary().on_multirun_end(None)  # it is the main process that says how it went


def test_settings_that_contradict_themselves_are_a_refused_job(tmp_path):
    sweep.do(cfg("risk.alpha=2"), tmp_path, ["risk.alpha=2"], reporting(calls := []))
    assert [(r.state, calls) for r in sweep.records(tmp_path)] == [("refused", [])]


def test_the_status_at_the_end_says_whether_all_is_done(tmp_path, capsys):
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    sweep.do(cfg("seed=1"), tmp_path, ["seed=1"], reporting([]))
    sweep.Summary().on_multirun_end(config)
    with pytest.raises(KeyboardInterrupt):
        sweep.do(cfg("seed=2"), tmp_path, ["seed=2"], lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as end:
        sweep.Summary().on_multirun_end(config)
    assert end.value.code == 2 and "running: seed=2: killed, or under way" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_job_killed_and_started_again_is_one_finished_wandb_run_in_the_sweeps_group(tmp_path):
    def job(settings):
        with Tracker(Path(settings.run_dir), settings.tracking, {}) as tracker:
            tracker.log({"step": 1, "train_loss": 0.5})
        (Path(settings.run_dir) / "report.json").write_text("{}")

    def killed(settings):
        (Path(settings.run_dir) / "wandb" / "offline-run-cut-short").mkdir(parents=True)
        raise KeyboardInterrupt

    given, folder = ["risk.alpha=0.2"], tmp_path / "alphas"
    with pytest.raises(KeyboardInterrupt):
        sweep.do(cfg(*given), folder, given, killed)
    [before] = sweep.records(folder)
    sweep.do(cfg(*given), folder, given, job)
    assert len(list((folder / before.name / "wandb").glob("offline-run-*"))) == 1
    found = wandb_records(folder / before.name)
    [run] = [r.run for r in found if r.WhichOneof("record_type") == "run"][:1]
    assert (run.run_id, run.run_group, run.display_name) == (before.wandb, "alphas", "risk.alpha=0.2")
    assert [r.exit.exit_code for r in found if r.WhichOneof("record_type") == "exit"] == [0]


# The tables, from copies of one finished run.

@pytest.fixture
def four(small_run, tmp_path) -> Path:
    """A sweep of two seeds and two families; the jobs of `gap` are those of `coverage`, but for a bound of the sets."""
    from racer import stages
    from racer.config import RiskConfig, SetsConfig

    for seed in (0, 1):
        for family in ("coverage", "gap"):
            folder = tmp_path / "S" / f"{family}{seed}"
            shutil.copytree(small_run, folder)
            stages.calibrate_run(folder, SetsConfig(family=family), RiskConfig(alpha=0.2 + 0.1 * seed))
            stages.write_json(folder / "report.json", stages.report(
                stages.scores_file.load(folder / "scores.npz"), stages.artifact_file.load(folder / "calibration.json")))
            overrides = [f"seed={seed}", f"sets.family={family}", "cache_dir=c"]
            jobs.Record(folder.name, overrides, "", "done",
                         report=hashing.of_file(folder / "report.json")).save(tmp_path / "S")
    return tmp_path / "S"


def test_seeds_are_summarised_by_the_t_interval(four):
    found = gather.jobs(four)
    assert gather.varied(found) == ["seed", "sets.family"]
    rows = gather.over_seeds(found)
    assert [(r["sets.family"], r["seeds"]) for r in rows] == [("coverage", 2), ("gap", 2)]
    a, b = (job.report["set_size"]["value"] for job in found if job.given["sets.family"] == "gap")
    assert rows[1]["set_size/value"] == pytest.approx((a + b) / 2) and a != b
    assert rows[1]["set_size/high"] - rows[1]["set_size/value"] == pytest.approx(12.706204736 * abs(a - b) / 2)


def test_differences_pair_twins_query_by_query(four):
    rows = gather.differences(gather.jobs(four), "sets.family=gap", np.random.default_rng(0))
    assert [(r["seed"], r["sets.family"], r["minus"]) for r in rows] == [
        ("0", "coverage", "sets.family=gap"), ("1", "coverage", "sets.family=gap")]
    reports = {job.record.name: job.report for job in gather.jobs(four)}
    for row in rows:
        ours, theirs = (reports[f"{family}{row['seed']}"] for family in ("coverage", "gap"))
        for name in ("set_size", "abstention", "set_accuracy"):
            assert row[f"{name}/value"] == pytest.approx(ours[name]["value"] - theirs[name]["value"])
        assert row["cost/usd/value"] == pytest.approx(ours["cost"]["usd"]["value"] - theirs["cost"]["usd"]["value"])
        assert row["risk/miss/value"] == pytest.approx(ours["risk"]["miss"]["value"] - theirs["risk"]["miss"]["value"])
        assert row["set_size/low"] < row["set_size/value"] < row["set_size/high"]
    with pytest.raises(ConfigError, match=r"no job that is done was given it; the sweep varies seed, sets.family"):
        gather.differences(gather.jobs(four), "sets.family=probability", np.random.default_rng(0))


def test_a_sweep_is_drawn_against_alpha_or_a_row_a_job(four, tmp_path):
    found = gather.jobs(four)
    for some, name in ((found, "alphas"), ([j for j in found if j.given["seed"] == "0"], "rows")):
        assert comparison.draw(some, tmp_path / f"{name}.png").stat().st_size > 5000
    assert comparison.draw([], tmp_path / "none.png") is None


def test_a_folder_without_jobs_is_no_sweep(tmp_path):
    with pytest.raises(ConfigError, match="no jobs in"):
        gather.jobs(tmp_path)


def test_the_paired_bootstrap_covers_the_difference_and_is_narrower_than_two_intervals():
    held = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        hard = rng.normal(size=80)
        a, b = hard + 0.3 + 0.3 * rng.normal(size=80), hard + 0.3 * rng.normal(size=80)
        found = intervals.paired(a - b, rng, repeats=200)
        held += found["low"] <= 0.3 <= found["high"]
    apart = intervals.mean(a)
    assert found["high"] - found["low"] < 0.6 * (apart["high"] - apart["low"])
    assert 200 * 0.95 - 4 * np.sqrt(200 * 0.95 * 0.05) <= held < 200
