"""The main job, whole and small: what a run folder holds, and what it never holds."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, composed
from safetensors.numpy import load_file

from racer import conformal, pipeline, stages
from racer import scores as scores_file
from racer.config import RiskConfig, SetsConfig
from racer.errors import ConfigError, Infeasible, TableError
from racer.router import Router

CONTRACT = {"alpha", "n", "models", "risk", "set_size", "set_size_histogram", "null_admitted", "abstention",
            "unsolvable", "cost", "top1_accuracy", "set_accuracy", "baselines"}


def read(path):
    return json.loads(path.read_text())


def routers(config) -> list:
    return sorted(p.name for p in (config_cache(config) / "routers").glob("*") if p.is_dir())


def config_cache(config):
    from pathlib import Path

    return Path(config.cache_dir)


def test_the_run_folder_holds_what_the_contract_says(small_run):
    names = {p.relative_to(small_run).as_posix() for p in small_run.rglob("*") if p.is_file()}
    assert {"config.yaml", "scores.npz", "calibration.json", "report.json", "metrics.jsonl", "router/router.json",
            "router/head.safetensors", "router/fingerprints.json", "router/encoder/model.safetensors",
            "router/encoder/tokenizer.json"} <= names
    assert {n for n in names if n.startswith("figures/")} == {
        "figures/risk_and_size.png", "figures/set_size_histogram.png", "figures/reliability.png",
        "figures/accuracy_cost.png"}
    report = read(small_run / "report.json")
    assert set(report) >= CONTRACT and set(report["risk"]) == {
        "misrouting", "miss", "miss_given_solvable", "over_abstention", "harm"}
    assert set(report["baselines"]) == {"best_single", "best_per_task", "random", "top2", "all", "oracle"}
    assert "simulated" in report["table"]


@pytest.mark.parametrize("family", ["coverage", "gap"])
def test_an_outsider_can_recompute_cut_and_report_from_the_files(family, small_run, tmp_path):
    (tmp_path / "scores.npz").write_bytes((small_run / "scores.npz").read_bytes())
    stages.calibrate_run(tmp_path, SetsConfig(family), RiskConfig())
    stages.evaluate_run(tmp_path)
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as file:
        a = dict(file)
    calibration, report = read(tmp_path / "calibration.json"), read(tmp_path / "report.json")
    p, y = a["probabilities"], a["outcomes"]
    right = np.column_stack([y, ~y.any(axis=1)])
    s = p.max(axis=1, keepdims=True) - p if family == "gap" else coverage_by_loops(a, calibration)
    s[:, -1] = -np.inf
    assert (calibration["family"], calibration["null"]) == (family, "free")
    served = np.where(right, s, np.inf).min(axis=1)[a["split"] == "calibration"]
    unserved = sorted(served)[::-1]
    n, alpha, delta = len(served), calibration["alpha"], calibration["delta"]
    tail = lambda j: sum(math.comb(n, k) * alpha**k * (1 - alpha) ** (n - k) for k in range(j + 1))  # noqa: E731
    allowed = max(j for j in range(n) if tail(j) <= delta)
    cut = calibration["cut"]
    assert cut == unserved[allowed] if family == "gap" else cut == pytest.approx(unserved[allowed], rel=1e-12)
    if family == "coverage":  # the loops add in another order: take the stored cut up to rounding
        cut += 1e-12
    test = a["split"] == "test"
    chosen = s[test] <= cut
    assert report["risk"]["misrouting"]["value"] == pytest.approx(1 - (chosen & right[test]).any(axis=1).mean())
    assert report["set_size"]["value"] == pytest.approx(chosen[:, :-1].sum(axis=1).mean())
    assert report["n"]["test"] == test.sum() and report["unsolvable"]["value"] == pytest.approx(right[test, -1].mean())


def coverage_by_loops(a: dict, calibration: dict) -> np.ndarray:
    """s of the family `coverage`, query by query, from the joint and the expected costs in the file."""
    prices = np.array(calibration["prices"])
    np.testing.assert_allclose(prices, a["cost"][a["split"] == "train"].mean(axis=0))
    assert calibration["query_costs"] is True
    s = np.empty(a["probabilities"].shape)
    for i, (logits, loadings) in enumerate(zip(a["logits"], a["loadings"], strict=True)):
        cost = (a["expected_cost"][i] / prices.mean()) ** calibration["cost_power"]
        right = 1 / (1 + np.exp(-(logits[:, None] + loadings[:, None] * a["nodes"])))  # (M, Q)
        np.testing.assert_allclose(right @ a["weights"], a["probabilities"][i, :-1], rtol=1e-9)
        missed, waiting = a["weights"].copy(), list(range(len(cost)))
        while waiting:
            best = max(waiting, key=lambda m: (right[m] @ missed) / cost[m])
            s[i, best] = -(right[best] @ missed) / cost[best]
            missed *= 1 - right[best]
            waiting.remove(best)
    return s


def test_metrics_hold_the_curve_and_the_report(small_run):
    lines = [json.loads(line) for line in (small_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "epoch" in line] == [1, 2]
    risk = read(small_run / "report.json")["risk"]["misrouting"]["value"]
    assert lines[-1]["report"]["risk/misrouting/value"] == risk


def test_another_risk_level_uses_the_router_that_is_there(small_config, small_run, tmp_path):
    before = routers(small_config)
    pipeline.run(replace(small_config, risk=RiskConfig(alpha=0.2), run_dir=str(tmp_path)))
    assert routers(small_config) == before
    for name in ("head.safetensors", "fingerprints.json"):
        assert (tmp_path / "router" / name).read_bytes() == (small_run / "router" / name).read_bytes()
    curve = [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "epoch" in line]
    assert len(curve) == 2  # both epochs are told again
    assert read(tmp_path / "calibration.json")["cut"] < read(small_run / "calibration.json")["cut"]


@pytest.mark.parametrize("override", ["seed=1", "head=softmax", "head=multilabel", "head.hidden=0", "train.lr=0.01",
                                      "encoder.pooling=cls", "data.right_at=0.4", "train.soft_labels=true",
                                      "data.seed=5"])
def test_whatever_changes_the_router_trains_another(override, small_config, small_run, tmp_path):
    config = composed(*SMALL, f"cache_dir={small_config.cache_dir}", override)
    before = routers(small_config)
    pipeline.run(replace(config, run_dir=str(tmp_path)))
    assert len(routers(small_config)) == len(before) + 1


def test_the_same_settings_train_the_same_weights(small_config, small_run, tmp_path):
    pipeline.run(replace(small_config, cache_dir=str(tmp_path / "cache"), run_dir=str(tmp_path / "run")))
    old, new = (load_file(run / "router" / "head.safetensors") for run in (small_run, tmp_path / "run"))
    for name, value in old.items():
        np.testing.assert_array_equal(new[name], value)


def test_fine_tuning_goes_the_whole_road(small_config, tmp_path):
    config = composed(*SMALL, f"cache_dir={small_config.cache_dir}", "encoder.freeze=false", "data.n=200",
                      "risk.method=crc", "head=softmax", "sets.null=one_minus_max", "sets.family=probability")
    evaluation = pipeline.run(replace(config, run_dir=str(tmp_path)))
    assert evaluation.report["method"] == "crc" and evaluation.report["delta"] is None
    scores = scores_file.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(scores.probabilities[:, :-1].sum(axis=1), 1)
    np.testing.assert_array_equal(scores.probabilities[:, -1], 1 - scores.probabilities[:, :-1].max(axis=1))


def test_an_infeasible_level_is_found_before_training_and_leaves_nothing_stale(small_config, small_run, tmp_path):
    pipeline.run(replace(small_config, run_dir=str(tmp_path)))
    before = routers(small_config)
    config = composed(*SMALL, f"cache_dir={small_config.cache_dir}", "risk.alpha=0.001", "seed=77")
    with pytest.raises(Infeasible, match=r"needs n >= 2302 calibration queries, got n = \d+"):
        pipeline.run(replace(config, run_dir=str(tmp_path)))
    assert routers(small_config) == before
    assert not any((tmp_path / name).exists() for name in ("calibration.json", "report.json", "figures"))


@pytest.mark.parametrize("asked", [("head=softmax", "sets.null=learned"), ("head=latent", "sets.null=learned"),
                                   ("router=routerdc", "sets.null=learned"), ("router=knn", "sets.joint=own"),
                                   ("head=multilabel", "sets.null=joint", "sets.joint=none")])
def test_what_the_router_does_not_learn_is_refused_before_training(asked, small_config, tmp_path):
    config = composed(*SMALL, f"cache_dir={tmp_path}/cache", f"run_dir={tmp_path}/run", *asked)
    with pytest.raises(ConfigError, match=r"sets.null=\w+.* needs one of"):
        pipeline.run(config)
    assert not (tmp_path / "cache").exists()


def test_recalibrating_below_what_is_feasible_leaves_nothing_stale(small_config, tmp_path):
    pipeline.run(replace(small_config, run_dir=str(tmp_path)))
    with pytest.raises(Infeasible) as caught:
        stages.calibrate_run(tmp_path, SetsConfig(), RiskConfig(alpha=0.001, method="crc"))
    assert caught.value.needed == 999 and caught.value.n == conformal_n(tmp_path)
    assert not any((tmp_path / name).exists() for name in ("calibration.json", "report.json", "figures"))


def conformal_n(run) -> int:
    return int((scores_file.load(run / "scores.npz").split == "calibration").sum())


@pytest.mark.parametrize("null", ["joint", "one_minus_max", "product", "free"])
@pytest.mark.parametrize("family", ["probability", "gap", "coverage"])
def test_every_family_and_null_calibrates_from_the_same_scores(family, null, small_run, tmp_path):
    scores = scores_file.load(small_run / "scores.npz")
    scores.save(tmp_path / "scores.npz")
    for loss in ("misrouting", "miss"):
        artifact = stages.calibrate_run(tmp_path, SetsConfig(family, null), RiskConfig(loss=loss))
        stored = scores_file.load(tmp_path / "scores.npz")
        assert stored.null == artifact.rule.null == null
        np.testing.assert_array_equal(stored.probabilities[:, :-1], scores.probabilities[:, :-1])
        assert artifact.calibration.unserved <= artifact.calibration.allowed
        assert artifact.calibration.allowed == conformal.allowed_unserved(conformal_n(tmp_path), 0.1, "pac", 0.1)
        report = stages.evaluate_run(tmp_path).report
        assert 0 <= report["risk"][loss]["value"] <= 1


def test_scores_of_another_router_or_null_are_not_judged_by_this_calibration(small_run, tmp_path):
    (tmp_path / "calibration.json").write_bytes((small_run / "calibration.json").read_bytes())
    scores = scores_file.load(small_run / "scores.npz")
    scores.with_null("product").save(tmp_path / "scores.npz")
    with pytest.raises(ConfigError, match=r"has the null product, calibration\.json is for free"):
        stages.evaluate_run(tmp_path)
    replace(scores, fingerprint={"router": "feed"}).save(tmp_path / "scores.npz")
    with pytest.raises(ConfigError, match="this router is feed"):
        stages.evaluate_run(tmp_path)


def test_the_same_content_under_another_name_keeps_its_own_name(small_config, small_run, tmp_path):
    from racer import data

    table = data.load(small_config.data)
    replace(table, card=table.card | {"name": "real", "simulated": False}).save(tmp_path / "table")
    config = replace(small_config, data=replace(small_config.data, path=str(tmp_path / "table")))
    evaluation = pipeline.run(replace(config, run_dir=str(tmp_path / "run")))
    assert evaluation.report["table"] == "real" and "simulated" in read(small_run / "report.json")["table"]


def test_damage_to_one_run_reaches_no_other_and_a_damaged_cache_is_trained_again(small_config, tmp_path):
    config = replace(small_config, cache_dir=str(tmp_path / "cache"))
    for name in ("a", "b"):
        pipeline.run(replace(config, run_dir=str(tmp_path / name)))
    with open(tmp_path / "a" / "router" / "router.json", "a") as file:
        file.write(" ")
    Router.load(tmp_path / "b")
    [home] = [p for p in (tmp_path / "cache" / "routers").iterdir() if p.is_dir()]
    (home / "router" / "head.safetensors").unlink()
    pipeline.run(replace(config, run_dir=str(tmp_path / "a")))
    a, b = (load_file(tmp_path / name / "router" / "head.safetensors") for name in "ab")
    for name, value in a.items():
        np.testing.assert_array_equal(b[name], value)


def test_an_input_that_cannot_be_read_costs_a_run_nothing(small_config, small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    with pytest.raises(TableError):
        pipeline.run(replace(small_config, run_dir=str(run), data=replace(small_config.data, path="/nowhere.csv")))
    with pytest.raises(TableError):
        stages.calibrate_run(tmp_path / "other", SetsConfig(), RiskConfig(), tmp_path / "nowhere.npz")
    with pytest.raises(ConfigError, match="holds a router of its own"):
        stages.calibrate_run(run, SetsConfig(), RiskConfig(), small_run / "scores.npz")
    assert (run / "calibration.json").exists() and (run / "report.json").exists() and not (tmp_path / "other").exists()


def test_awkward_names_are_shown_as_they_are(small_config, tmp_path, capsys):
    from racer import data, show

    table = data.load(small_config.data)
    table = replace(table, task=np.where(table.task == "logic", "[/b] [red]", table.task),
                    models=("model[instruct]", *table.models[1:]), card=table.card | {"name": "[bold]"})
    table.save(tmp_path / "table")
    config = replace(small_config, data=replace(small_config.data, path=str(tmp_path / "table")))
    evaluation = pipeline.run(replace(config, run_dir=str(tmp_path / "run")))
    show.report(evaluation.report, evaluation.figures)
    router = Router.load(tmp_path / "run")
    show.decisions(["[b]?"], router.route(["[b]?"]), router.artifact, router.settings.trained_on)
    printed = capsys.readouterr().out
    for name in ("[/b] [red]", "model[instruct]", "[bold] (simulated)", "[b]?"):
        assert name in printed
