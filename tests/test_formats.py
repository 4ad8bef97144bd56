"""Every format is read, and every fault of a file is an error that says where, what and the remedy."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from racer import data
from racer.config import DataConfig
from racer.errors import TableError
from racer.formats import read
from racer.formats.routerbench import letter

LONG = "id,query,model,score\n"
GOOD = LONG + "q1,one?,a,1\nq1,one?,b,0.5\nq2,two?,a,0\nq2,two?,b,1\n"


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def jsonl(path, rows):
    return write(path, "\n".join(json.dumps(row) for row in rows))


def canonical(folder, queries=None, outcomes=None, card=None):
    """A folder with two queries, models b and a, and the columns given instead."""
    asked = {"id": ["q1", "q2"], "task": ["x", "y"], "split": ["train", "calib"], "query": ["one?", "two?"]}
    said = {"id": ["q1", "q1", "q2", "q2"], "model": ["b", "a"] * 2, "score": [1.0, 0.0, 0.0, 1.0]}
    pq.write_table(pa.table(asked | (queries or {})), folder / "queries.parquet")
    pq.write_table(pa.table(said | (outcomes or {})), folder / "outcomes.parquet")
    if card is not None:
        write(folder / "card.json", json.dumps(card))
    return folder


def routerdc(path, scores, question="Why?"):
    return write(path, json.dumps([{"question": f"{question} {i}", "scores": s} for i, s in enumerate(scores)]))


def routerbench(path, rows, models=("m/a", "b")):
    """A native CSV; each row is (sample_id, prompt, eval_name, {model: (score, reply, cost)})."""
    names = ["", "sample_id", "prompt", "eval_name", *models, *(f"{m}|model_response" for m in models),
             *(f"{m}|total_cost" for m in models), "oracle_model_to_route_to"]
    cells = [[i, *keys, *(said[m][k] for k in range(3) for m in models), models[0]]
             for i, (*keys, said) in enumerate(rows)]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *cells])
    return path


# ---- what is read


def test_canonical(tmp_path):
    table = read(canonical(tmp_path, card={"name": "mine", "models": [{"name": "a"}, {"name": "b"}],
                                             "score_kinds": {"x": "fraction", "elsewhere": "?"}}))
    assert table.models == ("a", "b")  # the card's order
    assert table.scores.tolist() == [[0, 1], [1, 0]]
    assert table.split.tolist() == ["train", "calibration"]
    assert (table.kinds, table.name) == ({"x": "fraction"}, "mine")


def test_canonical_without_card_takes_models_as_they_come_and_the_folder_name(tmp_path):
    table = read(canonical(tmp_path))
    assert (table.models, table.name) == (("b", "a"), tmp_path.name)


def test_a_32_bit_score_is_no_less_than_the_number_it_stands_for(tmp_path):
    score = pa.array([0.7, 0.1, 0.3, 1.0], pa.float32())
    assert read(canonical(tmp_path, outcomes={"score": score})).scores.tolist() == [[0.7, 0.1], [0.3, 1.0]]


@pytest.mark.parametrize("kinds", [None, ["fraction"], "fraction", {"probability": "a sentence about it"}])
def test_score_kinds_of_another_form_are_ignored(tmp_path, kinds):
    assert read(canonical(tmp_path, card={"score_kinds": kinds})).kinds == {}


def test_long_formats_agree(tmp_path):
    said = [("1", 'one,\n"two"', "a", 0.1, "R", 0.5, 3, 0.7), ("2", "ü 北", "a", 1, None, 0, None, None),
            ("1", 'one,\n"two"', "b", 1, "S", 1e-7, 4, 0), ("2", "ü 北", "b", 0, "R", 2, 5, 1)]
    rows = [{"id": i, "query": q, "model": m, "score": s, "task": "t", "split": "test", "reference": "R", "answer": a,
             "cost": c, "output_tokens": k, "confidence": sure} for i, q, m, s, a, c, k, sure in said]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "long.parquet")
    jsonl(tmp_path / "long.jsonl", rows)
    with open(tmp_path / "long.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([rows[0], *(row.values() for row in rows)])
    tables = [read(tmp_path / f"long.{kind}") for kind in ("parquet", "jsonl", "csv")]
    assert len({t.fingerprint() for t in tables}) == 1
    for table in tables:
        assert table.ids.tolist() == ["1", "2"] and table.models == ("a", "b")
        assert table.scores.tolist() == [[0.1, 1], [1, 0]]
        assert table.cost.tolist() == [[0.5, 1e-7], [0, 2]]
        assert table.answers.tolist() == [["R", "S"], [None, "R"]]
        assert table.reference.tolist() == ["R", "R"]
        np.testing.assert_array_equal(table.output_tokens, [[3, 4], [np.nan, 5]])
        np.testing.assert_array_equal(table.confidence, [[0.7, 0], [np.nan, 1]])
        assert (set(table.task), set(table.split), table.name) == ({"t"}, {"test"}, "long")


def test_optional_columns_may_be_absent(tmp_path):
    table = read(write(tmp_path / "t.csv", GOOD))
    assert table.answers is table.reference is table.cost is table.output_tokens is table.confidence is None
    assert (table.task.tolist(), table.split.tolist()) == (["all", "all"], ["", ""])


def test_json_numbers_and_truth_values_are_scores(tmp_path):
    rows = [{"id": 1, "query": "q", "model": m, "score": s} for m, s in [("a", True), ("b", 0)]]
    table = read(jsonl(tmp_path / "t.jsonl", rows))
    assert table.ids.tolist() == ["1"] and table.scores.tolist() == [[1, 0]]


def test_routerdc_folder(tmp_path):
    routerdc(tmp_path / "mmlu_train.json", [{"a": 0.3, "b": 0}, {"a": 0, "b": 1}])
    routerdc(tmp_path / "mmlu_test.json", [{"b": 0.9, "a": 0.2}])  # another order
    routerdc(tmp_path / "gsm8k-test.json", [{"a": 0.1, "b": 0.7}])
    routerdc(tmp_path / "mbpp.json", [{"a": 1, "b": 0.4}])
    write(tmp_path / "card.json", json.dumps({"name": "dc", "models": [{"name": "a"}, {"name": "b"}]}))
    table = read(tmp_path)
    assert table.ids.tolist() == ["gsm8k-test/0", "mbpp/0", "mmlu_test/0", "mmlu_train/0", "mmlu_train/1"]
    assert table.task.tolist() == ["gsm8k", "mbpp", "mmlu", "mmlu", "mmlu"]
    assert table.split.tolist() == ["test", "test", "test", "train", "train"]
    assert table.scores.tolist() == [[0.1, 0.7], [1, 0.4], [0.2, 0.9], [0.3, 0], [0, 1]]
    assert table.kinds == {"gsm8k": "fraction", "mbpp": "fraction", "mmlu": "probability"}
    assert (table.name, table.card["tasks"]) == ("dc", ["gsm8k", "mmlu"])


@pytest.mark.parametrize("text, number", [("True", 1), ("false", 0), (" TRUE ", 1)])
def test_truth_values_as_pandas_writes_them_are_scores(tmp_path, text, number):
    write(tmp_path / "t.csv", f"id,query,model,score\np,p,a,{text}\np,p,b,0.5\n")
    assert read(tmp_path / "t.csv").scores.tolist() == [[number, 0.5]]


def test_routerdc_single_file(tmp_path):
    table = read(routerdc(tmp_path / "mbpp.json", [{"a": 1, "b": 0}]))
    assert (table.name, table.models, "tasks" in table.card) == ("mbpp", ("a", "b"), False)


def test_routerbench(tmp_path):
    said = {"m/a": (1.0, "['B) foo']", 0.25), "b": (0.0, "['A chart']", 1e-5)}
    path = routerbench(tmp_path / "arc_test.csv", [("s1", "['one\\ntwo']", "arc-challenge", said),
                                                   ("s2", "['twice', 'twice']", "mbpp", said)])
    for table in (read(path), read(tmp_path)):
        assert table.queries.tolist() == ["one\ntwo", "twice"]
        assert table.models == ("m/a", "b") and table.scores.tolist() == [[1, 0], [1, 0]]
        assert table.answers.tolist() == [["B", None], [None, None]]
        assert table.cost.tolist() == [[0.25, 1e-5]] * 2
        assert set(table.split) == {""}  # one split in all files tells nothing: they are to be drawn
        assert "all files are of split test" in table.notes[-1]
    routerbench(tmp_path / "arc_train.csv", [("s3", "['three']", "arc-challenge", said)])
    assert read(tmp_path).split.tolist() == ["test", "test", "train"]


@pytest.mark.parametrize("reply, expected", [("B", "B"), ("B) foo", "B"), (" (C)", "C"), ("A\n", "A"), ("A.", "A"),
                                             ("A chart", None), ("As", None), ("I do", None), ("", None), ("T", None)])
def test_the_letter_stands_alone(reply, expected):
    assert letter(reply) == expected


def test_a_routerbench_question_split_over_rows_is_put_together(tmp_path):
    rows = [("s", "['q']", "arc", {"m/a": (1.0, "['A']", 1), "b": ("", "", "")}),
            ("s", "['q', 'q']", "arc", {"m/a": ("", "", ""), "b": (0.0, "['B']", 2)})]
    table = read(routerbench(tmp_path / "t.csv", rows))
    assert (table.scores.tolist(), table.answers.tolist(), table.cost.tolist()) == ([[1, 0]], [["A", "B"]], [[1, 2]])


# ---- what is refused


@pytest.mark.parametrize("content, parts", [
    (GOOD + "q1,one?,a,1\n", ["t.csv, line 6, columns id and model", "'q1'", "'a'", "t.csv, line 2", "remove one"]),
    (LONG + 'q1,"o\nne?",a,1\nq1,"o\nne?",b,2\n', ["t.csv, line 4, column score", "'2'", "in [0, 1]"]),
    (LONG + "q1,one?,a,1\n\nq1,uno?,b,1\n", ["t.csv, line 4, column query", "'q1'", "t.csv, line 2", "different ids"]),
    (GOOD.replace("q2,two?,b,1", "q2,two?,b,nan"), ["t.csv, line 5, column score", "'nan'", "expected a number"]),
    (GOOD.replace(",0.5", ",half"), ["t.csv, line 3, column score", "'half'", "mend"]),
    (GOOD.replace(",0.5", ",-0.5"), ["t.csv, line 3, column score", "'-0.5'", "rescale"]),
    (GOOD.replace("two?,a", ",a"), ["t.csv, line 4, column query", "''", "fill it in"]),
    (GOOD.replace("q2,two?,a", "  ,two?,a"), ["t.csv, line 4, column id", "'  '"]),
    (GOOD.replace("two?,a", "two?,"), ["t.csv, line 4, column model", "name of a model"]),
    (LONG + "q1,one?,a,1\nq2,two?,a,1\n", ["t.csv, column model", "only one model (a)", "nothing to route"]),
    (LONG, ["t.csv", "no queries"]),
    ("", ["t.csv", "column id, query, model, score is missing", "found none"]),
    ("id,text,model,score\nq,t,a,1\n", ["t.csv", "column query is missing", "found id, text, model, score", "rename"]),
    (LONG + "q1,one?,a\n", ["t.csv, line 2", "3 cells, expected 4"]),
])
def test_faults_of_a_csv(tmp_path, content, parts):
    with pytest.raises(TableError) as error:
        read(write(tmp_path / "t.csv", content))
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize("column, value, parts", [
    ("split", "dev", ["'dev'", "train, validation, calibration, test, ood, calib", "rename"]),
    ("cost", "-1", ["'-1'", "zero or more"]),
    ("cost", "1e999", ["'1e999'", "finite"]),
    ("cost", "free", ["'free'", "expected a number"]),
    ("output_tokens", -3, ["'-3'", "zero or more"]),
    ("confidence", 85, ["'85'", "in [0, 1]", "rename the column"]),
    ("score", [1], ["list", "flatten"]),
    ("score", float("nan"), ["'NaN'", "expected a number"]),
    ("score", "", ["query 'q' has no score of b", "data.missing=drop"]),
])
def test_faults_of_a_cell(tmp_path, column, value, parts):
    rows = [{"id": "p", "query": "p", "model": "a", "score": 1}, {"id": "p", "query": "p", "model": "b", "score": 1},
            {"id": "q", "query": "q", "model": "a", "score": 1}, {"id": "q", "query": "q", "model": "b", "score": 1}]
    for row in rows[3:] if column != "split" else rows[2:]:
        row[column] = value
    with pytest.raises(TableError) as error:
        read(jsonl(tmp_path / "t.jsonl", rows))
    where = "t.jsonl, line 4" if column not in ("split", "score") or value not in ("dev", "") else "t.jsonl, line 3"
    assert all(part in str(error.value) for part in [where, column, *parts]), str(error.value)


def test_a_line_that_is_not_json_is_named(tmp_path):
    with pytest.raises(TableError, match=r"t.jsonl, line 2: not JSON.*mend"):
        read(write(tmp_path / "t.jsonl", '{"id": "1", "query": "q", "model": "a", "score": 1}\n{"id": \n'))
    with pytest.raises(TableError, match=r"t.jsonl, line 1: got a list, expected an object"):
        read(write(tmp_path / "t.jsonl", "[1]"))


def test_many_faults_are_counted(tmp_path):
    rows = "".join(f"q{i},text {i},{m},7\n" for i in range(5) for m in "ab")
    with pytest.raises(TableError, match=r"line 2, .*line 3, .*line 4, column score: got '7' \(and 7 more\)"):
        read(write(tmp_path / "t.csv", LONG + rows))


@pytest.mark.parametrize("change, parts", [
    ({"outcomes": {"id": ["q1", "q1", "q2", "q9"]}}, ["outcomes.parquet, row 3", "column id", "'q9'", "no query"]),
    ({"outcomes": {"score": [1, 0, float("nan"), 1]}}, ["outcomes.parquet, row 2", "column score", "nan"]),
    ({"outcomes": {"score": [[1], [0], [0], [1]]}}, ["outcomes.parquet, column score", "list", "write the column"]),
    ({"card": {"models": [{"name": "a"}, {"name": "c"}]}}, ["row 0", "column model", "'b'", "card names (a, c)"]),
    ({"card": {"models": ["a", "b"]}}, ["card.json, models", "expected a list of"]),
    ({"card": {"models": [{"name": "a"}] * 2}}, ["card.json, models", "twice"]),
    ({"card": {"score_kinds": {"x": "percent"}}}, ["card.json, score_kinds", "'x'", "'percent'", "binary, fraction"]),
    ({"card": []}, ["card.json", "expected an object"]),
    ({"queries": {"id": ["q1", "q1"]}}, ["queries.parquet, row 1", "column id", "unique"]),
    ({"queries": {"query": ["one?", " "]}}, ["queries.parquet, row 1", "column query"]),
])
def test_faults_of_a_canonical_folder(tmp_path, change, parts):
    with pytest.raises(TableError) as error:
        read(canonical(tmp_path, **change))
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_half_a_canonical_folder_and_broken_files_are_refused(tmp_path):
    (canonical(tmp_path) / "outcomes.parquet").unlink()
    with pytest.raises(TableError, match=r"outcomes.parquet: no such file"):
        read(tmp_path)
    write(tmp_path / "outcomes.parquet", "text")
    with pytest.raises(TableError, match=r"outcomes.parquet: not a parquet file"):
        read(tmp_path)
    (tmp_path / "bad.csv").write_bytes(b"id,query\xff\n")
    with pytest.raises(TableError, match=r"bad.csv: not a CSV file in UTF-8"):
        read(tmp_path / "bad.csv")


@pytest.mark.parametrize("records, parts", [
    ([], ["empty list", "RouterDC"]),
    ({}, ["dict", "RouterDC"]),
    ([{"question": "q", "scores": {"a": 1, "b": 0}}, {"question": None}], ["mmlu.json, record 1", "column question"]),
    ([{"question": "q"}], ["mmlu.json, record 0", "column scores", "None"]),
    ([{"question": "q", "scores": {"a": [1]}}], ["record 0", "column scores", "number"]),
    ([{"question": "q", "scores": {"a": 1, "b": 1.2}}], ["mmlu.json, record 0", "column score", "'1.2'", "[0, 1]"]),
    ([{"question": "", "scores": {"a": 1, "b": 1}}], ["mmlu.json, record 0", "column query", "''"]),
])
def test_faults_of_routerdc_records(tmp_path, records, parts):
    with pytest.raises(TableError) as error:
        read(write(tmp_path / "mmlu.json", json.dumps(records)))
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_routerdc_files_with_other_models_are_refused(tmp_path):
    routerdc(tmp_path / "gsm8k.json", [{"a": 1, "b": 0}])
    routerdc(tmp_path / "mmlu.json", [{"a": 1, "c": 0}])
    with pytest.raises(TableError, match=r"mmlu.json: other models than in gsm8k.json.*b, c"):
        read(tmp_path)


def test_a_routerdc_record_may_lack_a_model_only_where_it_is_dropped(tmp_path):
    path = routerdc(tmp_path / "mmlu.json", [{"a": 1, "b": 0}, {"a": 1}, {"a": 1, "b": None}])
    with pytest.raises(TableError, match=r"2 of 3 queries lack.*mmlu.json, record 1 .*'mmlu/1' has no score of b"):
        read(path)
    assert read(path, missing="drop").ids.tolist() == ["mmlu/0"]


def test_half_a_character_and_a_column_named_twice_are_refused(tmp_path):
    with pytest.raises(TableError, match=r"half a character.*ud800"):
        read(write(tmp_path / "mmlu.json", '[{"question": "\\ud800", "scores": {"a": 1, "b": 0}}]'))
    with pytest.raises(TableError, match=r"t.csv, line 1: a column name comes twice"):
        read(write(tmp_path / "t.csv", "id,query,model,score,score\n"))


def test_faults_of_routerbench_files(tmp_path):
    row = ("s", "['q']", "arc", {"m/a": (1.0, "['A']", 1), "b": (0.0, "['B']", 1)})
    with pytest.raises(TableError, match=r"line 3, columns id and model: .*'s'.*'m/a' at t.csv, line 2 \(and 1 more"):
        read(routerbench(tmp_path / "t.csv", [row, row]))
    with pytest.raises(TableError, match=r"t.csv, line 2, column prompt: .*Python list"):
        read(routerbench(tmp_path / "t.csv", [("s", "['q'", *row[2:])]))
    with pytest.raises(TableError, match=r"other.csv: expected the columns sample_id"):
        write(tmp_path / "other.csv", GOOD)
        read(tmp_path)


@pytest.mark.parametrize("name", ["absent", "t.txt", "folder"])
def test_an_unknown_form_is_refused_with_what_is_accepted(tmp_path, name):
    write(tmp_path / "t.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TableError, match=r"(?s)accepted are.*queries.parquet.*RouterDC.*RouterBench.*jsonl"):
        read(tmp_path / name)


# ---- what is missing


@pytest.mark.parametrize("gap", ["q2,two?,b,\n", ""])
def test_a_missing_outcome_is_refused_or_drops_its_query(tmp_path, gap):
    path = write(tmp_path / "t.csv", GOOD.replace("q2,two?,b,1\n", gap))
    with pytest.raises(TableError, match=r"1 of 2 queries lack.*1 lack b.*line 4: query 'q2' has no score of b.*drop"):
        read(path)
    table = read(path, missing="drop")
    assert table.ids.tolist() == ["q1"]
    assert table.notes == ("1 of 2 queries dropped for missing outcomes (1 lack b)",)


def test_a_table_that_would_be_empty_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", LONG + "q1,one?,a,1\nq2,two?,b,1\n")
    with pytest.raises(TableError, match=r"2 of 2 queries lack.*no query would be left"):
        read(path, missing="drop")


def test_a_query_without_outcomes_is_missing_them_all(tmp_path):
    canonical(tmp_path, outcomes={"id": ["q1", "q1"], "model": ["a", "b"], "score": [1.0, 0.0]})
    with pytest.raises(TableError, match=r"queries.parquet, row 1 .*query 'q2' has no score of a, b"):
        read(tmp_path)
    assert read(tmp_path, missing="drop").ids.tolist() == ["q1"]


def test_an_unknown_cost_stays_unknown_and_is_noted(tmp_path):
    rows = LONG.replace("score", "score,cost") + "q1,one?,a,1,0.5\nq1,one?,b,0,\n"
    table = read(write(tmp_path / "t.csv", rows))
    np.testing.assert_array_equal(table.cost, [[0.5, np.nan]])
    assert table.notes == ("cost is missing in 1 of 2 cells: cost figures are left out",)


def test_what_is_missing_may_be_kept_as_nothing(tmp_path):
    rows = (LONG.replace("score", "score,answer,cost,confidence") + "q1,one?,a,1,A,1,0.5\nq2,two?,b,0,,,\n"
            "q2,two?,a,0,B,2,0.1\n")
    table = read(write(tmp_path / "t.csv", rows), missing="keep")
    for found, wanted in ((table.scores, [[1, np.nan], [0, 0]]), (table.cost, [[1, np.nan], [2, np.nan]]),
                          (table.confidence, [[0.5, np.nan], [0.1, np.nan]])):
        np.testing.assert_array_equal(found, wanted)
    assert table.answers.tolist() == [["A", None], ["B", None]]
    assert table.notes == ("cost is missing in 1 of 3 cells: cost figures are left out",)


def test_of_chosen_models_only_their_own_outcomes_are_missed(tmp_path):
    gaps = {(1, "c"), (2, "b"), (3, "c")}
    rows = "".join(f"q{i},{i}?,{m},1\n" for i in range(4) for m in "abc" if (i, m) not in gaps)
    given = DataConfig(path=str(write(tmp_path / "t.csv", LONG + rows)), models=["b", "a"])
    with pytest.raises(TableError, match=r"1 of 4 queries of 't' lack .* \(1 lack b\), the first is 'q2': .*drop"):
        data.read(given)
    table = data.read(replace(given, missing="drop"))
    assert table.ids.tolist() == ["q0", "q1", "q3"] and table.models == ("b", "a")
    assert table.notes == ("1 of 4 queries dropped for missing outcomes (1 lack b)",)
    assert data.read(replace(given, models=["a", "c"], missing="drop")).ids.tolist() == ["q0", "q2"]
    assert data.read(replace(given, models=None, missing="drop")).ids.tolist() == ["q0"]


def test_missing_must_be_one_that_is_known(tmp_path):
    with pytest.raises(TableError, match=r"missing is 'wrong', expected 'error', 'drop' or 'keep'"):
        read(write(tmp_path / "t.csv", GOOD), missing="wrong")


# ---- the real files


def test_real_routerdc(racer_data):
    table = read(racer_data / "routerdc")
    assert table.scores.shape == (18219, 7) and table.models[0] == "mistralai/Mistral-7B-v0.1"
    assert Counter(i.split("/")[0] for i in table.ids)["cmmlu_test"] == 3475
    assert len({i.split("/")[0] for i in table.ids}) == 13
    assert table.card["tasks"] == ["gsm8k", "mmlu", "cmmlu", "arc_challenge"]
    solvable = table.outcomes(right_at=0.1).any(axis=1)
    assert round(100 * solvable[table.task == "mbpp"].mean(), 1) == 74.8
    assert round(100 * solvable[(table.task == "mmlu") & (table.split == "test")].mean(), 1) == 85.3


def test_real_canonical(racer_data):
    table = read(racer_data / "mmlupro")
    assert Counter(table.split) == {"train": 4138, "calibration": 2071, "test": 2072}
    assert round(100 * table.outcomes()[:, -1].mean(), 1) == 62.8 and table.models[-1].startswith("Meta-Llama-3.1-70B")
    assert not table.notes and not np.isnan(table.cost).any()


def test_real_routerbench_files_agree_with_the_canonical_folder(racer_data):
    native, folder = read(racer_data / "routerbench/native", missing="drop"), read(racer_data / "routerbench")
    assert native.scores.shape == (818, 11) and native.notes[0].startswith("6 of 824 queries dropped")
    shared, mine, theirs = np.intersect1d(native.ids, folder.ids, return_indices=True)
    assert len(shared) == 817
    native, folder = native.take(mine), folder.take(theirs)
    order = [folder.models.index(name) for name in native.models]
    for name in ("queries", "task"):
        assert (getattr(native, name) == getattr(folder, name)).all()
    assert (native.scores == folder.scores[:, order]).all() and (native.answers == folder.answers[:, order]).all()
    np.testing.assert_allclose(native.cost, folder.cost[:, order], rtol=1e-6)
