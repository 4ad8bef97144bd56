"""The commands, as a user types them: each script runs as a process of its own."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL

from racer import formats
from racer import scores as scores_file

ROOT = Path(__file__).parents[1]


def script(name: str, *arguments: str, cwd: Path, fails: bool = False, **environment: str) -> str:
    """Run a script and return what it printed: stdout, or stderr where it must fail."""
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / f"{name}.py"), *arguments], cwd=cwd, text=True,
                          capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_train_reports_and_names_its_figures(small_config, tmp_path):
    printed = script("train", *SMALL, f"cache_dir={small_config.cache_dir}", "run_dir=out", cwd=tmp_path)
    assert "simulated" in printed and "RACER" in printed and "best single" in printed
    named = [line.removeprefix("figure: ") for line in printed.splitlines() if line.startswith("figure: ")]
    assert len(named) == 4 and all(Path(path).is_file() for path in named)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]  # nothing is written anywhere else


def test_a_sweep_trains_each_router_once_and_an_infeasible_job_stops_no_other(small_config, tmp_path):
    cache = tmp_path / "cache"
    said = script("train", "-m", *SMALL, f"cache_dir={cache}", "hydra.sweep.dir=sweep", "risk.alpha=0.001,0.1,0.2",
                  "head=multilabel,softmax", "data.n=300", cwd=tmp_path, fails=True)
    assert said.count("error: infeasible: ") == said.count("needs n >= 2302") == 2
    assert len([p for p in (cache / "routers").iterdir() if p.is_dir()]) == 2
    runs = [path.parent for path in (tmp_path / "sweep").glob("*/report.json")]
    assert sorted(read(r / "report.json")["alpha"] for r in runs) == [0.1, 0.1, 0.2, 0.2]
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not for one table of a sweep')")
    blocked = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    assert "infeasible: " in script("gather", "sweep=sweep", "against=head=softmax", cwd=tmp_path, **blocked)
    with open(tmp_path / "sweep" / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["state"] for r in rows].count("done") == 4 and len(rows) == 6
    assert all("needs n >= 2302" in r["reason"] and not r["set_size/value"] for r in rows if r["state"] == "infeasible")
    shutil.rmtree(cache)
    printed = script("route", f"run={runs[3]}", "query=What is 2+2?", cwd=tmp_path)
    assert "What is 2+2?" in printed


def test_later_stages_redo_their_part_without_torch(run, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not for later stages')")
    blocked = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    old = read(run / "calibration.json")
    (run / "figures").mkdir(exist_ok=True)
    printed = script("calibrate", f"run={run}", "risk.alpha=0.2", "sets.null=joint", cwd=tmp_path, **blocked)
    assert f"removed, of the calibration before: {run}/report.json, {run}/figures\n" in printed
    assert f"python scripts/evaluate.py run={run}\n" in printed
    new = read(run / "calibration.json")
    assert (new["alpha"], new["null"], new["family"]) == (0.2, "joint", old["family"])
    assert not (run / "report.json").exists() and not (run / "figures").exists()  # they told of another calibration
    printed = script("evaluate", f"run={run}", cwd=tmp_path, **blocked)
    assert "pac" in printed and "removed" not in printed
    assert read(run / "report.json")["alpha"] == 0.2 and len(list((run / "figures").glob("*.png"))) == 4
    printed = script("evaluate", f"run={run}", "risk.alpha=0.3", cwd=tmp_path, **blocked)  # keeps the null chosen
    assert "removed" not in printed  # all is there again
    assert (read(run / "report.json")["alpha"], read(run / "report.json")["null"]) == (0.3, "joint")


def test_a_later_stage_takes_the_settings_of_training_but_cannot_change_them(run, tmp_path):
    script("calibrate", f"run={run}", *SMALL, "head=latent", "router=encoder", "data=kitchen", "seed=0", cwd=tmp_path)
    said = script("calibrate", f"run={run}", "head=softmax", "risk.alpha=0.2", cwd=tmp_path, fails=True)
    assert "head" in said and "train again" in said
    assert read(run / "calibration.json")["alpha"] == 0.1  # refused before anything was touched


def test_what_the_run_lets_validation_rows_choose_is_not_given_in_silence(run, tmp_path):
    script("calibrate", f"run={run}", "sets.choose=size", "risk.alpha=0.3", cwd=tmp_path)
    said = script("calibrate", f"run={run}", "sets.family=gap", cwd=tmp_path, fails=True)
    assert said.startswith("error: sets.family is given, but this run's sets.choose=size") and "sets.choose=no" in said
    script("calibrate", f"run={run}", "sets.family=gap", "sets.choose=no", cwd=tmp_path)
    assert read(run / "calibration.json")["family"] == "gap"


def test_anyones_scores_are_calibrated_and_judged(run, tmp_path):
    scores = scores_file.load(run / "scores.npz").with_null("joint")
    np.savez(tmp_path / "theirs.npz", ids=scores.ids, split=scores.split, task=scores.task, models=scores.models,
             probabilities=scores.probabilities, outcomes=scores.outcomes, fingerprint="someone's router")
    script("calibrate", "scores=theirs.npz", "run_dir=out", "sets.null=learned", "sets.family=probability",
           cwd=tmp_path)
    assert read(tmp_path / "out" / "calibration.json")["fingerprint"]["router"] == "someone's router"
    stored = scores_file.load(tmp_path / "out" / "scores.npz")
    np.testing.assert_array_equal(stored.probabilities, scores.probabilities)
    script("evaluate", "run=out", cwd=tmp_path)
    report = read(tmp_path / "out" / "report.json")
    assert report["cost"] == {"usd": None, "share_of_all": None} and report["table"] == "theirs.npz"


def test_several_risks_groups_and_a_stream_from_the_shell(run, tmp_path):
    printed = script("calibrate", f"run={run}", "risk.method=ltt", "risk.testing=pareto", "risk.alpha=0.6",
                     "risk.also=[{loss: cost, alpha: 0.9}]", "risk.sizes=[2,7]", cwd=tmp_path)
    record = read(run / "calibration.json")
    assert [(r["loss"], r["alpha"]) for r in record["risks"]] == [("misrouting", 0.6), ("cost", 0.9)]
    assert "cheapest of" in printed and record["max_size"] == record["size"] in (2, 7)
    script("calibrate", f"run={run}", "risk.also=[]", "risk.method=group", "risk.alpha=0.3", cwd=tmp_path)
    (tmp_path / "in.jsonl").write_text('{"query": "2+2?", "task": "logic"}\n{"query": "2+2?"}\n')
    script("route", f"run={run}", "input=in.jsonl", "output=out.jsonl", cwd=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["certified"] for line in lines] == [True, False]
    assert "logic" in script("evaluate", f"run={run}", cwd=tmp_path)
    said = script("route", f"run={run}", "query=2+2?", cwd=tmp_path, fails=True)
    assert "say the task of every query" in said
    for task, sure in (("logic", True), ("lgoic", False)):
        printed = script("route", f"run={run}", "query=2+2?", f"task={task}", cwd=tmp_path)
        assert "ask:" in printed and ("nothing is promised" not in printed) == sure
        assert ("there is a promise only for task " in printed) != sure and ("logic" in printed) != sure


def test_a_plan_is_made_from_a_table_alone(tmp_path):
    printed = script("plan", "data.n=600", "risk.alpha=0.05", "answer_error=0.2", "out=plans/plan.json", cwd=tmp_path)
    plan = read(tmp_path / "plans" / "plan.json")
    assert (plan["alpha"], plan["answer_error"], plan["n"]["calibration"]) == (0.05, 0.2, plan["calibration"])
    assert "best single" in printed and "simulated" in printed
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["plan.json", "plans"]


@pytest.mark.parametrize(("arguments", "says"), [
    (("plan", "data.path=nowhere.csv"), "no such file or folder"),
    (("train", "risk.method=crc", "risk.also=[{loss: cost, alpha: 0.5}]"), "risk.also is for risk.method=ltt"),
    (("train", "sets.nul=free"), "sets.nul"),
    (("train", "risk.alpha=high"), "high"),
    (("train", "risk.alpha=0.001", "encoder=tiny", "run_dir=x"), "needs n >= 2302 calibration queries"),
    (("train", "data=routerdc", "run_dir=x"), "environment variable RACER_DATA, which is not set"),
    (("calibrate",), "give either run=DIR"),
    (("calibrate", "run=nowhere"), "no run in nowhere"),
    (("calibrate", "scores=nowhere.npz", "run_dir=x"), "no scores at nowhere.npz"),
    (("evaluate",), "run=DIR is missing"),
    (("experiment", "experiment=paper_protocol"), "environment variable RACER_DATA, which is not set"),
    (("gather",), "sweep=... is missing"),
    (("gather", "sweep=nowhere"), "no jobs in nowhere"),
    (("gather", "sweep=nowhere", "against=gap"), "against is 'gap'"),
    (("evaluate", "-m", "run=a,b"), "-m is for scripts/train.py"),
    (("route", "query=hello"), "run=... is missing"),
    (("route", "run=nowhere", "query=hello"), "no router in nowhere"),
    (("route", "run=nowhere", "query=hello", "output=no/such/out.jsonl"), "its folder does not exist"),
    (("prepare", "out=x", "data.path=nowhere.csv"), "no such file or folder"),
    (("push", "run=nowhere", "repo=acme/x"), "no router in nowhere"),
    (("push", "run=nowhere"), "give repo=OWNER/NAME on the Hugging Face hub, or folder=DIR"),
    (("train", "-m", "risk.aplha=0.1,0.2"), "did you mean risk.alpha?"),
    (("train", *SMALL, "run_dir=file"), "file is a file, where a folder is needed"),
    (("train", *SMALL, "run_dir=file/run"), "file/run leads through a file"),
    (("train", *SMALL, "run_dir=run", "cache_dir=file"), "file/encoders leads through a file"),
    (("prepare", "data.n=300", "out=file"), "file is a file, where a folder is needed"),
])
def test_mistakes_are_one_clear_line(arguments, says, tmp_path, monkeypatch):
    monkeypatch.delenv("RACER_DATA", raising=False)
    (tmp_path / "file").touch()
    said = script(*arguments, cwd=tmp_path, fails=True)
    assert says in said and said.startswith("error: ")


AWKWARD = """What's {x, y} = [1, "2"] if $HOME is ${oc.env:HOME} and 100% = \\frac{1}{1}?"""


