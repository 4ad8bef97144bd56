"""Splits: complete, stratified, a function of seed and ids, and refused where they cannot be made."""

from collections import Counter

import numpy as np
import pytest

from racer.errors import TableError
from racer.formats import read
from racer.splits import assign, drawn
from racer.table import OutcomeTable


def make(rows: dict[tuple[str, str], int], card: dict | None = None) -> OutcomeTable:
    """A table with so many rows per (task, split), two models."""
    task = np.array([t for (t, _), k in rows.items() for _ in range(k)], dtype=object)
    split = np.array([s for (_, s), k in rows.items() for _ in range(k)], dtype=object)
    ids = np.array([f"id{i}" for i in range(len(task))], dtype=object)
    return OutcomeTable(ids=ids, queries=ids, task=task, split=split, models=("a", "b"), scores=np.zeros((len(ids), 2)),
                        card=card or {})


def counts(table: OutcomeTable) -> Counter:
    return Counter(zip(table.task, table.split, strict=True))


def test_train_and_test_give_validation_and_calibration():
    table = assign(make({("x", "train"): 100, ("x", "test"): 40, ("y", "train"): 20, ("y", "test"): 11}))
    assert counts(table) == {("x", "train"): 85, ("x", "validation"): 15, ("x", "calibration"): 20, ("x", "test"): 20,
                             ("y", "train"): 17, ("y", "validation"): 3, ("y", "calibration"): 6, ("y", "test"): 5}
    assert table.notes == ("validation: 18 of 120 train rows, drawn with seed 0",
                           "calibration: 26 of 51 test rows, drawn with seed 0")


def test_a_table_without_splits_gets_all_four():
    table = assign(make({("x", ""): 100, ("y", ""): 50}))
    assert Counter(table.split) == {"train": 75, "validation": 15, "calibration": 30, "test": 30}
    assert counts(table)["y", "test"] == 10


def test_complete_splits_are_left_alone():
    table = make({("x", s): 3 for s in ("train", "validation", "calibration", "test", "ood")})
    done = assign(table, seed=5)
    assert done.split.tolist() == table.split.tolist()
    assert done.notes == ()


def test_validation_given_and_calibration_missing():
    table = assign(make({("x", "train"): 4, ("x", "validation"): 2, ("x", "test"): 10}))
    assert Counter(table.split) == {"train": 4, "validation": 2, "calibration": 5, "test": 5}


@pytest.mark.parametrize("share", [0.15, 0.5, 1 / 3])
def test_every_task_gives_its_share_to_within_one_and_the_whole_exactly(share):
    rng = np.random.default_rng(0)
    for _ in range(20):
        sizes = rng.integers(1, 30, size=6)
        task = np.repeat(np.array(list("abcdef"), dtype=object), sizes)
        chosen = drawn(np.array([str(i) for i in range(len(task))], dtype=object), task, share, "salt")
        per_task = np.array([chosen[task == t].sum() for t in "abcdef"])
        assert (np.abs(per_task - share * sizes) < 1).all()
        assert chosen.sum() == np.floor(share * sizes.sum() + 0.5)


def test_the_draw_depends_on_seed_and_ids_not_on_row_order():
    table = make({("x", "train"): 60, ("y", "train"): 30, ("x", "test"): 40})
    order = np.random.default_rng(1).permutation(len(table.ids))
    straight, shuffled = assign(table, seed=3), assign(table.take(order), seed=3)
    assert dict(zip(straight.ids, straight.split, strict=True)) == dict(zip(shuffled.ids, shuffled.split, strict=True))
    assert shuffled.ids.tolist() == table.ids[order].tolist()
    assert assign(table, seed=4).split.tolist() != straight.split.tolist()


def test_every_row_is_equally_likely_to_be_drawn():
    """Over seeds, rows of a stratum are calibration rows equally often: 400 draws, 5 standard errors."""
    ids = np.array([f"q{i}" for i in range(10)], dtype=object)
    share = np.mean([drawn(ids, np.full(10, "x", dtype=object), 0.5, str(seed)) for seed in range(400)], axis=0)
    assert np.abs(share - 0.5).max() < 5 * 0.5 / 20


def test_other_tasks_become_ood_or_are_left_out():
    rows = {("in", "train"): 10, ("in", "test"): 10, ("both", "train"): 7, ("both", "test"): 5, ("trained", "train"): 3,
            ("checked", "validation"): 2}
    table = assign(make(rows), tasks=["in"])
    assert {key: k for key, k in counts(table).items() if key[0] != "in"} == {("both", "ood"): 5, ("checked", "ood"): 2}
    assert "10 rows left out" in table.notes[0] and "both, trained" in table.notes[0]


def test_a_card_names_the_tasks_unless_the_caller_does():
    table = make({("x", "train"): 9, ("x", "test"): 8, ("y", "train"): 9, ("y", "test"): 8}, {"tasks": ["x", "absent"]})
    assert counts(assign(table))["y", "ood"] == 8
    assert "ood" not in assign(table, tasks=["x", "y"]).split


def test_other_tasks_of_a_table_without_splits_are_ood():
    assert counts(assign(make({("x", ""): 20, ("y", ""): 4}), tasks=["x"]))["y", "ood"] == 4


@pytest.mark.parametrize("rows, message", [
    ({("x", "train"): 5, ("x", ""): 2}, "2 of 7 rows have no split, the first is query 'id5'.*name the split"),
    ({("x", "train"): 5, ("x", "calibration"): 5}, "no test rows.*5 train, 5 calibration.*exchangeable"),
    ({("x", "train"): 5}, "no test rows"),
    ({("x", "calibration"): 5, ("x", "test"): 5}, "no train rows.*5 calibration, 5 test"),
    ({("x", "train"): 2, ("x", "test"): 5}, "no validation rows.*too few"),
    ({("x", ""): 1}, "no .* rows"),
])
def test_splits_that_cannot_be_made_are_refused(rows, message):
    with pytest.raises(TableError, match=message):
        assign(make(rows))


def test_an_unknown_task_is_refused_with_the_tasks_there_are():
    with pytest.raises(TableError, match=r"tasks z are not in the table.*which has x, y"):
        assign(make({("x", "train"): 5, ("y", "test"): 5}), tasks=["x", "z"])


def test_routerdc_has_four_tasks_in_distribution(racer_data):
    table = assign(read(racer_data / "routerdc"))
    assert Counter(table.split) == {"train": 4947, "validation": 873, "calibration": 4680, "test": 4679,
                                    "ood": 713 + 49 + 500}
    assert set(table.task[table.split == "ood"]) == {"arc_easy", "humaneval", "mbpp"}
    assert "1778 rows left out" in table.notes[0]
