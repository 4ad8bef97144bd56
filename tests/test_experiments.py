"""The experiments: every preset composes, the cheap ones run small; many splits of the same rows."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CONF, SMALL, composed, finished
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from racer import comparison, experiment
from racer import config as schemas
from racer import scores as scores_file
from racer.choice import set_rule
from racer.conformal import calibrate
from racer.errors import ConfigError, TableError
from racer.losses import least_cut
from racer.repeated import parts

ROOT = Path(__file__).parents[1]
OF_SPLITS = ("calibration_size", "paper_protocol")  # of scripts/experiment.py; the others are sweeps of train.py
NAMES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
MORE = {"distribution_shift": ("data.n=1600",)}  # weights are estimated on 50 rows of each kind or more
SWEEPS = [name for name in NAMES if name not in OF_SPLITS]


def jobs_of(name: str) -> list[list[str]]:
    """Return the overrides of each job of a sweep, as Hydra's sweeper makes them of the preset."""
    schemas.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = compose("train", overrides=[f"experiment={name}"], return_hydra_config=True).hydra
    assert (hydra.mode.name, hydra.sweep.dir) == ("MULTIRUN", f"outputs/{name}")
    given = [f"{key}={values}" for key, values in hydra.sweeper.params.items()]
    return BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(given), None)[0]


