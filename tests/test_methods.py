"""Each risk.method from a file of scores: what it uses of them, what it promises, and what it says when it cannot."""

import math
import sys
import types
from dataclasses import asdict, replace

import numpy as np
import pytest

from racer import artifact as artifact_file
from racer import band, bounded, conformal, stages
from racer.bounds import p_value
from racer.config import AlsoConfig, RiskConfig, SetsConfig
from racer.context import Context
from racer.errors import ConfigError, Infeasible, TableError
from racer.evaluate import losses_of, report, sets_of
from racer.losses import least_cut, loss
from racer.methods import calibrate, check_feasible, deployed
from racer.online import loss_estimate
from racer.problem import Problem, context_of, reference_of, truth_of
from racer.risk import Also, Risk
from racer.rule import SetRule
from racer.scores import Scores, load
from racer.sets import select
from racer.traffic import fitting_half

M = 4
MODELS = ("a", "b", "c", "d")
RULE = SetRule("probability", "free", prices=(0.1, 0.2, 0.4, 0.8))


def make(seed: int = 0, n: int = 900, splits=("train", "validation", "calibration", "calibration", "test", "ood"),
         levels: int | None = None) -> Scores:
    """Scores of a middling router; two tasks, one harder; graded outcomes, and costs that differ by query."""
    rng = np.random.default_rng(seed)
    split, task = np.array(splits)[np.arange(n) % len(splits)], np.where(rng.random(n) < 0.3, "hard", "easy")
    p = rng.beta(1.2, 0.9, (n, M + 1))
    graded = np.clip(p[:, :-1] + rng.normal(0, 0.35, (n, M)) - 0.25 * (task == "hard")[:, None], 0, 1)
    p[:, -1] = 0.0
    return Scores(ids=np.array([f"q{i}" for i in range(n)]), split=split, task=task, models=MODELS,
                  probabilities=p if levels is None else np.round(p * levels) / levels, outcomes=graded >= 0.5,
                  graded=graded, null="free", cost=rng.gamma(2.0, 1.0, (n, M)) * RULE.prices, table="world",
                  fingerprint={"router": "r", "table": "t"})


def observed(scores: Scores, calibration, name: str, split: str = "calibration") -> np.ndarray:
    artifact = stages.Artifact(RULE, Risk(name), calibration, MODELS, {}, reference_of(scores))
    rows = scores.of_split(split)
    return loss(sets_of(rows, artifact), truth_of(rows, artifact.reference), name)


@pytest.mark.parametrize("name", ["misrouting", "miss", "over_abstention", "harm"])
@pytest.mark.parametrize("method", ["crc", "pac"])
def test_losses_of_0_or_1_go_through_one_number_per_query(method, name):
    scores, alpha = make(), 0.05
    rows = scores.of_split("calibration")
    served = least_cut(RULE.distance(rows.probabilities), truth_of(rows, reference_of(scores)), name)
    got = calibrate(scores, RULE, Risk(name, method, alpha))
    assert got == conformal.calibrate(served, alpha, method, 0.1) and got.kind == "count"
    assert observed(scores, got, name).sum() == got.unserved


@pytest.mark.parametrize("method", ["crc", "pac"])
def test_regret_is_calibrated_as_a_mean(method):
    scores = make()
    got = calibrate(scores, RULE, Risk("regret", method, 0.1))
    assert got.kind == "bounded" and got.bound_by == {"crc": "crc", "pac": "wsr"}[method]
    assert observed(scores, got, "regret").mean() == pytest.approx(got.observed) and got.bound <= 0.1
    assert 0.05 < got.observed <= got.bound


def test_every_bound_can_be_had_and_the_exact_one_is_the_tightest_by_count():
    scores, cuts = make(n=3000), {}
    for bound in ("auto", "binomial", "hoeffding", "hoeffding_bentkus", "empirical_bernstein", "wsr"):
        got = calibrate(scores, RULE, Risk("miss", alpha=0.1, bound=bound))
        cuts[bound] = got.cut
        assert got.kind == ("count" if bound in ("auto", "binomial") else "bounded")
    assert cuts["auto"] == cuts["binomial"] and cuts["hoeffding"] > cuts["wsr"]
    assert cuts["binomial"] == min(cut for bound, cut in cuts.items() if bound != "wsr")  # wsr bets on the order
    with pytest.raises(ConfigError, match=r"bound=binomial is for losses of 0 or 1 .*risk\.bound=auto"):
        Risk("regret", bound="binomial")


