"""scores.npz: every bit comes back, anyone's file is read, what is wrong in it is said."""

import json

import numpy as np
import pytest

from racer.errors import ConfigError, TableError
from racer.scores import REQUIRED, Scores, load

N, M = 6, 4
MODELS = ("small", "modèle", "大", "large")
SPLITS_OF = ["train", "validation", "calibration", "calibration", "test", "ood"]


def make(**changed) -> Scores:
    rng = np.random.default_rng(0)
    fields = dict(
        ids=np.array(["q1", "q2", "où", "北京", "a,b", "line\nbreak"]), split=np.array(SPLITS_OF),
        task=np.array(["x", "x", "y", "x", "y", "z"]), models=MODELS, probabilities=rng.random((N, M + 1)),
        outcomes=rng.random((N, M)) < 0.5, null="one_minus_max", learned_null=rng.random(N), cost=rng.random((N, M)),
        graded=rng.random((N, M)),
        table="kitchen", fingerprint={"router": "ab12", "table": "cd34", "seeds": [1, 2]})
    return Scores(**fields | changed)


def foreign(tmp_path, **changed):
    """A file of anyone's router: only the required arrays, some of them changed or (None) left out."""
    scores = make()
    arrays = {name: np.asarray(getattr(scores, name)) for name in REQUIRED} | changed
    path = tmp_path / "foreign.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def same(a: Scores, b: Scores) -> None:
    for name in ("ids", "split", "task", "probabilities", "outcomes", "learned_null", "cost", "graded"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (a.models, a.null, a.table, a.fingerprint) == (b.models, b.null, b.table, b.fingerprint)


# ---------------------------------------------------------------- what is written comes back


def test_what_is_saved_is_loaded_to_the_bit(tmp_path):
    p = np.random.default_rng(1).random((N, M + 1))
    p[0] = [0.0, 1.0, 5e-324, np.nextafter(1, 0), 0.1 + 0.2]
    scores = make(probabilities=p)
    scores.save(tmp_path / "scores.npz")
    back = load(tmp_path / "scores.npz")
    same(back, scores)
    assert back.probabilities.tobytes() == p.tobytes()
    assert (back.probabilities.dtype, back.outcomes.dtype) == (np.float64, bool)
    assert [p.name for p in tmp_path.iterdir()] == ["scores.npz"]  # nothing partial is left


def test_the_file_loads_without_pickle_even_from_object_columns(tmp_path):
    scores = make()
    texts = {name: getattr(scores, name).astype(object) for name in ("ids", "split", "task")}
    make(**texts).save(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as file:
        assert not any(file[name].dtype.hasobject for name in file)
    same(load(tmp_path / "scores.npz"), scores)


def test_what_is_unknown_comes_back_as_none(tmp_path):
    make(cost=None, learned_null=None).save(tmp_path / "s.npz")
    back = load(tmp_path / "s.npz")
    assert back.cost is back.learned_null is None


def test_a_second_save_replaces_the_first(tmp_path):
    make().save(tmp_path / "s.npz")
    make(table="other").save(tmp_path / "s.npz")
    assert load(tmp_path / "s.npz").table == "other"


# ---------------------------------------------------------------- rows and nulls


def test_take_keeps_every_column_in_step():
    scores = make()
    rows = np.array([4, 0, 2])
    taken = scores.take(rows)
    assert taken.ids.tolist() == [scores.ids[i] for i in rows]
    for name in ("split", "task", "probabilities", "outcomes", "learned_null", "cost", "graded"):
        np.testing.assert_array_equal(getattr(taken, name), [getattr(scores, name)[i] for i in rows], err_msg=name)
    assert (taken.models, taken.fingerprint, taken.null) == (scores.models, scores.fingerprint, scores.null)
    same(scores.take(np.isin(np.arange(N), [1, 3])), scores.take(np.array([1, 3])))
    assert make(cost=None).take(rows).cost is None


def test_splits_part_the_rows():
    scores = make()
    assert scores.of_split("calibration").ids.tolist() == ["où", "北京"]
    assert sum(len(scores.of_split(s).ids) for s in set(SPLITS_OF)) == N
    assert len(make(split=np.full(N, "test")).of_split("train").ids) == 0


@pytest.mark.parametrize("null", ["learned", "one_minus_max", "product", "free"])
def test_another_null_changes_the_last_column_only(null):
    scores = make()
    p = scores.probabilities[:, :-1].tolist()
    column = {"learned": scores.learned_null, "one_minus_max": [1 - max(row) for row in p], "free": [0.0] * N,
              "product": [np.prod([1 - x for x in row]) for row in p]}[null]
    changed = scores.with_null(null)
    np.testing.assert_allclose(changed.probabilities[:, -1], column, rtol=1e-14)
    np.testing.assert_array_equal(changed.probabilities[:, :-1], scores.probabilities[:, :-1])
    assert changed.null == null
    np.testing.assert_array_equal(changed.learned_null, scores.learned_null)


def test_a_null_that_was_never_learned_cannot_be_had():
    with pytest.raises(ConfigError, match="learned no such null"):
        make(learned_null=None).with_null("learned")


# ---------------------------------------------------------------- anyone's file


def test_a_file_with_the_required_arrays_alone(tmp_path):
    scores, back = make(), load(foreign(tmp_path))
    assert (back.null, back.table, back.cost) == ("learned", "foreign.npz", None)
    assert back.fingerprint == {"router": "unnamed"}
    np.testing.assert_array_equal(back.learned_null, scores.probabilities[:, -1])
    np.testing.assert_array_equal(back.probabilities, scores.probabilities)


def test_a_foreign_null_survives_another_choice_and_a_save(tmp_path):
    path = foreign(tmp_path)
    load(path).with_null("product").save(tmp_path / "scores.npz")
    product = load(tmp_path / "scores.npz")
    assert product.null == "product"
    np.testing.assert_array_equal(product.with_null("learned").probabilities, load(path).probabilities)


def test_a_file_that_names_its_null_has_learned_none_unless_it_says_so(tmp_path):
    back = load(foreign(tmp_path, null=np.array("one_minus_max")))
    assert (back.null, back.learned_null) == ("one_minus_max", None)


def test_numbers_of_other_types_are_taken(tmp_path):
    scores = make()
    back = load(foreign(tmp_path, probabilities=scores.probabilities.astype(np.float32),
                        outcomes=scores.outcomes.astype(int)))
    assert (back.probabilities.dtype, back.outcomes.dtype) == (np.float64, bool)
    np.testing.assert_array_equal(back.outcomes, scores.outcomes)
    np.testing.assert_array_equal(back.probabilities, scores.probabilities.astype(np.float32))
    assert load(foreign(tmp_path, outcomes=scores.outcomes.astype(float))).outcomes.dtype == bool


@pytest.mark.parametrize("stored, expected", [
    (json.dumps({"router": "r", "table": "t"}), {"router": "r", "table": "t"}), ("{}", {}),
    ("my-router-v2", {"router": "my-router-v2"}), ("", {"router": "unnamed"}), ("123", {"router": "123"}),
    ("[1]", {"router": "[1]"}), ("{broken", {"router": "{broken"}),
])
def test_a_fingerprint_may_be_a_json_object_or_any_text(tmp_path, stored, expected):
    assert load(foreign(tmp_path, fingerprint=np.array(stored))).fingerprint == expected


# ---------------------------------------------------------------- refused


def changed(name: str, at: tuple, value) -> np.ndarray:
    array = np.array(getattr(make(), name), dtype=float if name == "outcomes" else None)
    array[at] = value
    return array


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_array_is_named(tmp_path, missing):
    with pytest.raises(TableError, match=f"lacks {missing}: it has .*needed are ids, split, task, models"):
        load(foreign(tmp_path, **{missing: None}))


@pytest.mark.parametrize("change, message", [
    (dict(probabilities=np.full((N, M), 0.5)),
     r"probabilities has shape \(6, 4\), expected \(6, 5\) for 6 queries and 4 models \(M \+ 1 columns, the null last"),
    (dict(probabilities=np.full(N, 0.5)), r"probabilities has shape \(6,\), expected \(6, 5\)"),
    (dict(probabilities=np.full((N - 1, M + 1), 0.5)), r"probabilities has shape \(5, 5\), expected \(6, 5\)"),
    (dict(outcomes=np.ones((N, M + 1))), r"outcomes has shape \(6, 5\), expected \(6, 4\)"),
    (dict(outcomes=np.ones((M, N))), r"outcomes has shape \(4, 6\), expected \(6, 4\)"),
    (dict(split=np.array(SPLITS_OF[1:])), r"split has shape \(5,\), expected \(6,\)"),
    (dict(task=np.array([["x"]] * N)), r"task has shape \(6, 1\), expected \(6,\)"),
    (dict(cost=np.ones((N, 1))), r"cost has shape \(6, 1\), expected \(6, 4\)"),
    (dict(null=np.array("product"), learned_null=np.ones(3)), r"learned_null has shape \(3,\), expected \(6,\)"),
    (dict(models=np.array(["a", "b", "c"])), r"probabilities has shape \(6, 5\), expected \(6, 4\).* and 3 models"),
    (dict(probabilities=changed("probabilities", (2, 1), np.nan)),
     r"probabilities\[2, 1\] of query où is nan, expected a number in \[0, 1\]"),
    (dict(probabilities=changed("probabilities", (3, 4), 1.0000001)), r"\[3, 4\] of query 北京 is 1\.0000001"),
    (dict(probabilities=changed("probabilities", (0, 0), -1e-12)), r"probabilities\[0, 0\] of query q1 is -1e-12"),
    (dict(outcomes=changed("outcomes", (1, 2), 0.5)), "outcomes hold values other than 0 and 1: binarise them first"),
    (dict(outcomes=changed("outcomes", (1, 2), np.nan)), "outcomes hold values other than 0 and 1"),
    (dict(split=np.array(["dev", *SPLITS_OF[1:]])),
     "split holds 'dev', expected train, validation, calibration, test or ood"),
    (dict(split=np.array(["", *SPLITS_OF[1:]])), "split holds '', expected"),
    (dict(ids=np.array(["q1", "q2", "q3", "q2", "q5", "q6"])), "ids holds 'q2' more than once.*count twice"),
    (dict(models=np.array(["a", "b", "a", "c"])), "models holds 'a' more than once"),
    (dict(cost=changed("cost", (4, 3), np.nan)), r"cost\[4, 3\] of query a,b is nan"),
    (dict(cost=changed("cost", (4, 3), -0.01)), r"cost\[4, 3\] of query a,b is -0\.01"),
    (dict(null=np.array("product"), learned_null=changed("learned_null", (1,), 1.5)), r"learned_null.*q2 is 1\.5"),
    (dict(ids=make().ids.astype(object)), "pickle"),
])
def test_what_is_wrong_is_said(tmp_path, change, message):
    with pytest.raises(TableError, match=message):
        load(foreign(tmp_path, **change))


@pytest.mark.parametrize("content", [b"", b"id,split\nq1,test\n"])
def test_a_file_that_is_no_npz_is_said(tmp_path, content):
    (tmp_path / "scores.npz").write_bytes(content)
    with pytest.raises(TableError, match=r"scores\.npz.*npz"):
        load(tmp_path / "scores.npz")


def test_a_single_array_is_no_scores_file(tmp_path):
    np.save(tmp_path / "scores.npy", make().probabilities)
    with pytest.raises(TableError, match=r"scores\.npy.*npz"):
        load(tmp_path / "scores.npy")


def test_no_file_is_said_with_the_next_step(tmp_path):
    with pytest.raises(TableError, match=r"no scores at .*run `python scripts/train\.py` first, or give scores=FILE"):
        load(tmp_path / "scores.npz")


@pytest.mark.parametrize(("name", "value", "says"), [
    ("ids", np.array([[f"q{i}"] for i in range(6)]), "ids has shape"),
    ("models", np.array("a"), r"models has shape \(\)"),
    ("models", np.array([b"a", b"b"]), "expected texts"),
    ("task", np.arange(6), "task has dtype int64, expected text"),
    ("probabilities", np.full((6, 3), 0.5 + 0j), "complex"),
])
def test_foreign_arrays_of_another_kind_are_refused(name, value, says, tmp_path):
    arrays = {"ids": np.array([f"q{i}" for i in range(6)]), "split": np.array(["calib"] * 3 + ["test"] * 3),
              "task": np.array(["t"] * 6), "models": np.array(["a", "b"]), "probabilities": np.full((6, 3), 0.5),
              "outcomes": np.ones((6, 2), dtype=int)}
    np.savez(tmp_path / "good.npz", **arrays)
    assert (load(tmp_path / "good.npz").split == "calibration").sum() == 3
    np.savez(tmp_path / "bad.npz", **arrays | {name: value})
    with pytest.raises(TableError, match=says):
        load(tmp_path / "bad.npz")


def test_a_single_model_and_half_a_joint_are_refused(tmp_path):
    arrays = {"ids": np.array(["q"]), "split": np.array(["test"]), "task": np.array(["t"]), "models": np.array(["a"]),
              "probabilities": np.full((1, 2), 0.5), "outcomes": np.ones((1, 1), dtype=int)}
    np.savez(tmp_path / "one.npz", **arrays)
    with pytest.raises(TableError, match="at least two"):
        load(tmp_path / "one.npz")
    two = {"models": np.array(["a", "b"]), "probabilities": np.full((1, 3), 0.5), "outcomes": np.ones((1, 2))}
    np.savez(tmp_path / "half.npz", **arrays | two, logits=np.zeros((1, 2)))
    with pytest.raises(TableError, match="it lacks loadings, nodes, weights"):
        load(tmp_path / "half.npz")