def test_route_takes_the_query_verbatim(run, tmp_path):
    script("route", f"run={run}", f"query={AWKWARD}", "output=one.jsonl", cwd=tmp_path)
    assert read(tmp_path / "one.jsonl")["query"] == AWKWARD


def test_a_finished_output_that_is_made_anew_is_said_to_be(run, tmp_path):
    command = "route", f"run={run}", "query=2+2?", "output=one.jsonl"
    assert script(*command, cwd=tmp_path).splitlines()[-1] == "written: one.jsonl"
    first = (tmp_path / "one.jsonl").read_bytes()
    assert script(*command, cwd=tmp_path).splitlines()[-1] == "written: one.jsonl, in place of the one that was there"
    assert (tmp_path / "one.jsonl").read_bytes() == first


def test_route_adds_decisions_to_the_lines_of_a_file(run, tmp_path):
    records = [{"query": "What is 7 times 8?", "id": "a"}, {"query": AWKWARD, "id": "b", "more": [1, None]}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    script("route", f"run={run}", "input=in.jsonl", "output=out.jsonl", cwd=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for record, line in zip(records, lines, strict=True):
        assert line | record == line and len(line["probabilities"]) == 8
        assert line["abstain"] == (not line["members"])
    (tmp_path / "bom.txt").write_bytes("\ufeffWhat is 7 times 8?\n\n".encode())
    script("route", f"run={run}", "input=bom.txt", "output=bom.jsonl", cwd=tmp_path)
    assert read(tmp_path / "bom.jsonl")["query"] == "What is 7 times 8?"
    (tmp_path / "bad.jsonl").write_text('{"query": "fine"}\n{"text": "no query"}\n')
    said = script("route", f"run={run}", "input=bad.jsonl", cwd=tmp_path, fails=True)
    assert "bad.jsonl, line 2" in said


def test_push_writes_to_a_folder_what_would_be_put_on_the_hub(run, tmp_path):
    script("push", f"run={run}", "repo=acme/kitchen", "folder=out", cwd=tmp_path)
    assert 'load("acme/kitchen")' in (tmp_path / "out" / "README.md").read_text()
    assert read(tmp_path / "out" / "calibration.json") == read(run / "calibration.json")
    script("push", f"run={run}", "folder=alone", cwd=tmp_path)
    assert 'load("alone")' in (tmp_path / "alone" / "README.md").read_text()


def test_prepare_writes_a_table_that_trains(tmp_path):
    printed = script("prepare", "data.n=300", "out=table", cwd=tmp_path)
    assert "simulated" in printed
    table = formats.read(tmp_path / "table")
    assert len(table.ids) == 300 and table.simulated and set(table.split) == {
        "train", "validation", "calibration", "test"}
    script("train", *SMALL, "cache_dir=cache", "run_dir=out", "data.path=table", cwd=tmp_path)
    assert "simulated" in read(tmp_path / "out" / "report.json")["table"]
