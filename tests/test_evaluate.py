"""The report: every number against a slow loop over plain Python lists, and the figures drawn from it."""

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import stats

from racer.artifact import Artifact
from racer.baselines import all_baselines, best_single
from racer.conformal import allowed_unserved, calibrate
from racer.evaluate import ALPHAS, alpha_curve, measure, reliability, report, sets_of
from racer.figures import draw_all
from racer.intervals import mean, share
from racer.losses import least_cut
from racer.risk import Risk
from racer.rule import SetRule
from racer.scores import Scores
from racer.sets import distance

MODELS = ("a", "b", "c", "d")
M = len(MODELS)
REFERENCE = 2


def make(seed: int = 0, priced: bool = True, n: int = 60, splits=("train", "calibration", "test", "ood"),
         levels: int | None = 8) -> Scores:
    """Scores of a fair router on `n` queries: right with the probability it says, on few levels, so with ties."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 1.0, size=(n, M + 1))
    p = p if levels is None else np.round(p * levels) / levels
    split = rng.permutation(np.resize(np.array(splits), n))
    task = np.where(split == "ood", "far", rng.choice(["x", "y"], n)).astype(object)
    task[(split == "test").argmax()] = "unseen"  # a task without a train row
    return Scores(ids=np.array([f"q{i}" for i in range(n)]), split=split, task=task, models=MODELS, probabilities=p,
                  outcomes=rng.random((n, M)) < p[:, :-1], graded=rng.random((n, M)),
                  cost=rng.gamma(1.0, 0.01, (n, M)) if priced else None,
                  table="world", fingerprint={"router": "r", "table": "t"})


def calibrated(scores: Scores, family: str = "probability", loss: str = "misrouting", alpha: float = 0.3,
               method: str = "crc") -> Artifact:
    rows = scores.of_split("calibration")
    served = least_cut(distance(rows.probabilities, family, scores.null), rows.outcomes, loss)
    calibration = calibrate(served, alpha, method, 0.1)
    risk = Risk(loss, method, alpha)
    return Artifact(SetRule(family, scores.null), risk, calibration, scores.models, scores.fingerprint, REFERENCE)


def with_cut(artifact: Artifact, cut: float) -> Artifact:
    return replace(artifact, calibration=replace(artifact.calibration, cut=cut))


# ---------------------------------------------------------------- the slow way


def slow_share(hits: list[bool]) -> dict | None:
    if not hits:
        return None
    interval = stats.binomtest(sum(hits), len(hits)).proportion_ci(0.95, method="exact")
    return {"value": sum(hits) / len(hits), "low": interval.low, "high": interval.high}


def slow_mean(values: list[float]) -> dict | None:
    if not values:
        return None
    value, n = statistics.fmean(values), len(values)
    half = statistics.NormalDist().inv_cdf(0.975) * statistics.stdev(values) / math.sqrt(n) if n > 1 else 0.0
    return {"value": value, "low": max(value - half, min(values)), "high": min(value + half, max(values))}


def same(ours, slow, name: str = "") -> None:
    """Equal, numbers to 1e-9, dictionaries key by key."""
    if isinstance(slow, dict):
        assert set(ours) == set(slow), name
        for key in slow:
            same(ours[key], slow[key], f"{name}/{key}")
    elif isinstance(slow, float):
        assert ours == pytest.approx(slow, rel=1e-9, abs=1e-9), name
    else:
        assert ours == slow, name


def slow_measure(rows: Scores, artifact: Artifact) -> dict:
    """One query after the other, sets as Python sets."""
    sizes, null, misrouted, missed, missed_solvable, unsolvable, top, found, usd, part = ([] for _ in range(10))
    silent, regret, harm = [], [], []
    for i in range(len(rows.ids)):
        p, right = rows.probabilities[i].tolist(), rows.outcomes[i].tolist()
        lead = 1 if artifact.rule.family == "probability" else max(p)
        chosen = {k for k in range(M + 1)
                  if lead - p[k] <= artifact.calibration.cut or (k == M and artifact.rule.null == "free")}
        real = chosen - {M}
        sizes.append(len(real))
        null.append(M in chosen)
        unsolvable.append(not any(right))
        served = any(right[k] for k in real)
        misrouted.append(not served and not (M in chosen and not any(right)))
        missed.append(any(right) and not served)
        silent.append(any(right) and not real)
        grades = rows.graded[i].tolist()
        regret.append(max(grades) - max([0.0, *(grades[k] for k in real)]))
        harm.append(right[REFERENCE] and not served)
        if any(right):
            missed_solvable.append(not served)
        top.append(right[max(range(M), key=lambda k: (p[k], -k))])
        found.append(served)
        if rows.cost is not None:
            price = rows.cost[i].tolist()
            usd.append(sum(price[k] for k in real))
            part += [usd[-1] / sum(price)] if sum(price) else []
    return {
        "queries": len(sizes),
        "risk": {"misrouting": slow_share(misrouted), "miss": slow_share(missed),
                 "over_abstention": slow_share(silent), "regret": slow_mean(regret), "harm": slow_share(harm),
                 "miss_given_solvable": slow_share(missed_solvable)},
        "set_size": slow_mean(sizes), "set_size_answered": slow_mean([k for k in sizes if k]),
        "set_size_histogram": {str(k): slow_share([size == k for size in sizes]) for k in range(M + 1)},
        "null_admitted": slow_share(null), "abstention": slow_share([k == 0 for k in sizes]),
        "unsolvable": slow_share(unsolvable),
        "cost": {"usd": slow_mean(usd), "share_of_all": slow_mean(part)},
        "top1_accuracy": slow_share(top), "set_accuracy": slow_share(found),
    }


def slow_baselines(train: Scores, test: Scores) -> dict:
    right, n = test.outcomes.tolist(), len(test.ids)
    price = [[1.0] * M] * n if test.cost is None else test.cost.tolist()

    def best(rows: list[int]) -> int:
        return max(range(M), key=lambda k: (sum(train.outcomes[i, k] for i in rows), -k))

    def judged(called: list[set[int]]) -> dict:
        bills = [sum(price[i][k] for k in called[i]) for i in range(n)]
        return {"accuracy": slow_share([any(right[i][k] for k in called[i]) for i in range(n)]),
                "size": slow_mean([len(c) for c in called]), "cost": None if test.cost is None else slow_mean(bills)}

    everyone = list(range(len(train.ids)))
    rows_of = {t: [i for i in everyone if train.task[i] == t] for t in test.task}
    p = test.probabilities.tolist()
    return {
        "random": {"accuracy": slow_mean([sum(row) / M for row in right]), "size": slow_mean([1.0] * n),
                   "cost": None if test.cost is None else slow_mean([sum(row) / M for row in price])},
        "best_single": judged([{best(everyone)}] * n) if everyone else None,
        "best_per_task": judged([{best(rows_of[t] or everyone)} for t in test.task]) if everyone else None,
        "top2": judged([set(sorted(range(M), key=lambda k: (-p[i][k], k))[:2]) for i in range(n)]),
        "all": judged([set(range(M))] * n),
        "oracle": judged([set(sorted((k for k in range(M) if right[i][k]), key=lambda k: (price[i][k], k))[:1])
                          for i in range(n)]),
    }


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize("k, n", [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (1, 4679)])
def test_a_share_has_its_exact_interval_around_it(k, n):
    got = share(np.random.default_rng(0).permutation(np.arange(n) < k))
    same(got, slow_share([i < k for i in range(n)]))
    assert 0 <= got["low"] <= got["value"] <= got["high"] <= 1


def test_a_mean_has_its_normal_interval_around_it():
    for n in (1, 2, 17, 400):
        values = np.random.default_rng(n).gamma(0.3, 2.0, n)
        got = mean(values)
        same(got, slow_mean(values.tolist()))
        assert values.min() <= got["low"] <= got["value"] <= got["high"] <= values.max()


@pytest.mark.parametrize("n", [1, 2, 3, 10, 49, 1000])
@pytest.mark.parametrize("constant", [0.1, 1 / 3, 2.0, 0.0, 7e-5])
def test_the_mean_of_a_constant_is_the_constant_to_the_bit(constant, n):
    """Where rounding puts the mean outside the range of the values, an error bar would be negative."""
    assert mean(np.full(n, constant)) == {"value": constant, "low": constant, "high": constant}


def test_of_nothing_there_is_no_share_and_no_mean():
    assert share(np.zeros(0, dtype=bool)) is None and mean(np.zeros(0)) is None


def test_a_mean_is_covered_as_often_as_promised():
    rng, trials = np.random.default_rng(1), 2000
    covered = sum(m["low"] <= 0.5 <= m["high"] for m in (mean(rng.random(80)) for _ in range(trials)))
    assert abs(covered / trials - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / trials) + 0.005


# ---------------------------------------------------------------- the report


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize("family, null, loss, method", [("probability", "learned", "misrouting", "crc"),
                                                        ("gap", "product", "miss", "crc"),
                                                        ("probability", "free", "miss", "pac"),
                                                        ("gap", "one_minus_max", "misrouting", "pac")])
def test_every_number_is_that_of_a_slow_loop(priced, family, null, loss, method):
    scores = replace(make(priced=priced), learned_null=np.linspace(0, 1, 60)).with_null(null)
    artifact = calibrated(scores, family, loss, method=method)
    got, test = report(scores, artifact), scores.of_split("test")
    slow = slow_measure(test, artifact)
    same({key: got[key] for key in slow}, slow)
    same(got["baselines"], slow_baselines(scores.of_split("train"), test))
    assert list(got["tasks"]) == ["unseen", "x", "y"] and list(got["ood"]) == ["far"]
    for task, measured in got["tasks"].items():
        same(measured, slow_measure(test.take(test.task == task), artifact), task)
    same(got["ood"]["far"], slow_measure(scores.of_split("ood"), artifact))


def test_the_head_of_the_report_says_what_was_judged():
    scores = make()
    artifact = calibrated(scores, "gap", "miss", method="pac")
    got = report(scores, artifact)
    assert got["n"] == {"train": 15, "validation": 0, "calibration": 15, "test": 15, "ood": 15}
    assert (got["table"], got["models"], got["fingerprint"]) == ("world", list(MODELS), {"router": "r", "table": "t"})
    assert (got["family"], got["null"], got["loss"], got["method"]) == ("gap", "learned", "miss", "pac")
    assert (got["alpha"], got["delta"], got["cut"]) == (0.3, 0.1, artifact.calibration.cut)
    j = artifact.calibration.allowed
    assert got["expected"]["above_alpha"] == pytest.approx(stats.betabinom.sf(math.floor(0.3 * 15), 15, j + 1, 15 - j))


def test_ood_and_other_splits_do_not_move_the_numbers_on_test():
    scores = make()
    artifact = calibrated(scores)
    without = report(scores.take(np.isin(scores.split, ["train", "test"])), artifact)
    got = report(scores, artifact)
    assert without["ood"] == {} and without["n"]["ood"] == 0
    for key in set(got) - {"n", "ood"}:
        assert got[key] == without[key], key


@pytest.mark.parametrize("cut", [-math.inf, -0.1, 0.0, 0.5, 1.0, math.inf])
@pytest.mark.parametrize("null", ["learned", "free"])
def test_extreme_cuts(cut, null):
    scores = make(splits=("test", "calibration"))
    artifact = with_cut(calibrated(scores), cut)
    scores = scores if null == "learned" else scores.with_null("free")
    artifact = replace(artifact, rule=replace(artifact.rule, null=null))
    test = scores.of_split("test")
    got = measure(test, artifact)
    same(got, slow_measure(test, artifact))
    assert sum(h["value"] for h in got["set_size_histogram"].values()) == pytest.approx(1)
    if cut < 0:
        assert got["abstention"]["value"] == 1 and got["set_size_answered"] is None
        assert got["null_admitted"]["value"] == (null == "free")
        assert got["cost"]["usd"]["value"] == got["cost"]["share_of_all"]["value"] == 0
    if cut >= 1:
        assert got["set_size"]["value"] == M and got["risk"]["misrouting"]["value"] == 0
        assert got["cost"]["share_of_all"]["value"] == pytest.approx(1)
    if cut == -math.inf:
        full = make()
        assert report(full, with_cut(calibrated(full), cut))["cut"] == "-inf"


def test_the_histogram_has_every_size_and_its_mean_is_the_set_size():
    scores = make()
    got = measure(scores, calibrated(scores))
    histogram = {int(k): h["value"] for k, h in got["set_size_histogram"].items()}
    assert list(histogram) == list(range(M + 1))
    assert sum(histogram.values()) == pytest.approx(1)
    assert sum(k * v for k, v in histogram.items()) == pytest.approx(got["set_size"]["value"])
    assert histogram[0] == got["abstention"]["value"]


def test_where_nothing_is_solvable_there_is_no_miss_to_condition_on():
    scores = make()
    hopeless = replace(scores, outcomes=np.zeros_like(scores.outcomes))
    got = measure(hopeless, with_cut(calibrated(scores), -1.0))
    assert got["risk"]["miss_given_solvable"] is None
    assert (got["risk"]["miss"]["value"], got["risk"]["misrouting"]["value"], got["unsolvable"]["value"]) == (0, 1, 1)


def test_queries_that_cost_nothing_whoever_is_asked_have_no_share():
    scores = make()
    cost = scores.cost.copy()
    cost[::2] = 0.0
    rows = replace(scores, cost=cost)
    artifact = calibrated(scores)
    same(measure(rows, artifact), slow_measure(rows, artifact))


def test_one_row_alone_has_the_sets_it_has_in_the_batch():
    scores = make(levels=None)
    artifact = calibrated(scores, "gap")
    together = sets_of(scores, artifact)
    for i in range(len(scores.ids)):
        assert (sets_of(scores.take(np.array([i])), artifact)[0] == together[i]).all()


def test_the_report_is_strict_json_whatever_the_cut():
    scores = make()
    for cut in (-math.inf, 0.4):
        got = report(scores, with_cut(calibrated(scores), cut))
        assert json.loads(json.dumps(got, allow_nan=False)) == got


def test_every_interval_of_the_report_holds_its_number():
    def intervals(node):
        if isinstance(node, dict):
            if {"value", "low", "high"} <= set(node):
                yield node
            for child in node.values():
                yield from intervals(child)

    scores = make(n=240)
    found = list(intervals(report(scores, calibrated(scores))))
    assert len(found) > 80
    assert all(i["low"] <= i["value"] <= i["high"] for i in found)


# ---------------------------------------------------------------- baselines


def rows(outcomes, task=None, p=None, cost=None) -> Scores:
    outcomes = np.array(outcomes, dtype=bool)
    n, m = outcomes.shape
    return Scores(ids=np.arange(n).astype(str), split=np.full(n, "test"), task=np.array(task or ["x"] * n),
                  models=MODELS[:m], probabilities=np.array(p) if p else np.zeros((n, m + 1)), outcomes=outcomes,
                  cost=None if cost is None else np.array(cost, dtype=float))


def test_the_best_single_is_chosen_on_train_and_judged_on_test():
    train, test = rows([[1, 0, 1], [1, 0, 0]]), rows([[0, 1, 1]] * 5)
    assert best_single(train) == 0
    assert all_baselines(train, test)["best_single"]["accuracy"]["value"] == 0


def test_an_earlier_model_wins_a_tie_on_train():
    assert best_single(rows([[0, 1, 1], [0, 1, 1]])) == 1


def test_each_task_has_its_best_and_an_unseen_task_the_best_single():
    train = rows([[0, 0, 1]] * 3 + [[0, 1, 0]] * 2, task=["x"] * 3 + ["y"] * 2)
    test = rows([[0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0]], task=["x", "y", "new", "new"])
    got = all_baselines(train, test)
    assert got["best_per_task"]["accuracy"]["value"] == 3 / 4
    assert got["best_single"]["accuracy"]["value"] == 2 / 4


def test_the_top_two_ignore_the_null_and_ties_go_to_earlier_models():
    test = rows([[0, 0, 1], [1, 0, 0], [0, 1, 0]],
                p=[[0.5, 0.5, 0.5, 0.9], [0.1, 0.9, 0.9, 1.0], [0.2, 0.3, 0.2, 0.0]])
    got = all_baselines(test, test)["top2"]
    assert got["accuracy"]["value"] == pytest.approx(1 / 3) and got["size"]["value"] == 2


def test_the_oracle_calls_the_cheapest_right_model_and_nobody_in_vain():
    test = rows([[1, 1, 0], [0, 0, 0], [1, 0, 1]], cost=[[3, 2, 1], [1, 1, 1], [5, 0, 5]])
    got = all_baselines(test, test)["oracle"]
    assert got["accuracy"]["value"] == got["size"]["value"] == pytest.approx(2 / 3)
    assert got["cost"]["value"] == pytest.approx((2 + 0 + 5) / 3)


def test_without_train_rows_nothing_is_chosen_on_them():
    scores = make(splits=("calibration", "test"))
    got = all_baselines(scores.of_split("train"), scores.of_split("test"))
    assert got["best_single"] is got["best_per_task"] is None
    same(got, slow_baselines(scores.of_split("train"), scores.of_split("test")))


def test_random_is_the_mean_over_draws():
    test, rng = make().of_split("test"), np.random.default_rng(0)
    draws = test.outcomes[np.arange(15), rng.integers(0, M, (20_000, 15))].mean(axis=1)
    exact = all_baselines(test, test)["random"]["accuracy"]["value"]
    assert abs(draws.mean() - exact) <= 4 * draws.std() / math.sqrt(20_000)


def test_order_of_the_baselines():
    got = all_baselines(make().of_split("train"), make().of_split("test"))
    accuracy = {name: b["accuracy"]["value"] for name, b in got.items()}
    assert accuracy["oracle"] == accuracy["all"] == max(accuracy.values())
    assert got["oracle"]["cost"]["value"] <= got["all"]["cost"]["value"]


# ---------------------------------------------------------------- curves


@pytest.mark.parametrize("method", ["crc", "pac"])
def test_the_curve_has_every_alpha_that_can_be_promised_and_no_other(method):
    scores = make()
    artifact = calibrated(scores, method=method, alpha=0.25)
    curve = alpha_curve(scores, artifact)
    assert list(curve) == [a for a in ALPHAS if allowed_unserved(15, a, method, 0.1) >= 0] != list(ALPHAS)
    for alpha, measured in curve.items():
        same(measured, slow_measure(scores.of_split("test"), calibrated(scores, method=method, alpha=alpha)))
    assert curve[0.25] == measure(scores.of_split("test"), artifact)
    sizes = [measured["set_size"]["value"] for measured in curve.values()]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("bins", [1, 7, 10])
def test_reliability_against_a_loop(bins):
    scores = make(levels=None)
    slow = {b: [] for b in range(bins)}
    for probability, right in zip(scores.probabilities[:, :-1].ravel().tolist(), scores.outcomes.ravel().tolist(),
                                  strict=True):
        slow[min(math.floor(probability * bins), bins - 1)].append((probability, right))
    expected = [{"predicted": statistics.fmean(q for q, _ in pairs), "observed": slow_share([y for _, y in pairs]),
                 "count": len(pairs)} for pairs in slow.values() if pairs]
    got = reliability(scores, bins)
    assert len(got) == len(expected) and sum(point["count"] for point in got) == 60 * M
    for ours, theirs in zip(got, expected, strict=True):
        same(ours, theirs)


def test_reliability_at_0_and_1_and_without_the_null():
    got = reliability(rows([[1, 0], [1, 0]], p=[[1.0, 0.0, 0.5], [1.0, 0.0, 0.5]]))
    assert [(b["predicted"], b["observed"]["value"], b["count"]) for b in got] == [(0.0, 0.0, 2), (1.0, 1.0, 2)]


# ---------------------------------------------------------------- figures

FIGURES = ["risk_and_size", "set_size_histogram", "reliability", "accuracy_cost"]


def drawn(scores: Scores, artifact: Artifact, folder) -> list[np.ndarray]:
    paths = draw_all(scores, artifact, report(scores, artifact), folder)
    assert paths == [folder / f"{name}.png" for name in FIGURES]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in paths)
    pixels = [imread(path) for path in paths]
    for name, picture in zip(FIGURES, pixels, strict=True):
        assert picture.shape[0] > 400 and picture.shape[1] > 400, name
        coloured = np.ptp(picture[..., :3], axis=-1) > 0.2  # neither grey nor white: data were drawn
        assert coloured.mean() > 1e-4, name
    return pixels


def test_figures_are_drawn_and_depend_on_the_scores(tmp_path):
    first, second = make(seed=0), make(seed=1)
    a = drawn(first, calibrated(first), tmp_path / "deep" / "a")
    b = drawn(second, calibrated(second), tmp_path / "b")
    for name, one, other in zip(FIGURES, a, b, strict=True):
        assert one.shape != other.shape or (one != other).any(), name


@pytest.mark.parametrize("case", ["no prices", "no train rows", "no alpha on the grid", "empty sets", "free models"])
def test_figures_are_drawn_in_every_corner(tmp_path, case):
    """Warnings are errors here, so an empty legend or a flat axis would fail."""
    scores = make(priced=case != "no prices", splits=("calibration", "test") if case == "no train rows" else
                  ("train", "calibration", "test"))
    if case == "no alpha on the grid":  # one calibration query promises alpha = .5 and no less
        scores = scores.take(np.append(np.flatnonzero(scores.split != "calibration"),
                                       np.flatnonzero(scores.split == "calibration")[:1]))
    if case == "free models":
        scores = replace(scores, cost=np.zeros((60, M)))
    artifact = calibrated(scores, alpha=0.5)
    if case == "empty sets":
        artifact = with_cut(artifact, -math.inf)
    drawn(scores, artifact, tmp_path)
