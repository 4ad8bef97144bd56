"""Group calibration: each group's cut by a slow loop and by its exact law, and what the fallback does not promise."""

import math

import numpy as np
import pytest
from scipy import stats

from racer.conformal import METHODS, allowed_unserved, calibrate, least_n
from racer.errors import ConfigError, Infeasible
from racer.group import calibrate_groups

DELTA = {"crc": None, "pac": 0.1}


def world(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """257 queries of five groups, two of them small, with S of the given kind."""
    groups = rng.permutation(np.repeat(["law", "mathematics", "code", "few", "one"], [60, 120, 70, 6, 1]))
    served = rng.random(len(groups)) + 0.1 * (groups == "law")
    if kind == "tied":
        served = np.round(served * 5) / 5
    if kind == "half free":
        served[rng.random(len(groups)) < 0.5] = -np.inf
    return served, groups


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["continuous", "tied", "half free"])
def test_each_group_is_calibrated_on_its_own_rows(method, kind):
    served, groups = world(np.random.default_rng(0), kind)
    c = calibrate_groups(served, groups, 0.1, method, DELTA[method])
    assert sorted(c.own) == ["code", "law", "mathematics"] and c.fell_back == {"few": 6, "one": 1}
    for name, own in c.own.items():
        rows = [s for s, group in zip(served.tolist(), groups.tolist(), strict=True) if group == name]
        assert own == calibrate(np.array(rows), 0.1, method, DELTA[method])
    assert c.pooled == calibrate(served, 0.1, method, DELTA[method])


@pytest.mark.parametrize("method", METHODS)
def test_a_group_has_its_own_cut_from_the_least_n_on(method):
    needed = least_n(0.1, method, DELTA[method])
    groups = np.repeat(["short", "just"], [needed - 1, needed])
    c = calibrate_groups(np.linspace(0, 1, len(groups)), groups, 0.1, method, DELTA[method])
    assert set(c.own) == {"just"} and c.fell_back == {"short": needed - 1} and c.own["just"].allowed == 0
    few = calibrate_groups(np.linspace(0, 1, len(groups)), groups, 0.1, method, DELTA[method], least=needed + 1)
    assert few.own == {} and set(few.fell_back) == {"short", "just"}
    assert (few.cut_of(groups) == few.pooled.cut).all()
    assert calibrate_groups(np.linspace(0, 1, len(groups)), groups, 0.1, method, DELTA[method], least=1) == c


@pytest.mark.parametrize("floor", [False, True])
def test_cut_of_by_a_loop_and_one_row_alone(floor):
    served, groups = world(np.random.default_rng(1), "continuous")
    c = calibrate_groups(served, groups, 0.2, floor=floor)
    asked = np.array(["code", "one", "a language never seen", "law", "", "zz", "mathematics", "few", "mathematic"])
    slow = []
    for name in asked.tolist():
        cut = c.own[name].cut if name in c.own else c.pooled.cut
        slow.append(max(cut, c.pooled.cut) if floor else cut)
    assert c.cut_of(asked).tolist() == slow and c.cut_of(asked).dtype == np.float64
    assert [c.cut_of(asked[i : i + 1])[0] for i in range(len(asked))] == slow
    assert c.cut_of(asked.tolist()).tolist() == slow and c.cut_of([]).shape == (0,)
    assert (min(slow) < c.pooled.cut) != floor  # some group is easier than the mixture


def test_order_of_queries_and_names_of_groups_do_not_matter():
    served, groups = world(np.random.default_rng(2), "tied")
    order = np.random.default_rng(3).permutation(len(served))
    c = calibrate_groups(served, groups, 0.1)
    assert calibrate_groups(served[order], groups[order], 0.1) == c
    renamed = calibrate_groups(served, np.char.add("~", groups), 0.1)
    assert {f"~{name}": own for name, own in c.own.items()} == renamed.own


def test_many_groups():
    """More than fit into one byte, so that the codes' type matters."""
    groups = np.array([f"g{i % 300}" for i in range(300 * 12)])
    served = np.random.default_rng(4).random(len(groups))
    c = calibrate_groups(served, groups, 0.1, "crc")
    assert len(c.own) == 300
    for name in ("g0", "g255", "g256", "g299"):
        assert c.own[name].cut == calibrate(served[groups == name], 0.1, "crc").cut


def test_every_set_of_a_group_may_be_empty():
    groups = np.repeat(["free", "dear"], [40, 40])
    c = calibrate_groups(np.where(groups == "free", -np.inf, 0.5), groups, 0.1)
    assert c.cut_of(["free", "dear"]).tolist() == [-np.inf, 0.5]


# ---------------------------------------------------------------- refused


def test_too_few_queries_for_the_fallback_are_infeasible():
    with pytest.raises(Infeasible, match="needs n >= 22 calibration queries, got n = 21") as caught:
        calibrate_groups(np.zeros(21), ["a"] * 21, 0.1)
    assert caught.value.needed == 22


