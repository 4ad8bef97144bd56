"""calibration.json: every bit of the cut comes back, and no other router may use it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from racer import __version__, band, bounded, sealed
from racer.artifact import Artifact, load
from racer.calibrations import ByGroup, ByWeight, Online
from racer.conformal import calibrate
from racer.context import Context
from racer.errors import ConfigError
from racer.fingerprints import differing, of_router, of_scores
from racer.group import calibrate_groups
from racer.ltt import CertifiedCalibration
from racer.online import online_level
from racer.risk import Risk
from racer.rule import SetRule
from racer.scores import Scores
from racer.steps import Steps
from racer.weighted import DensityRatio, calibrate_weighted

MODELS = ("b", "a", "大")


def make(cut: float = 0.25, method: str = "pac", **fields) -> Artifact:
    """`cut` may be any float: all S are that number."""
    calibration = calibrate(np.full(40, cut), 0.1, method, 0.1)
    assert calibration.cut == cut
    rule, fingerprint = SetRule("gap", "product", prices=(0.1, 0.25, 1 / 3)), {"router": "r1", "table": "t1"}
    return replace(Artifact(rule, Risk("miss", method), calibration, MODELS, fingerprint), **fields)


@pytest.mark.parametrize("method", ["crc", "pac"])
def test_what_is_saved_is_loaded(tmp_path, method):
    artifact = make(method=method)
    artifact.save(tmp_path / "calibration.json")
    assert load(tmp_path / "calibration.json") == artifact
    replace(artifact, reference=2).save(tmp_path / "calibration.json")
    assert load(tmp_path / "calibration.json").reference == 2
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
    assert make().check({"router": "r1"}, MODELS) is None
    assert make().check({"router": "r1", "table": "t1", "splits": "unknown to the calibration"}, MODELS) is None


def test_another_router_is_refused():
    with pytest.raises(ConfigError, match=r"made for router r1, this router is r2: .*scripts/train\.py"):
        make().check({"router": "r2"}, MODELS)
    with pytest.raises(ConfigError, match="made for router None, this router is r1"):
        make(fingerprint={"table": "t1"}).check({"router": "r1"}, MODELS)


@pytest.mark.parametrize("models", [("a", "b", "大"), ("b", "a"), ("b", "a", "大", "c"), ("b", "a", "小")])
def test_other_models_or_another_order_are_refused(models):
    with pytest.raises(ConfigError, match=f"models b, a, 大, the router has {', '.join(models)}: .*calibrate"):
        make().check({"router": "r1"}, models)


def test_no_file_is_said_with_the_next_step(tmp_path):
    with pytest.raises(ConfigError, match=r"no calibration at .*run `python scripts/calibrate\.py run=DIR` first"):
        load(tmp_path / "calibration.json")


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"family": "gap", "cut": "high"}'])
def test_a_file_that_is_no_calibration_says_so(content, tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"is not a calibration.*calibrate\.py run=DIR"):
        load(path)
    if content.startswith("{"):
        sealed.write(path, json.loads(content))
        with pytest.raises(ConfigError, match=r"is not a calibration \(KeyError"):
            load(path)


@pytest.mark.parametrize(("changed", "says"), [
    ({"alpha": 0.01}, "changed after it was written"), ({"cut": 0.5}, "changed after it was written"),
    ({"seal": "0"}, "changed after it was written"), ({"note": "mine"}, "changed after it was written"),
    (None, "has no seal: an earlier version wrote it")])
def test_a_calibration_that_was_edited_is_refused(changed, says, tmp_path):
    path = tmp_path / "calibration.json"
    make().save(path)
    record = json.loads(path.read_text())
    if changed is None:
        del record["seal"]
    path.write_text(json.dumps(record | (changed or {})))
    with pytest.raises(ConfigError, match=rf"{says}.*calibrate again.*calibrate\.py run=DIR"):
        load(path)


def test_a_calibration_written_anew_is_no_edited_one(tmp_path):
    """Layout and the order of keys are not what is sealed."""
    path = tmp_path / "calibration.json"
    make().save(path)
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    assert load(path) == make()


# ---------------------------------------------------------------- what it was made for, part by part


def test_each_part_that_differs_is_named():
    artifact = make(fingerprint={"router": "r1", "weights": "w", "tokenizer": "t", "dtype": "float32", "table": "x",
                                 "splits": "s"})
    found = dict(artifact.fingerprint)
    assert artifact.difference(found) is None
    for part in ("weights", "tokenizer", "dtype", "table", "splits"):
        assert f"made for other {part} than these" in artifact.difference(found | {part: "another"})
    assert "router r1, this router is r2 (other weights, splits):" in artifact.difference(
        found | {"router": "r2", "weights": "v", "splits": "z"})
    del found["tokenizer"]
    assert artifact.difference(found) is None  # unknown to the other side: not compared


def test_files_of_a_router_are_parted_by_what_they_are(tmp_path):
    def write(**changed):
        files = {"encoder/model.safetensors": "1", "encoder/tokenizer.json": "2", "encoder/vocab.txt": "3",
                 "encoder/config.json": "4", "head.safetensors": "5", "router.json": "6"} | changed
        record = {"router": "r", "dtype": "float32", "files": files}
        (tmp_path / "fingerprints.json").write_text(json.dumps(record))
        return of_router(tmp_path)

    before = write()
    assert set(before) == {"router", "weights", "tokenizer", "settings", "dtype"}
    for file, part in [("head.safetensors", "weights"), ("encoder/model.safetensors", "weights"),
                       ("encoder/tokenizer.json", "tokenizer"), ("encoder/vocab.txt", "tokenizer"),
                       ("encoder/config.json", "settings"), ("router.json", "settings")]:
        assert differing(before, write(**{file: "other"})) == [part]
    assert of_router(tmp_path / "nowhere") == {}


def test_splits_are_told_by_which_query_is_where_not_by_the_order_of_rows():
    scores = Scores(np.array(["a", "b"]), np.array(["calibration", "test"]), np.array(["x", "x"]), ("m", "n"),
                    np.zeros((2, 3)), np.zeros((2, 2), dtype=bool), fingerprint={"router": "r", "table": "t"})
    assert of_scores(scores) == of_scores(scores.take(np.array([1, 0])))
    assert differing(of_scores(scores), of_scores(replace(scores, split=scores.split[::-1]))) == ["splits"]


# ---------------------------------------------------------------- every kind of calibration comes back


def kinds():
    served = np.random.default_rng(0).random(200)
    served[:30] = -np.inf
    groups = np.repeat(["a", "-inf", "rare"], [120, 75, 5])
    steps_ = Steps(served[:, None], np.tile([1.0, 0.3], (200, 1)))
    ratio = DensityRatio(np.array([0.1]), np.array([1.0]), np.array([0.3]), 0.1, (0.05, 20.0), 1.0)
    by_weight = calibrate_weighted(served, np.linspace(0.1, 2, 200), 0.2)
    return [calibrate(served, 0.1), band.calibrate(served, 0.2, 0.1), bounded.crc(steps_, 0.5),
            CertifiedCalibration("ltt", 0.1, 0.1, -np.inf, 3, 9, 0.05, ({"loss": "miss", "alpha": 0.1, "observed": 0.0,
                                                                        "bound": 0.05},), "holm", 4, 2, 1.5),
            ByGroup.of(calibrate_groups(served, groups, 0.2), "task"), ByWeight.of(by_weight, ratio),
            ByWeight.of(by_weight, None), Online.of(online_level(served, 0.1, 0.01)),
            Online.of(online_level(served, 0.1, 0.01)).observe(1.0)]


@pytest.mark.parametrize("calibration", kinds(), ids=lambda c: c.kind)
def test_every_kind_keeps_every_bit_and_answers_the_same_questions(calibration, tmp_path):
    make(calibration=calibration).save(tmp_path / "c.json")
    back = load(tmp_path / "c.json").calibration
    assert back == calibration and type(back) is type(calibration)
    known = {"task": np.array(["a", "rare", "a"]), "weight": np.array([1.0, 0.2, 3.0])}
    context = Context(3, known, np.array([[0.1], [0.2], [0.9]]))
    cuts = back.cut_of(context)
    assert cuts.shape == (3,) and (cuts == calibration.cut_of(context)).all() and not np.isnan(cuts).any()
    promised = back.promised(context)
    assert promised.tolist() == {"group": [True, False, True], "online": [False] * 3}.get(back.kind, [True] * 3)
    for i in range(3):  # one row alone
        alone = Context(1, {k: v[i:i + 1] for k, v in known.items()}, context.features[i:i + 1])
        assert back.cut_of(alone)[0] == cuts[i]
        assert back.promised(alone).tolist() == [back.kind == "online" or promised[i]]
    nobody = Context(0, {name: [] for name in known}, context.features[:0])
    assert (back.promised(nobody).shape, back.promised(nobody).dtype) == ((0,), np.dtype(bool))
    assert (back.only == "") == promised.all()
    assert back.lines() and all(isinstance(line, str) for line in back.lines())
    assert back.expected(10) is None or 0 <= back.expected(10)["low"] <= back.expected(10)["high"] <= 1
    assert {"method", "alpha", "delta", "n", "bound", "kind"} <= set(dir(back)) and 0 < back.bound < 1
    json.loads((tmp_path / "c.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))


@pytest.mark.parametrize("floor", [False, True])
def test_by_group_nothing_is_promised_where_the_group_has_no_cut_of_its_own(floor):
    served, groups = np.linspace(0, 1, 200), np.repeat(["", "a", "rare"], [75, 120, 5])
    by_group = ByGroup.of(calibrate_groups(served, groups, 0.2, floor=floor), "task")
    asked = ["a", "", None, "rare", "A", "a "]
    assert by_group.promised(Context(6, {"task": asked})).tolist() == [True, True, False, False, False, False]
    with pytest.raises(ConfigError, match="say the task of every query"):
        by_group.promised(Context(6))