def test_the_experiments_asked_for_are_there():
    assert {"paper_protocol", "alpha_sweep", "backbone_sweep", "families", "cost", "distribution_shift", "pool_growth",
            "calibration_size"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_says_what_it_shows_and_its_settings_are_valid(name):
    header = (CONF / "experiment" / f"{name}.yaml").read_text()
    script = "experiment" if name in OF_SPLITS else "train"
    assert f"scripts/{script}.py" in header and f"experiment={name}" in header
    assert all(f"# {word}: " in header for word in ("Shows", "Takes", "Expect"))
    if name in OF_SPLITS:
        settings = composed(f"experiment={name}", name="experiment")
        variants = [experiment.variant_of(settings, k, v) for k, v in settings.variants.items()]
        assert len({str(v) for v in variants}) == len(settings.variants) and settings.splits.repeats >= 20
    else:
        settings = [composed(f"experiment={name}", *overrides) for overrides in jobs_of(name)]
        assert len({str(replace(s, run_dir="")) for s in settings}) == len(settings) >= 4


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_run_small(name, small_config, tmp_path):
    overrides = [o for o in jobs_of(name)[-1] if not o.startswith(("encoder=", "head="))]  # those of a trained router
    given = (f"experiment={name}", *SMALL, *MORE.get(name, ()), *overrides, f"run_dir={tmp_path}",
             f"cache_dir={small_config.cache_dir}")
    assert (finished(composed(*given)) / "report.json").is_file()


@pytest.fixture(scope="module")
def small_experiment(small_config):
    return composed("experiment=calibration_size", *SMALL, f"cache_dir={small_config.cache_dir}", "splits.repeats=4",
                    "splits.calibration=[10,0.2,40]", "splits.test=0.3", "alphas=[0.1,0.3]", name="experiment")


def test_findings_are_those_of_a_plain_loop(small_experiment, small_run, tmp_path):
    found = experiment.run(small_experiment)
    assert len(found) == 3 * 2 * 2 and {f.test for f in found} == {found[0].test}
    scores, rule = set_rule(scores_file.load(small_run / "scores.npz"), small_experiment.sets, small_experiment.risk)
    rows = scores.take(np.isin(scores.split, ("calibration", "test")))
    served, n = least_cut(rule.of_scores(rows), rows.outcomes, "misrouting"), len(rows.ids)
    assert {f.calibration for f in found} == {10, int(0.2 * n), 40} and found[0].test == int(0.3 * n)
    for f in found:
        first, second = parts(n, f.calibration, f.test, 4, np.random.default_rng(0))
        if f.method == "pac" and f.alpha == 0.1 and f.calibration < 22:
            assert f.numbers["risk"] is None and f.above_alpha is None and f.row()["risk/value"] == ""
            continue
        cuts = [calibrate(served[part], f.alpha, f.method, 0.1).cut for part in first]
        risks = [np.mean(served[part] > cut) for part, cut in zip(second, cuts, strict=True)]
        assert f.numbers["risk"]["value"] == pytest.approx(np.mean(risks))
        assert f.above_alpha == np.mean(np.array(risks) > f.alpha)
        half = 3.182446305284263 * np.sqrt((1 / 4 + f.test / (n - f.test)) * np.var(risks, ddof=1))
        assert f.numbers["risk"]["high"] - np.mean(risks) == pytest.approx(half)
        best = rows.probabilities[:, :-1].argmax(axis=1)
        top1 = np.mean([rows.outcomes[part][np.arange(f.test), best[part]].mean() for part in second])
        assert f.numbers["top1_accuracy"]["value"] == pytest.approx(top1)
    assert comparison.draw_findings(found, tmp_path / "f.png").stat().st_size > 5000


def test_variants_and_tasks_are_judged_apart(small_experiment):
    settings = replace(small_experiment, by_task=True, variants={"a": {}, "b": {"sets": {"family": "gap"}}},
                       splits=replace(small_experiment.splits, calibration=[0.5]), alphas=[0.4], methods=["crc"])
    found = experiment.run(settings)
    assert len({f.ground for f in found}) == 5 and {f.variant for f in found} == {"a", "b"} and len(found) == 10
    size = {(f.ground, f.variant): f.numbers["size"]["value"] for f in found}
    assert any(size[ground, "a"] != size[ground, "b"] for ground, _ in size)


@pytest.mark.parametrize(("variant", "says"), [
    ({"data": {"n": 5}}, "which all variants share"), ({"sets": {"famly": "gap"}}, "famly"),
    ({"sets": {"family": "none"}}, "expected one of"), ({"sets": {"choose": "size"}}, "set sets.choose=no")])
def test_a_variant_that_does_not_fit_is_refused(small_experiment, variant, says):
    with pytest.raises(ConfigError, match=says):
        experiment.run(replace(small_experiment, variants={"v": variant}))


def test_parts_are_disjoint_and_smaller_calibrations_are_parts_of_larger():
    small, judged = parts(50, 10, 20, 6, np.random.default_rng(3))
    large, also = parts(50, 30, 20, 6, np.random.default_rng(3))
    assert (small.sum(axis=1) == 10).all() and (large.sum(axis=1) == 30).all() and (judged.sum(axis=1) == 20).all()
    np.testing.assert_array_equal(judged, also)
    assert not (small & ~large).any() and not (large & judged).any()
    assert len({row.tobytes() for row in judged}) == 6
    for calibrate_on, judge in ((31, 20), (0, 20), (10, 0)):
        with pytest.raises(ConfigError, match="lower splits"):
            parts(50, calibrate_on, judge, 6, np.random.default_rng(3))


def test_a_pool_is_some_models_of_the_table_in_the_order_asked_for():
    whole = composed("data.n=50").data
    from racer import data

    table, pool = data.load(whole), data.load(replace(whole, models=["executive-chef", "commis-3b"]))
    assert pool.models == ("executive-chef", "commis-3b") and pool.fingerprint() != table.fingerprint()
    for name in ("scores", "cost", "answers", "output_tokens"):
        np.testing.assert_array_equal(getattr(pool, name), getattr(table, name)[:, [6, 0]])
    for bad in (["commis-3b", "nobody"], ["commis-3b"], ["commis-3b", "commis-3b"]):
        with pytest.raises(TableError, match="at least two different names of the table 'kitchen': commis-3b"):
            data.load(replace(whole, models=bad))


def test_the_script_writes_a_table_and_a_figure(small_config, tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "experiment.py"), *SMALL, "splits.repeats=3",
                           f"cache_dir={small_config.cache_dir}", "run_dir=out", "splits.calibration=[30,60]"],
                          cwd=tmp_path, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["calibration"] + r["method"] for r in rows] == ["30crc", "30pac", "60crc", "60pac"]
    assert all(float(r["size/low"]) <= float(r["size/value"]) <= float(r["size/high"]) for r in rows)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["results.csv", "results.png"]


def test_the_commands_that_make_the_numbers_are_there():
    """Every script exists that a page, or the list of commands, says its numbers were made by."""
    import re

    listed = (ROOT / "docs" / "reproduce.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        made = re.findall(r"[Mm]ade by `python ([\w/]+\.py)", page.read_text())
        assert all((ROOT / path).is_file() for path in made), page.name
    assert all((ROOT / path).is_file() for path in re.findall(r"`python ([\w/]+\.py)", listed))
    assert all((ROOT / "docs" / page).is_file() for page in re.findall(r"\]\((\w+\.md)\)", listed))