def test_a_large_group_that_the_hard_limits_fail_is_named():
    groups = np.repeat(["easy", "capped"], [900, 100])
    served = np.where((groups == "capped") & (np.arange(1000) % 2 == 0), np.inf, 0.5)
    with pytest.raises(Infeasible, match=r"group 'capped': .*50 of 100 calibration queries cannot be served") as caught:
        calibrate_groups(served, groups, 0.1)
    assert caught.value.needed is None and caught.value.n == 100
    assert calibrate_groups(served, groups, 0.1, least=200).fell_back == {"capped": 100}  # the mixture can be served


@pytest.mark.parametrize("groups, message", [(["a"] * 29, "one group per query"), (np.arange(30), "expected one text"),
                                             (np.full((30, 1), "a"), "expected one text")])
def test_groups_of_the_wrong_shape_or_type_are_refused(groups, message):
    with pytest.raises(ConfigError, match=message):
        calibrate_groups(np.zeros(30), groups, 0.1)


def test_a_query_without_a_group_is_refused():
    c = calibrate_groups(np.zeros(30), ["a"] * 30, 0.1)
    with pytest.raises(ConfigError, match=r"\.astype\(str\)"):
        c.cut_of([None, "a"])


# ---------------------------------------------------------------- the promise, by simulation


@pytest.mark.parametrize("method, alpha", [("crc", 0.1), ("crc", 0.3), ("pac", 0.1), ("pac", 0.3)])
def test_each_group_follows_its_own_beta_law(method, alpha):
    """Groups of unlike difficulty and size; S uniform within each, so the true risk of a cut is exact."""
    sizes, offsets, trials = {"a": 61, "b": 137, "c": 300}, {"a": 0.0, "b": 5.0, "c": -3.0}, 700
    groups = np.repeat(list(sizes), list(sizes.values()))
    offset = np.array([offsets[name] for name in groups])
    rng, risks = np.random.default_rng(round(100 * alpha)), np.empty((trials, 3))
    for t in range(trials):
        c = calibrate_groups(rng.random(len(groups)) + offset, groups, alpha, method, 0.1)
        risks[t] = 1 - (c.cut_of(list(sizes)) - np.array(list(offsets.values())))
    for risk, n in zip(risks.T, sizes.values(), strict=True):
        j = allowed_unserved(n, alpha, method, 0.1)
        law = stats.beta(j + 1, n - j)
        assert stats.kstest(risk, law.cdf).pvalue > 1e-3
        if method == "crc":
            assert risk.mean() <= alpha + 3 * law.std() / math.sqrt(trials)
        else:
            assert (risk > alpha).mean() <= 0.1 + 3 * math.sqrt(0.09 / trials)


@pytest.mark.parametrize("method", METHODS)
def test_a_group_keeps_its_promise_whenever_its_count_lets_it_be_made(method):
    """The count is random and often too small: given that it is large enough, the promise still holds."""
    rng, trials, risks = np.random.default_rng(5), 2000, []
    share = least_n(0.2, method, DELTA[method]) / 60  # so that about half of the draws fall back
    for _ in range(trials):
        groups = np.where(rng.random(60) < share, "rare", "common")
        served = np.where(groups == "rare", rng.integers(1, 21, 60), 0)  # tied: risk 1 - cut / 20
        c = calibrate_groups(served, groups, 0.2, method, DELTA[method])
        if "rare" in c.own:
            risks.append(1 - c.own["rare"].cut / 20)
    assert 0.25 * trials < len(risks) < 0.75 * trials
    if method == "crc":
        assert np.mean(risks) <= 0.2 + 3 * np.std(risks) / math.sqrt(len(risks))
    else:
        assert np.mean(np.array(risks) > 0.2) <= 0.1 + 3 * math.sqrt(0.09 / len(risks))


def test_the_fallback_keeps_the_promise_of_the_mixture_only():
    """One large easy group and forty small hard ones: S uniform on [0, 1] and on [.5, 1.5]."""
    rng, n, trials, alpha = np.random.default_rng(6), 400, 500, 0.1
    pooled_for_all, routed, floored, hard = np.empty((4, trials))
    for t in range(trials):
        small = rng.random(n) < 0.2
        groups = np.where(small, rng.integers(0, 40, n).astype(str), "easy")
        served = rng.random(n) + 0.5 * small
        c = calibrate_groups(served, groups, alpha, "crc", least=30)
        lifted = calibrate_groups(served, groups, alpha, "crc", least=30, floor=True)
        easy_risk, hard_risk = (lambda cut: max(1 - cut, 0)), (lambda cut: min(max(1.5 - cut, 0), 1))
        pooled, own = c.pooled.cut, c.cut_of(["easy"])[0]
        hard[t] = hard_risk(c.cut_of(["7"])[0])
        pooled_for_all[t] = 0.8 * easy_risk(pooled) + 0.2 * hard_risk(pooled)
        routed[t] = 0.8 * easy_risk(own) + 0.2 * hard[t]
        floored[t] = 0.8 * easy_risk(lifted.cut_of(["easy"])[0]) + 0.2 * hard_risk(lifted.cut_of(["7"])[0])
    error = 3 / math.sqrt(trials)
    assert abs(pooled_for_all.mean() - alpha) <= error * pooled_for_all.std() + 2 / (n + 1)
    assert hard.mean() > 0.4  # no promise for the small groups
    assert routed.mean() > 0.16  # nor for all queries as they are routed
    assert floored.mean() <= alpha + error * floored.std()  # but with the floor
