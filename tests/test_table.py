"""The outcome table: what counts as right, what is written comes back, what the fingerprint sees."""

from dataclasses import replace

import numpy as np
import pytest

from racer.errors import TableError
from racer.formats import read
from racer.table import CELLS, OutcomeTable


def texts(*values):
    return np.array(values, dtype=object)


@pytest.fixture
def table() -> OutcomeTable:
    """Three queries, two models, one task of each kind."""
    return OutcomeTable(
        ids=texts("q2", "q1", "q3"), queries=texts("two\nlines", "où est 北京?", 'a "quoted", one'),
        task=texts("maths", "choice", "chat"), split=texts("train", "test", "calibration"), models=("b", "a"),
        scores=np.array([[0.7, 0.6], [0.01, 0.0], [0.5, 0.49]]), kinds={"maths": "fraction", "choice": "probability"},
        answers=np.array([["4", None], ["B", "C"], [None, None]], dtype=object), reference=texts("4", "B", None),
        cost=np.array([[1e-5, 0.0], [np.nan, 2.0], [3.0, 4.0]]),
        output_tokens=np.array([[1.0, np.nan], [3, 4], [5, 6]]), confidence=np.array([[0.3, np.nan], [0, 1], [0.5, 1]]),
        card={"name": "three", "simulated": True, "models": [{"name": "a", "usd": 2}]})


def test_outcomes_follow_the_kind_of_each_task(table):
    assert table.outcomes().tolist() == [[True, True], [True, False], [True, False]]
    assert table.outcomes(right_at=0.7).tolist() == [[True, False], [True, False], [True, False]]  # only maths changes


def test_what_is_saved_is_read_back(table, tmp_path):
    back = read(table.save(tmp_path / "t"))
    for name in ("ids", "queries", "task", "split", "reference", *CELLS):
        np.testing.assert_array_equal(getattr(back, name), getattr(table, name), err_msg=name)
    assert (back.models, back.kinds, back.name, back.simulated) == (table.models, table.kinds, "three", True)
    assert back.card["models"] == [{"name": "b"}, {"name": "a", "usd": 2}]
    assert back.fingerprint() == table.fingerprint()


def test_columns_that_no_cell_has_come_back_as_none(table, tmp_path):
    bare = replace(table, **dict.fromkeys(("reference", *CELLS[1:])), split=texts("", "", ""))
    back = read(bare.save(tmp_path))
    assert back.answers is back.reference is back.cost is back.output_tokens is back.confidence is None
    assert back.split.tolist() == ["", "", ""]
    assert back.fingerprint() == bare.fingerprint()


def test_take_keeps_order_and_all_columns(table):
    taken = table.take(np.array([2, 0]))
    assert taken.ids.tolist() == ["q3", "q2"]
    assert taken.answers.tolist() == [[None, None], ["4", None]]
    assert taken.models == table.models
    np.testing.assert_array_equal(table.take(np.array([True, False, True])).scores, table.scores[[0, 2]])


@pytest.mark.parametrize("change", [
    {"models": ("a", "b")}, {"kinds": {}}, {"cost": None}, {"split": texts("train", "test", "test")},
    {"queries": texts("two lines", "où est 北京?", 'a "quoted", one')}, {"task": texts("maths", "choice", "talk")},
    {"ids": texts("q2", "q1", "q4")}, {"scores": np.array([[0.7, 0.6], [0.01, 0.0], [0.5, 0.5]])},
])
def test_fingerprint_sees_every_change_that_results_can_see(table, change):
    assert replace(table, **change).fingerprint() != table.fingerprint()


def test_fingerprint_sees_the_order_of_rows_and_no_notes(table):
    assert table.take(np.array([1, 0, 2])).fingerprint() != table.fingerprint()
    assert replace(table, notes=("read",)).fingerprint() == table.fingerprint()


def test_a_column_of_the_wrong_shape_is_refused(table):
    with pytest.raises(TableError, match=r"cost has shape \(3, 1\), expected \(3, 2\).*rebuild"):
        replace(table, cost=np.zeros((3, 1)))
