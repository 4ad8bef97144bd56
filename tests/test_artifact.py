"""calibration.json: every bit of the cut comes back, and no other router may use it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from racer import __version__
from racer.artifact import Artifact, load
from racer.conformal import calibrate
from racer.errors import ConfigError
from racer.rule import SetRule

MODELS = ("b", "a", "大")


def make(cut: float = 0.25, method: str = "pac", **fields) -> Artifact:
    """`cut` may be any float: all S are that number."""
    calibration = calibrate(np.full(40, cut), 0.1, method, 0.1)
    assert calibration.cut == cut
    rule, fingerprint = SetRule("gap", "product", prices=(0.1, 0.25, 1 / 3)), {"router": "r1", "table": "t1"}
    return replace(Artifact(rule, "miss", calibration, MODELS, fingerprint), **fields)


@pytest.mark.parametrize("method", ["crc", "pac"])
def test_what_is_saved_is_loaded(tmp_path, method):
    artifact = make(method=method)
    artifact.save(tmp_path / "calibration.json")
    assert load(tmp_path / "calibration.json") == artifact
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]  # nothing partial is left


@pytest.mark.parametrize("cut", [1 / 3, 0.1 + 0.2, np.nextafter(1, 0), 5e-324, 1 - 1e-16, 0.0, 1.0, -np.inf])
def test_the_cut_keeps_every_bit(tmp_path, cut):
    make(cut).save(tmp_path / "c.json")
    back = load(tmp_path / "c.json").calibration.cut
    assert type(back) is float and np.float64(back).tobytes() == np.float64(cut).tobytes()


def test_random_cuts_keep_every_bit(tmp_path):
    for cut in np.random.default_rng(0).random(200):
        make(float(cut)).save(tmp_path / "c.json")
        assert load(tmp_path / "c.json").calibration.cut == cut


def test_minus_infinity_is_a_string_so_that_the_file_is_json(tmp_path):
    make(-np.inf).save(tmp_path / "c.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads((tmp_path / "c.json").read_text(), parse_constant=refuse)["cut"] == "-inf"


def test_the_file_says_the_promise_to_a_reader(tmp_path):
    make().save(tmp_path / "c.json")
    record = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert {name: record[name] for name in ("family", "null", "loss", "method", "alpha", "delta", "cut", "n", "allowed",
                                            "unserved")} == {
        "family": "gap", "null": "product", "loss": "miss", "method": "pac", "alpha": 0.1, "delta": 0.1, "cut": 0.25,
        "n": 40, "allowed": 1, "unserved": 0}
    assert (record["models"], record["fingerprint"]) == (list(MODELS), {"router": "r1", "table": "t1"})
    assert record["racer"] == __version__
    assert record["bound"] == pytest.approx(1 - 0.1 ** (1 / 40))


def test_its_own_router_may_use_it():
    assert make().check("r1", MODELS) is None


def test_another_router_is_refused():
    with pytest.raises(ConfigError, match=r"made for router r1, this router is r2: .*scripts/train\.py"):
        make().check("r2", MODELS)
    with pytest.raises(ConfigError, match="made for router None, this router is r1"):
        make(fingerprint={"table": "t1"}).check("r1", MODELS)


@pytest.mark.parametrize("models", [("a", "b", "大"), ("b", "a"), ("b", "a", "大", "c"), ("b", "a", "小")])
def test_other_models_or_another_order_are_refused(models):
    with pytest.raises(ConfigError, match=f"models b, a, 大, the router has {', '.join(models)}: .*calibrate"):
        make().check("r1", models)


def test_no_file_is_said_with_the_next_step(tmp_path):
    with pytest.raises(ConfigError, match=r"no calibration at .*run `python scripts/calibrate\.py run=DIR` first"):
        load(tmp_path / "calibration.json")


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"family": "gap", "cut": "high"}'])
def test_a_file_that_is_no_calibration_says_so(content, tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not a calibration"):
        load(path)