def test_the_grid_comes_from_validation_then_train_never_from_calibration():
    scores = make()
    changed = replace(scores, probabilities=np.where((scores.split == "calibration")[:, None],
                                                     scores.probabilities**2, scores.probabilities))
    risk = Risk("regret", cuts=9)
    assert (Problem(scores, RULE, risk).grid == Problem(changed, RULE, risk).grid).all()
    train = scores.take(scores.split != "validation")
    assert len(Problem(train, RULE, risk).grid) == 9
    assert set(Problem(train, RULE, risk).grid[1:-1]) <= set(RULE.distance(scores.of_split("train").probabilities).flat)
    bare = scores.take(np.isin(scores.split, ["calibration", "test"]))
    with pytest.raises(TableError, match=r"validation or train rows, and there are none"):
        calibrate(bare, RULE, risk)
    assert calibrate(bare, RULE, Risk("regret", "crc")).method == "crc"  # needs no grid


@pytest.mark.parametrize("method", ["crc", "pac"])
def test_a_loss_that_rises_is_sent_to_ltt(method):
    with pytest.raises(ConfigError, match=f"cost rises as sets grow, on .* {method} needs.*set risk.method=ltt"):
        calibrate(make(), RULE, Risk("cost", method))


def test_a_loss_of_the_users_own_goes_the_whole_road(monkeypatch, tmp_path):
    module = types.ModuleType("own_losses")
    module.half_miss = lambda chosen, truth: 0.5 * loss(chosen, truth, "miss") + 0.5 * loss(chosen, truth, "harm")
    module.crowd = lambda chosen, truth: chosen[:, :-1].mean(axis=1)
    monkeypatch.setitem(sys.modules, "own_losses", module)
    scores = make()
    scores.save(tmp_path / "scores.npz")
    risk = RiskConfig("own_losses:half_miss", "crc", 0.08)
    artifact = stages.calibrate_run(tmp_path, SetsConfig(), risk)
    assert artifact_file.load(tmp_path / "calibration.json") == artifact and artifact.risk == Risk.of(asdict(risk))
    result = stages.evaluate_run(tmp_path).report
    assert result["expected"] is None and result["loss"] == "own_losses:half_miss"
    test = load(tmp_path / "scores.npz").of_split("test")
    assert result["risk"]["own_losses:half_miss"]["value"] == pytest.approx(
        losses_of(sets_of(test, artifact), test, artifact)["own_losses:half_miss"].mean())
    with pytest.raises(ConfigError, match="own_losses:crowd rises as sets grow"):
        calibrate(scores, RULE, Risk("own_losses:crowd"))


def test_harm_compares_with_the_best_single_model_on_train():
    scores = make()
    train = scores.of_split("train")
    assert reference_of(scores) == train.outcomes.mean(axis=0).argmax()
    with pytest.raises(ConfigError, match="needs a reference"):
        calibrate(scores.take(scores.split != "train"), RULE, Risk("harm"))
    got = stages.calibrate_scores(scores, RULE, RiskConfig("harm", alpha=0.05))
    result = report(scores, got)
    assert set(result["risk"]) == {"misrouting", "miss", "over_abstention", "regret", "harm", "miss_given_solvable"}
    assert result["set_accuracy"]["value"] >= (
        result["baselines"]["best_single"]["accuracy"]["value"] - result["risk"]["harm"]["value"] - 1e-12)


@pytest.mark.parametrize(("risk", "needed"), [
    (Risk("miss", "pac", 0.01, 0.05), 299), (Risk("miss", "crc", 0.01), 99), (Risk("regret", "crc", 0.01), 99)])
def test_too_few_calibration_queries_are_found_before_anything_is_done(risk, needed):
    check_feasible(needed, risk)
    with pytest.raises(Infeasible, match=f"needs n >= {needed} .*got n = {needed - 1}"):
        check_feasible(needed - 1, risk)


