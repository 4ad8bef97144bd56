"""router=file: anyone's probabilities, found by name, refused with a reason, and judged like any router's."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import FIELD, composed, finished
from test_scripts import script

from racer import data, foreign, hashing, pipeline, stages
from racer import scores as scores_file
from racer.config import RiskConfig, SetsConfig, TrackingConfig
from racer.errors import ConfigError, TableError
from racer.router import Router
from racer.tracking import Tracker


@pytest.fixture(scope="module")
def table():
    return data.load(composed(*FIELD).data)


def make(table, null: bool = True, seed: int = 0) -> dict:
    """A router's probabilities of a whole table: better than chance, and different for each cell."""
    rng = np.random.default_rng(seed)
    p = np.clip(0.6 * table.outcomes() + 0.4 * rng.random(table.scores.shape), 0, 1)
    p = np.column_stack([p, rng.random(len(p))]) if null else p
    return {"ids": table.ids.astype(str), "models": np.array(table.models), "probabilities": p}


def written(path, arrays: dict):
    np.savez(path, **arrays)
    return path


def read(path):
    return json.loads(path.read_text())


# ---------------------------------------------------------------- read by name


@pytest.mark.parametrize("null", [True, False])
def test_rows_and_columns_are_found_by_name_in_any_order(null, table, tmp_path):
    arrays, rng = make(table, null), np.random.default_rng(1)
    n, m = table.scores.shape
    rows, columns = rng.permutation(n), rng.permutation(m)
    shuffled = arrays["probabilities"][rows][:, [*columns, m] if null else columns]
    extra = rng.random((5, shuffled.shape[1]))  # queries that the table does not have
    path = written(tmp_path / "p.npz", {
        "ids": np.array([*arrays["ids"][rows], *(f"other {i}" for i in range(5))]),
        "models": arrays["models"][columns], "probabilities": np.concatenate([shuffled, extra])})
    scores = foreign.scores_of(path, table, 0.5)
    assert scores.ids.tolist() == table.ids.tolist() and scores.models == table.models
    np.testing.assert_array_equal(scores.probabilities, np.column_stack([arrays["probabilities"][:, :m], np.zeros(n)]))
    np.testing.assert_array_equal(scores.outcomes, table.outcomes())
    np.testing.assert_array_equal(scores.cost, table.cost)
    if null:
        np.testing.assert_array_equal(scores.learned_null, arrays["probabilities"][:, m])
    else:
        assert scores.learned_null is None
    assert (scores.null, scores.joint, scores.table) == ("free", None, table.title)
    assert scores.fingerprint == {"router": hashing.of_file(path), "table": table.fingerprint()}


def test_right_is_what_the_settings_say(table, tmp_path):
    path = written(tmp_path / "p.npz", make(table))
    graded = replace(table, scores=np.full(table.scores.shape, 0.4), kinds=dict.fromkeys(table.task, "fraction"))
    assert not foreign.scores_of(path, graded, 0.5).outcomes.any()
    assert foreign.scores_of(path, graded, 0.3).outcomes.all()


def test_numbers_and_ids_of_other_types_are_taken(table, tmp_path):
    numbered = replace(table, ids=np.array([str(i) for i in range(len(table.ids))], dtype=object))
    arrays = make(table) | {"ids": np.arange(len(table.ids)), "models": np.array(table.models).astype(bytes)}
    single = arrays | {"probabilities": arrays["probabilities"].astype(np.float32)}
    scores = foreign.scores_of(written(tmp_path / "p.npz", single), numbered, 0.5)
    assert scores.probabilities.dtype == np.float64 and scores.ids.tolist() == numbered.ids.tolist()
    np.testing.assert_array_equal(scores.learned_null, single["probabilities"][:, -1])


# ---------------------------------------------------------------- refused


def at(arrays: dict, row: int, column: int, value: float) -> dict:
    p = arrays["probabilities"].copy()
    p[row, column] = value
    return {"probabilities": p}


