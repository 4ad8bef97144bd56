"""The feasibility report: each number against a slow loop, and what it must not look at."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import composed

from racer import data, show
from racer.config import DataConfig
from racer.conformal import check_feasible
from racer.errors import ConfigError, Infeasible
from racer.plan import least_abstention, methods, plan


@pytest.fixture(scope="module")
def table():
    return data.load(DataConfig(n=900))


def test_shares_are_counted_on_train_and_validation_rows(table):
    result, right = plan(table, 0.1, 0.1, 0.2), table.outcomes()
    seen = [i for i in range(len(table.ids)) if table.split[i] in ("train", "validation")]
    nobody = sum(not any(right[i]) for i in seen) / len(seen)
    assert result["queries"] == len(seen) and result["unsolvable"]["value"] == nobody
    assert result["least_abstention"]["value"] == pytest.approx(max(nobody - 0.2, 0) / 0.8)
    assert result["miss_given_solvable"] == pytest.approx(0.1 / (1 - nobody))
    assert result["calibration"] == int((table.split == "calibration").sum()) == result["n"]["calibration"]
    for task, row in result["tasks"].items():
        mine = [i for i in seen if table.task[i] == task]
        assert row["unsolvable"]["value"] == sum(not any(right[i]) for i in mine) / len(mine)
        assert row["own_cut"] == (row["calibration"] >= 22) and row["needed"] == 22
    assert sum(row["calibration"] for row in result["tasks"].values()) == result["calibration"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_outcomes_of_calibration_and_test_rows_are_never_looked_at(table):
    hidden = np.isin(table.split, ("calibration", "test", "ood"))[:, None]
    assert plan(replace(table, scores=np.where(hidden, 0.0, table.scores)), 0.1, 0.1) == plan(table, 0.1, 0.1)


def test_the_context_is_chosen_on_train_and_judged_on_validation(table):
    result, right = plan(table, 0.1, 0.1), table.outcomes()
    train, validation = right[table.split == "train"], right[table.split == "validation"]
    cost = table.cost[table.split == "validation"]
    best = int(train.mean(axis=0).argmax())
    single = result["context"][f"best single ({table.models[best]})"]
    assert single["accuracy"]["value"] == validation[:, best].mean()
    assert single["cost"]["value"] == pytest.approx(cost[:, best].mean())
    cheapest = [min((c for c, y in zip(*row, strict=True) if y), default=0.0) for row in
                zip(cost.tolist(), validation.tolist(), strict=True)]
    assert result["context"]["oracle"]["cost"]["value"] == pytest.approx(np.mean(cheapest))
    assert (result["context"]["oracle"]["accuracy"] == result["context"]["all"]["accuracy"]
            and result["context"]["all"]["accuracy"]["value"] == validation.any(axis=1).mean())


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("error", [0.0, 0.1, 0.5])
def test_the_least_abstention_is_the_least(wrong, error):
    """Abstaining on t of the wrong ones leaves (wrong - t) / (1 - t) wrong among the answered."""
    t = least_abstention(wrong, error)
    assert 0 <= t <= wrong
    left = lambda t: (wrong - t) / (1 - t) if t < 1 else 0.0  # noqa: E731
    assert left(t) <= error + 1e-12
    assert t == 0 or left(t - 1e-6) > error


def test_each_method_needs_what_it_is_said_to_need():
    for n in (5, 22, 300):
        rows = {(row["method"], row["loss"]): row for row in methods(n, 0.1, 0.1)}
        assert rows["crc", "any loss"]["needed"] == 9 and rows["pac, ltt", "0 or 1: binomial"]["needed"] == 22
        assert rows["dkw", "0 or 1"]["needed"] == math.ceil(math.log(10) / 0.02)
        assert {bound.split()[1] for _, bound in rows if bound.startswith("between")} == {
            "hoeffding", "hoeffding_bentkus", "empirical_bernstein", "wsr"}
        for row in rows.values():
            assert row["feasible"] == (row["needed"] <= n) == (row["least_alpha"] <= 0.1)
    with pytest.raises(Infeasible) as caught:
        check_feasible(5, 0.1, "pac", 0.1)
    [pac] = [row for row in methods(5, 0.1, 0.1) if "binomial" in row["loss"]]
    assert (caught.value.needed, caught.value.reachable) == (pac["needed"], pac["least_alpha"])
    assert not any(row["method"] == "dkw" for row in methods(5, 0.1, 0.6))


def test_a_task_without_seen_rows_says_so_and_is_shown(table, capsys):
    alone = replace(table, task=np.where(table.split == "test", "[new]", table.task))
    result = plan(alone, 0.05, 0.1)
    assert result["tasks"]["[new]"]["unsolvable"] is None and result["tasks"]["[new]"]["queries"] == 0
    show.plan(result)
    printed = capsys.readouterr().out
    for words in ("[new]", "no, needs 45", "best single", "empirical_bernstein", "nobody right"):
        assert words in printed


def test_an_answer_error_outside_its_range_is_refused():
    assert composed("answer_error=0.2", name="plan").answer_error == 0.2
    with pytest.raises(ConfigError, match=r"answer_error is 1\.0"):
        composed("answer_error=1.0", name="plan")