def test_too_few_for_a_bound_are_said_with_the_bound():
    risk = Risk("regret", alpha=0.05)
    needed = bounded.least_n(0.05, 0.1, "wsr")
    with pytest.raises(Infeasible, match=f"pac with the bound wsr at delta=0.1 needs n >= {needed} .*got n = 20") as e:
        check_feasible(20, risk)
    check_feasible(20, replace(risk, alpha=e.value.reachable + 1e-6))
    assert "nan" not in str(e.value)


def test_hard_limits_that_put_a_level_out_of_reach_are_an_error_that_says_what_is():
    with pytest.raises(Infeasible, match="even the largest sets give") as caught:
        calibrate(make(), replace(RULE, max_size=1), Risk("regret", "crc", 0.02))
    assert caught.value.needed is None
    assert calibrate(make(), replace(RULE, max_size=1), Risk("regret", "crc", caught.value.reachable)).bound <= 1


@pytest.mark.parametrize(("name", "method"), [("miss", "pac"), ("regret", "pac"), ("regret", "crc")])
def test_the_promise_of_scores_on_a_finite_world(name, method):
    """Calibration rows drawn from 150 kinds: the true risk of a cut is a mean over the kinds."""
    kinds, alpha, trials, n = make(1, 150, splits=("calibration",)), 0.12, 150, 200
    kinds = replace(kinds, task=np.full(150, "x"))
    design = make(2, 60, splits=("validation",))
    rng, risks = np.random.default_rng(3), []
    for _ in range(trials):
        drawn = kinds.take(rng.integers(0, 150, n))
        calibration = calibrate(joined(design, drawn), RULE, Risk(name, method, alpha, cuts=40))
        artifact = stages.Artifact(RULE, Risk(name), calibration, MODELS, {})
        risks.append(loss(sets_of(kinds, artifact), truth_of(kinds, None), name).mean())
    risks = np.array(risks)
    if method == "crc":
        assert risks.mean() <= alpha + 3 * risks.std() / math.sqrt(trials)
    else:
        assert (risks > alpha).mean() <= 0.1 + 3 * math.sqrt(0.09 / trials)
    assert risks.mean() > alpha / 2


# ---------------------------------------------------------------- dkw


def test_dkw_keeps_one_width_for_every_alpha_and_is_never_tighter_than_pac():
    scores, widths = make(n=3000), set()
    for alpha in (0.06, 0.1, 0.3):
        got = calibrate(scores, RULE, Risk("miss", "dkw", alpha))
        widths.add(got.width)
        assert got.bound == got.unserved / got.n + got.width <= alpha
        assert got.unserved == got.allowed and (got.allowed + 1) / got.n + got.width > alpha
        assert got.cut >= calibrate(scores, RULE, Risk("miss", "pac", alpha)).cut
        assert "alpha may be chosen after" in got.lines()[1]
    assert widths == {math.sqrt(-math.log(0.1) / 2000)}


def test_dkw_holds_for_an_alpha_picked_after_looking_where_pac_would_not():
    """S uniform: the risk of a cut is 1 - cut. The worst of all alphas breaks its promise in at most delta of draws."""
    rng, n, trials, broken = np.random.default_rng(0), 100, 500, {"dkw": 0, "pac": 0}
    alphas = np.linspace(0.12, 0.6, 25)
    for _ in range(trials):
        served = rng.random(n)
        broken["dkw"] += any(1 - band.calibrate(served, alpha, 0.1).cut > alpha for alpha in alphas)
        broken["pac"] += any(1 - conformal.calibrate(served, alpha, "pac", 0.1).cut > alpha for alpha in alphas)
    assert broken["dkw"] / trials <= 0.1 + 3 * math.sqrt(0.09 / trials)
    assert broken["dkw"] > 0.2 * 0.1 * trials  # not wasteful
    assert broken["pac"] / trials > 0.2  # what it never promised