WRONG = {
    "no ids": (lambda a: {"ids": None}, r"lacks ids: needed are ids, models, probabilities"),
    "two missing": (lambda a: {"ids": None, "models": None}, "lacks ids, models: needed"),
    "a missing query": (lambda a: {"ids": a["ids"][1:], "probabilities": a["probabilities"][1:]},
                        r"lacks 1 of the table's 300 ids, the first is '{first}': score them too"),
    "no query": (lambda a: {"ids": a["ids"][:0], "probabilities": a["probabilities"][:0]}, "lacks 300 of .* 300 ids"),
    "a missing model": (lambda a: {"models": a["models"][1:], "probabilities": a["probabilities"][:, 1:]},
                        r"lacks 1 of the table's 7 models, the first is '{model}'"),
    "a model by another name": (lambda a: {"models": np.array(["x", *a["models"][1:]])}, "the first is '{model}'"),
    "a model too many": (lambda a: {"models": np.array([*a["models"], "more"]),
                                    "probabilities": a["probabilities"][:, [*range(8), 0]]},
                         r"has 8 models, the table 7: take probabilities of the table's models only, {model}, "),
    "a query twice": (lambda a: {"ids": np.array([*a["ids"], a["ids"][7]]),
                                 "probabilities": a["probabilities"][[*range(300), 7]]},
                      r"the id '{seventh}' is there more than once"),
    "a model twice": (lambda a: {"models": np.array([*a["models"][:-1], a["models"][0]])},
                      r"the model '{model}' is there more than once"),
    "too few rows": (lambda a: {"probabilities": a["probabilities"][1:]},
                     r"shape \(299, 8\), expected \(300, 7\), or \(300, 8\) with the null last, for 300 ids and 7 mod"),
    "a column of another kind": (lambda a: {"probabilities": a["probabilities"][:, [*range(8), 0]]}, r"\(300, 9\)"),
    "one number a row": (lambda a: {"probabilities": a["probabilities"][:, 0]}, r"shape \(300,\), expected"),
    "more than 1": (lambda a: at(a, 7, 2, 1.0000001), r"probabilities\[7, 2\] of query {seventh} is 1\.0000001"),
    "less than 0": (lambda a: at(a, 7, 7, -1e-9), r"probabilities\[7, 7\] of query {seventh} is -1e-09, expected"),
    "not a number": (lambda a: at(a, 7, 0, np.nan), r"probabilities\[7, 0\] of query {seventh} is nan"),
    "infinite": (lambda a: at(a, 7, 0, np.inf), r"of query {seventh} is inf"),
    "texts": (lambda a: {"probabilities": a["probabilities"].astype(str)}, "probabilities has dtype <U.*real numbers"),
    "complex": (lambda a: {"probabilities": a["probabilities"] + 0j}, "probabilities has dtype complex128"),
    "pickles": (lambda a: {"ids": a["ids"].astype(object)}, r"is no \.npz file of plain arrays .*without pickle"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case, table, tmp_path):
    change, says = WRONG[case]
    arrays = make(table)
    path = written(tmp_path / "p.npz", {k: v for k, v in (arrays | change(arrays)).items() if v is not None})
    names = {"first": table.ids[0], "seventh": table.ids[7], "model": table.models[0]}
    for name, value in names.items():
        says = says.replace(f"{{{name}}}", str(value))
    with pytest.raises(TableError, match=says) as caught:
        foreign.scores_of(path, table, 0.5)
    assert str(path) in str(caught.value)


def test_a_file_that_is_none_or_no_npz_says_what_is_expected(table, tmp_path):
    with pytest.raises(TableError, match=r"no scores at nowhere\.npz: router\.path must name the \.npz file"):
        foreign.scores_of("nowhere.npz", table, 0.5)
    np.save(tmp_path / "p.npy", make(table)["probabilities"])
    with pytest.raises(TableError, match=r"p\.npy is no \.npz file of plain arrays"):
        foreign.scores_of(tmp_path / "p.npy", table, 0.5)


@pytest.mark.parametrize("given", [("router=file",), ("router=knn", "router.path=p.npz"), ("router.path=p.npz",)])
def test_a_path_goes_with_router_file_and_with_no_other(given):
    with pytest.raises(ConfigError, match=r"router=file needs router\.path=FILE\.npz, the others none"):
        composed(*given)


# ---------------------------------------------------------------- the whole road


def settings(tmp_path, arrays: dict, *overrides: str):
    path = written(tmp_path / "theirs.npz", arrays)
    return composed(*FIELD, "router=file", f"router.path={path}", f"run_dir={tmp_path}/run",
                    f"cache_dir={tmp_path}/cache", *overrides)


def test_a_run_is_judged_and_calibrated_again_but_cannot_route(table, tmp_path):
    arrays = make(table)
    run = finished(settings(tmp_path, arrays))
    assert {p.name for p in run.iterdir()} == {"config.yaml", "scores.npz", "calibration.json", "report.json",
                                               "metrics.jsonl", "recorded.parquet"}
    assert not (tmp_path / "cache").exists()  # nothing was trained or embedded
    record, fingerprint = read(run / "calibration.json"), hashing.of_file(tmp_path / "theirs.npz")
    assert record["fingerprint"]["router"] == fingerprint and record["coupling"] is not None
    np.testing.assert_array_equal(scores_file.load(run / "scores.npz").own, arrays["probabilities"][:, :-1])
    before = read(run / "report.json")
    stages.calibrate_run(run, SetsConfig("gap", "learned", joint="none"), RiskConfig(alpha=0.4))
    assert read(run / "calibration.json")["alpha"] == 0.4 and not (run / "report.json").exists()
    np.testing.assert_array_equal(scores_file.load(run / "scores.npz").probabilities, arrays["probabilities"])
    stages.evaluate_run(run)
    after = read(run / "report.json")
    assert (after["alpha"], after["family"]) == (0.4, "gap")
    assert after["baselines"]["best_single"] == before["baselines"]["best_single"]
    assert len(list((run / "figures").glob("*.png"))) == 4
    with pytest.raises(ConfigError, match=r"no router in .*run: .*\(router=file, scores=FILE\) has none and cannot"):
        Router.load(run)


def test_the_command_that_routes_says_that_there_is_no_router(table, tmp_path):
    run = finished(settings(tmp_path, make(table)))
    said = script("route", f"run={run}", "query=What is 2+2?", cwd=tmp_path, fails=True)
    assert said.startswith("error: no router in") and "cannot route a new query" in said and said.count("\n") == 1


def test_another_file_is_another_router(table, tmp_path):
    first = finished(settings(tmp_path, make(table)))
    kept = (first / "calibration.json").read_bytes()
    finished(settings(tmp_path, make(table, seed=1)))
    (first / "calibration.json").write_bytes(kept)
    with pytest.raises(ConfigError, match=r"was made for router \w+, this router is"):
        stages.evaluate_run(first)


def test_the_router_of_an_earlier_job_does_not_stay_beside_scores_that_are_not_its_own(table, field_run, tmp_path):
    run = shutil.copytree(field_run("knn"), tmp_path / "run")
    assert Router.load(run).models == table.models
    finished(settings(tmp_path, make(table)))
    assert not (run / "router").exists()


@pytest.mark.parametrize(("change", "overrides", "says"), [
    ({"ids": None}, (), "lacks ids"),
    ({}, ("sets.null=learned",), "sets.null=learned with .* the router here is file"),
    ({}, ("sets.joint=own",), "sets.joint=own needs one of latent, the router here is file"),
    ({}, ("sets.null=joint", "sets.joint=none"), "needs one of latent"),
])
def test_a_refusal_costs_a_run_nothing(change, overrides, says, table, field_run, tmp_path):
    run = shutil.copytree(field_run("knn"), tmp_path / "run")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    arrays = {k: v for k, v in (make(table, null=False) | change).items() if v is not None}
    with pytest.raises((ConfigError, TableError), match=says):
        pipeline.run(settings(tmp_path, arrays, *overrides))
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


class Mirror:
    """What a wandb run is asked to do."""

    def __init__(self):
        self.summary, self.logged, self.artifacts = {}, [], []
        self.log, self.log_artifact = self.logged.append, self.artifacts.append


def test_the_mirror_takes_a_run_without_a_router(table, field_run, tmp_path):
    run = finished(settings(tmp_path, make(table)))
    tracker = Tracker(run, TrackingConfig(wandb="off"), {})
    tracker.run = Mirror()
    tracker.summarise(read(run / "report.json"), [])
    assert tracker.run.summary["report/alpha"] == 0.3 and tracker.run.artifacts == []
    trained = Tracker(shutil.copytree(field_run("knn"), tmp_path / "knn"), TrackingConfig(wandb="off"), {})
    trained.run = Mirror()
    trained.summarise(read(tmp_path / "knn" / "report.json"), [])
    assert len(trained.run.artifacts) == 1