@pytest.mark.parametrize(("alpha", "delta"), [(0.1, 0.1), (0.05, 0.05), (0.3, 0.5)])
def test_dkw_says_how_many_queries_it_needs(alpha, delta):
    needed = band.least_n(alpha, delta)
    assert needed == math.ceil(-math.log(delta) / (2 * alpha**2))
    assert band.calibrate(np.linspace(0, 1, needed), alpha, delta).allowed == 0
    with pytest.raises(Infeasible, match=f"dkw at delta={delta:g} needs n >= {needed}"):
        band.calibrate(np.linspace(0, 1, needed - 1), alpha, delta)
    with pytest.raises(Infeasible, match=r"out of reach: within sets\.max_size"):
        band.calibrate(np.full(needed + 50, np.inf), alpha, delta)


# ---------------------------------------------------------------- ltt


def configurations(scores: Scores, risk: Risk) -> list[tuple]:
    """Every configuration, slowly: (cut, size, risks on design rows, their p, spend there, p on calibration rows)."""
    found, design, rows = [], scores.of_split("validation"), scores.of_split("calibration")
    for size in risk.sizes or (None,):
        rule = replace(RULE, max_size=size)
        for cut in Problem(scores, RULE, risk).grid:
            means, p_design, p_rows = [], [], []
            for name, alpha in risk.promises:
                for part, p in ((design, p_design), (rows, p_rows)):
                    chosen = rule.distance(part.probabilities) <= cut
                    losses = loss(chosen, truth_of(part, reference_of(scores)), name).astype(float)
                    p.append(p_value(losses, alpha, "binomial" if set(losses) <= {0.0, 1.0} else "wsr"))
                    means += [losses.mean()] if part is design else []
            spend = ((rule.distance(design.probabilities) <= cut)[:, :-1] * design.cost).sum(axis=1).mean()
            found.append((cut, size, means, max(p_design), spend, max(p_rows)))
    return found


TWO = dict(method="ltt", alpha=0.12, also=(Also("cost", 0.6),), cuts=25)


@pytest.mark.parametrize("testing", ["fixed_sequence", "bonferroni", "holm", "pareto"])
@pytest.mark.parametrize("sizes", [None, (1, 2, 4)])
def test_ltt_deploys_the_cheapest_certified_configuration(testing, sizes):
    scores = make(n=2400)
    risk = Risk("miss", testing=testing, sizes=sizes, **TWO)
    every = configurations(scores, risk)
    p, spend = np.array([c[5] for c in every]), np.array([c[4] for c in every])
    if testing == "pareto":
        points = [(*c[2], c[4]) for c in every]
        front = [i for i, a in enumerate(points) if not any(
            all(x <= y for x, y in zip(b, a, strict=True)) and b != a for b in points)]
        order = sorted(front, key=lambda i: every[i][3])
    else:
        order = sorted(range(len(every)), key=lambda i: (every[i][3], every[i][4]))
    certified = []
    if testing in ("fixed_sequence", "pareto"):
        for i in order:
            if p[i] > 0.1:
                break
            certified.append(i)
    elif testing == "bonferroni":
        certified = [i for i in order if p[i] <= 0.1 / len(every)]
    else:
        for k, i in enumerate(sorted(order, key=lambda i: p[i])):
            if p[i] > 0.1 / (len(every) - k):
                break
            certified.append(i)
    got = calibrate(scores, RULE, risk)
    best = min(certified, key=lambda i: spend[i])
    assert (got.certified, got.tested) == (len(certified), len(order))
    assert got.objective == pytest.approx(spend[best]) and (got.cut, got.size) == every[best][:2]
    assert [r["loss"] for r in got.risks] == ["miss", "cost"] and all(r["bound"] <= r["alpha"] for r in got.risks)


def test_ltt_needs_no_monotone_loss_and_deploys_its_own_limit(tmp_path):
    scores = make(n=2400)
    scores.save(tmp_path / "scores.npz")
    risk = RiskConfig("miss", "ltt", 0.25, also=[AlsoConfig("cost", 0.5)], sizes=[1, 2, 3], testing="pareto", cuts=30)
    artifact = stages.calibrate_run(tmp_path, SetsConfig(), risk)
    assert artifact.rule.max_size == artifact.calibration.size in (1, 2, 3)
    assert artifact_file.load(tmp_path / "calibration.json") == artifact
    result = stages.evaluate_run(tmp_path).report
    assert [(p["loss"], p["alpha"]) for p in result["promises"]] == [("miss", 0.25), ("cost", 0.5)]
    assert result["promises"][1]["observed"]["value"] == pytest.approx(result["cost"]["share_of_all"]["value"])
    largest = max(int(k) for k, share in result["set_size_histogram"].items() if share["value"])
    assert largest <= artifact.rule.max_size


def test_ltt_says_honestly_that_nothing_is_certified():
    says = r"none of 25 .* most promising one: miss 0\.\d+ .*cost 0\.\d+ .*More queries would hardly help"
    with pytest.raises(Infeasible, match=says) as caught:
        calibrate(make(), RULE, Risk("miss", "ltt", 0.05, also=(Also("cost", 0.05),), cuts=25))
    assert caught.value.needed is None


@pytest.mark.parametrize("testing", ["fixed_sequence", "bonferroni", "holm", "pareto"])
def test_ltt_says_about_how_many_queries_would_certify_something(testing):
    scores = make(n=900)
    risk = Risk("miss", "ltt", 0.13, 0.01, also=(Also("cost", 0.62),), cuts=25, testing=testing)
    few = scores.take((scores.split != "calibration") | (np.cumsum(scores.split == "calibration") <= 50))
    with pytest.raises(Infeasible, match="Calibrate on about") as caught:
        calibrate(few, RULE, risk)
    rows = few.of_split("calibration")
    assert caught.value.n == len(rows.ids) == 50 < caught.value.needed < 2000
    enough = rows.take(np.resize(np.arange(50), 50 * -(-caught.value.needed // 50)))  # the same means
    assert calibrate(joined(few.take(few.split != "calibration"), enough), RULE, risk).certified >= 1


@pytest.mark.parametrize("testing", ["fixed_sequence", "holm", "pareto"])
def test_the_promise_of_ltt_on_a_finite_world(testing):
    """Both true risks at once, of what is deployed; nothing certified keeps every promise."""
    kinds, design = make(1, 120, splits=("calibration",)), make(2, 240, splits=("validation",))
    rng, trials, broken, deployed_some = np.random.default_rng(3), 120, 0, 0
    risk = Risk("miss", "ltt", 0.2, 0.2, also=(Also("cost", 0.5),), cuts=12, testing=testing, sizes=(2, 4))
    for _ in range(trials):
        world = joined(design, kinds.take(rng.integers(0, 120, 400)))
        try:
            got = calibrate(world, RULE, risk)
        except Infeasible:
            continue
        deployed_some += 1
        artifact = stages.Artifact(deployed(RULE, got), risk, got, MODELS, {})
        broken += any(loss(sets_of(kinds, artifact), truth_of(kinds, None), name).mean() > alpha
                      for name, alpha in risk.promises)
    assert deployed_some > trials / 4 and broken / trials <= 0.2 + 3 * math.sqrt(0.16 / trials)


def joined(a: Scores, b: Scores) -> Scores:
    columns = ("ids", "split", "task", "probabilities", "outcomes", "graded", "cost")
    return replace(a, **{c: np.concatenate([getattr(a, c), getattr(b, c)]) for c in columns})


# ---------------------------------------------------------------- group


@pytest.mark.parametrize("within", ["pac", "crc"])
def test_each_task_has_the_cut_of_its_own_rows(within, tmp_path):
    scores = make(n=2000)
    scores = replace(scores, task=np.where(np.arange(2000) % 97 == 2, "rare", scores.task))  # 97: hits every split
    scores.save(tmp_path / "scores.npz")
    artifact = stages.calibrate_run(tmp_path, SetsConfig("probability"),
                                    RiskConfig("miss", "group", 0.1, within=within, least=30))
    got, rows = artifact.calibration, scores.of_split("calibration")
    assert artifact_file.load(tmp_path / "calibration.json") == artifact and (got.delta is None) == (within == "crc")
    served = least_cut(RULE.distance(rows.probabilities), truth_of(rows, 0), "miss")
    for task in ("easy", "hard"):
        assert got.own[task] == conformal.calibrate(served[rows.task == task], 0.1, within, 0.1)
    assert got.pooled == conformal.calibrate(served, 0.1, within, 0.1) and got.own["hard"].cut > got.own["easy"].cut
    assert got.fell_back == {"rare": int((rows.task == "rare").sum())}
    cuts = got.cut_of(Context(4, {"task": ["hard", "rare", "new", None]}))
    assert cuts.tolist() == [got.own["hard"].cut] + [got.pooled.cut] * 3
    groups = stages.evaluate_run(tmp_path).report["groups"]
    assert groups["easy"]["own_cut"] and groups["easy"]["expected"] and not groups["rare"]["own_cut"]
    assert groups["rare"]["expected"] is None and sum(g["queries"] for g in groups.values()) == 333


def test_a_group_is_any_column_and_must_be_known_when_routing():
    scores = replace(make(), group=np.where(np.arange(900) % 5 < 2, "paid", "free"))
    got = calibrate(scores, RULE, Risk("miss", "group", by="group"))
    assert set(got.own) == {"free", "paid"}
    with pytest.raises(ConfigError, match="a cut per group: say the group of every query"):
        got.cut_of(Context(3, {"task": np.array(["easy"] * 3)}))
    with pytest.raises(TableError, match=r"risk\.by=group, but these scores have no column group"):
        calibrate(make(), RULE, Risk("miss", "group", by="group"))


# ---------------------------------------------------------------- weighted


def shifted(seed: int, n: int = 4000) -> tuple[Scores, np.ndarray]:
    """Calibration and test rows of a world, ood rows of the same world where hard-looking queries are more frequent."""
    scores = make(seed, n, splits=("train", "calibration", "calibration", "test", "ood", "ood"))
    rng = np.random.default_rng(seed)
    w = np.exp(2.5 * (0.5 - scores.probabilities[:, :-1].mean(axis=1)))
    keep = (scores.split != "ood") | (rng.random(n) * w.max() < w)
    return scores.take(keep), w[keep]


def test_known_weights_move_the_cuts_to_the_new_traffic():
    scores, w = shifted(0)
    scores = replace(scores, weight=w)
    plain = calibrate(scores, RULE, Risk("miss", "crc", 0.1))
    got = calibrate(scores, RULE, Risk("miss", "weighted", 0.1, weights="known"))
    assert got.n == plain.n and got.ratio is None and 0.3 * got.n < got.n_eff < got.n
    even = replace(scores, weight=np.ones(len(w)))
    same = calibrate(even, RULE, Risk("miss", "weighted", 0.1, weights="known"))
    context = context_of(even.of_split("test"))
    assert set(same.cut_of(context).tolist()) == {plain.cut} and same.bound == pytest.approx(plain.bound)
    assert (got.cut_of(context_of(scores.of_split("test"))) >= plain.cut).mean() > 0.9
    with pytest.raises(ConfigError, match="say the `weight` of every query"):
        got.cut_of(Context(2))
    with pytest.raises(TableError, match="no column weight"):
        calibrate(shifted(0)[0], RULE, Risk("miss", "weighted", weights="known"))


def test_estimated_weights_keep_the_promise_that_crc_breaks_on_new_traffic():
    """Mean over worlds of the loss on ood rows no weight was fitted on: the promise is on average."""
    plain, weighted = [], []
    for seed in range(9):
        scores, _ = shifted(seed, 3000)
        for method, found in (("crc", plain), ("weighted", weighted)):
            got = calibrate(scores, RULE, Risk("miss", method, 0.1))
            artifact = stages.Artifact(RULE, Risk("miss", method, 0.1), got, MODELS, {}, 0)
            fresh = scores.of_split("ood")
            fresh = fresh.take(~fitting_half(fresh))
            found.append(loss(sets_of(fresh, artifact), truth_of(fresh, 0), "miss").mean())
    error = np.std(weighted) / math.sqrt(9)
    assert np.mean(plain) > 0.1 + 3 * error and abs(np.mean(weighted) - 0.1) <= 4 * error + 0.01


def test_weights_are_estimated_on_one_half_and_calibrate_on_the_other(tmp_path):
    scores, _ = shifted(1)
    risk = Risk("miss", "weighted", 0.1)
    got = calibrate(scores, RULE, risk)
    rows = scores.of_split("calibration")
    assert got.n == (~fitting_half(rows)).sum() and abs(got.n - len(rows.ids) / 2) <= 1
    harmless = replace(scores, outcomes=np.where((scores.split == "ood")[:, None], False, scores.outcomes))
    assert calibrate(harmless, RULE, risk) == got  # outcomes of new traffic are not looked at
    scores.of_split("ood").save(tmp_path / "traffic.npz")
    from_file = calibrate(scores, RULE, replace(risk, weights=str(tmp_path / "traffic.npz")))
    assert from_file.ratio != got.ratio and from_file.n == got.n
    other = replace(scores.of_split("ood"), models=("a", "b", "d", "c"))
    other.save(tmp_path / "other.npz")
    with pytest.raises(ConfigError, match="has the models a, b, d, c, the scores have a, b, c, d"):
        calibrate(scores, RULE, replace(risk, weights=str(tmp_path / "other.npz")))
    with pytest.raises(TableError, match="0 traffic rows to estimate weights from"):
        calibrate(scores.take(scores.split != "ood"), RULE, risk)


def test_a_weighted_run_is_stored_judged_and_says_what_its_promise_lacks(tmp_path):
    scores, _ = shifted(2, 2000)
    scores.save(tmp_path / "scores.npz")
    artifact = stages.calibrate_run(tmp_path, SetsConfig("gap"), RiskConfig("miss", "weighted", 0.15))
    back = artifact_file.load(tmp_path / "calibration.json")
    assert back == artifact and "cannot be measured" in back.calibration.lines()[-1]
    result = stages.evaluate_run(tmp_path).report
    assert result["expected"] is None and 0 <= result["traffic"]["weighted_test_risk"] <= 1
    ood = load(tmp_path / "scores.npz").of_split("ood")
    losses = losses_of(sets_of(ood, artifact), ood, artifact)["miss"]
    assert result["traffic"]["ood"]["value"] == losses[~fitting_half(ood)].mean() != losses[fitting_half(ood)].mean()
    test = load(tmp_path / "scores.npz").of_split("test")
    weights = artifact.calibration.weights_of(context_of(test))
    assert result["traffic"]["weighted_test_risk"] == pytest.approx(np.average(
        losses_of(sets_of(test, artifact), test, artifact)["miss"], weights=weights))
    assert result["cut"] is None


def test_a_query_too_heavy_for_any_cut_gets_every_model_within_the_limits():
    scores, w = shifted(3)
    risk = Risk("miss", "weighted", 0.3, weights="known")
    got = calibrate(replace(scores, weight=w), replace(RULE, max_size=3), risk)
    s = replace(RULE, max_size=3).distance(scores.probabilities[:1])
    chosen = select(s, got.cut_of(Context(1, {"weight": [got.largest_weight * 1.01]})))
    assert chosen[0].sum() == 4 and not (chosen & (s == np.inf)).any()  # three models and the null
    said = [stages.Artifact(rule, risk, got, MODELS, {}).lines()[-1] for rule in (RULE, replace(RULE, max_size=3))]
    assert "on top of this promise" not in said[0] and "on top of this promise" in said[1]


# ---------------------------------------------------------------- online


def test_online_begins_where_crc_does_and_its_stream_keeps_the_bound(tmp_path):
    scores = make(n=2400, levels=None)
    scores.save(tmp_path / "scores.npz")
    artifact = stages.calibrate_run(tmp_path, SetsConfig("probability"), RiskConfig("miss", "online", 0.1, step=0.02))
    got = artifact.calibration
    assert artifact_file.load(tmp_path / "calibration.json") == artifact
    served = np.sort(least_cut(RULE.distance(scores.of_split("calibration").probabilities),
                               scores.of_split("calibration").outcomes, "miss"))
    crc = conformal.calibrate(served, 0.1, "crc").cut
    assert got.cut in served[np.searchsorted(served, crc) + np.arange(-1, 2)]
    stream = stages.evaluate_run(tmp_path).report["stream"]
    assert abs(stream["risk"] - 0.1) <= stream["bound"] - 0.1 and stream["queries"] == 400
    after = got
    for error in (1, 1, 0, 1):
        after = after.observe(error)
    assert after.cut > got.cut and after.tracker.count == 4 and after.cut == after.level.cut
    replace(artifact, calibration=after).save(tmp_path / "calibration.json")
    assert artifact_file.load(tmp_path / "calibration.json").calibration == after


def test_what_hard_limits_leave_unserved_comes_on_top_of_the_bound_of_a_stream(tmp_path):
    make(n=2400).save(tmp_path / "scores.npz")
    risk = RiskConfig("miss", "online", 0.02, step=1.0)
    artifact = stages.calibrate_run(tmp_path, SetsConfig("probability", max_size=1), risk)
    test = load(tmp_path / "scores.npz").of_split("test")
    asked = select(artifact.rule.of_scores(test), bounded.EVERYTHING)
    result = stages.evaluate_run(tmp_path).report
    stream, sizes = result["stream"], result["set_size_histogram"]
    assert stream["lost"] == loss(asked, test.outcomes, "miss").mean() and stream["risk"] <= stream["bound"]
    assert stream["risk"] > stream["bound"] - stream["lost"]  # what would hold without limits
    assert max(int(size) for size, share in sizes.items() if share["value"]) == 1
    assert "every model the hard limits allow" in artifact.lines()[0]
    assert "on top of this promise" in artifact.lines()[-1]


def test_losses_seen_by_chance_are_fed_back_and_the_promise_is_said_to_be_on_average(tmp_path):
    make(n=2400).save(tmp_path / "scores.npz")
    risk = RiskConfig("miss", "online", 0.1, step=0.05, explore=0.25)
    artifact = stages.calibrate_run(tmp_path, SetsConfig("probability"), risk)
    every = stages.calibrate_run(tmp_path, SetsConfig("probability"), replace(risk, explore=1.0))
    assert artifact.calibration.bound > every.calibration.bound and artifact.calibration.cut == every.calibration.cut
    assert "the expected mean loss" in artifact.lines()[1] and "the mean loss" in every.lines()[1]
    artifact.save(tmp_path / "calibration.json")
    stream = stages.evaluate_run(tmp_path).report["stream"]
    assert stream["explore"] == 0.25 and abs(stream["risk"] - 0.1) < stream["bound"] - 0.1
    unseen, seen = (artifact.observe(loss_estimate("miss", False, True, other, 0.25)) for other in (None, True))
    assert seen.calibration.tracker.errors == 4 and unseen.calibration.cut <= artifact.calibration.cut
    assert seen.calibration.level.tracker.cut == pytest.approx(artifact.calibration.level.tracker.cut + 0.05 * 3.9)
    seen.save(tmp_path / "calibration.json")
    assert artifact_file.load(tmp_path / "calibration.json") == seen
    with pytest.raises(ConfigError, match=r"loss is 4\.0, expected a number in \[0, 1\]"):
        every.observe(4.0)
    fixed = stages.calibrate_run(tmp_path, SetsConfig("probability"), RiskConfig("miss", "pac"))
    with pytest.raises(ConfigError, match=r"by pac, whose cut must not move: calibrate with risk\.method=online"):
        fixed.observe(1.0)


@pytest.mark.parametrize("method", ["dkw", "group", "weighted", "online"])
def test_a_loss_between_0_and_1_is_refused_where_one_number_must_say_it(method):
    with pytest.raises(ConfigError, match=f"method={method} is for losses of 0 or 1 .*crc, pac or ltt"):
        Risk("regret", method)


@pytest.mark.parametrize(("settings", "says"), [
    ({"also": (Also("cost", 0.5),)}, "risk.also is for risk.method=ltt"), ({"delta": 0.0}, "risk.delta is 0.0"),
    ({"method": "dkw", "delta": 0.6}, "at most 0.5 for dkw"), ({"cuts": 1}, "at least 2 cuts"),
    ({"sizes": (0,)}, "at least 1"), ({"decay": 1.0}, "below 1"),
    ({"explore": 0.0}, "risk.explore is 0.0"), ({"method": "online", "loss": "harm", "explore": 0.5}, "risk.explore=1"),
    ({"testing": "luck"}, "risk.testing is 'luck'"),
    ({"by": "colour"}, "risk.by is 'colour'"), ({"alpha": 1.0}, "risk.alpha is 1.0")])
def test_settings_that_contradict_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        Risk(**settings)
    Risk(**{"method": "crc", "delta": 0.0})  # has no delta
