"""Where the joint comes from: as documented, on validation rows, undone to the last bit, and the same when routing."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import FIELD, composed, resealed
from scipy import special

from racer import artifact as artifact_file
from racer import data, stages
from racer import scores as scores_file
from racer.choice import set_rule
from racer.config import RiskConfig, SetsConfig
from racer.conformal import calibrate
from racer.coupling import Coupling, couple
from racer.decision import decide
from racer.errors import ConfigError, TableError
from racer.estimate import Estimate, Joint, quadrature
from racer.losses import least_cut
from racer.router import Router
from racer.rule import SetRule
from racer.scores import Scores

M, RISK = 3, RiskConfig(alpha=0.3)
SPLITS = ("train", "validation", "calibration", "test")


def make(n: int = 200, joint: bool = False, splits: tuple = SPLITS, seed: int = 0) -> Scores:
    """Scores of a router whose models fail together; with `joint` it says so itself."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0.3, 1.2, size=(n, M)), np.tile([2.0, 1.5, 1.0], (n, 1))
    own = Joint(a, b, *quadrature(32))
    right = rng.random((n, M)) < special.expit(a + b * rng.standard_normal((n, 1)))
    estimate = Estimate(own.marginals(), own.none_right(), own if joint else None)
    return Scores(ids=np.array([f"q{i}" for i in range(n)]), split=np.resize(splits, n), task=np.full(n, "t"),
                  models=("a", "b", "c"), probabilities=estimate.probabilities("free"), outcomes=right, null="free",
                  learned_null=estimate.learned_null, joint=estimate.joint, cost=rng.random((n, M)),
                  fingerprint={"router": "r"})


def arrays(path) -> dict:
    with np.load(path) as file:
        return dict(file)


def identical(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a)


# ---------------------------------------------------------------- as documented


@pytest.mark.parametrize(("joint", "family", "null", "splits", "expected"), [
    (True, "coverage", "free", SPLITS, "own"), (True, "gap", "free", SPLITS, "own"),
    (True, "coverage", "joint", ("calibration",), "own"),
    (False, "coverage", "free", SPLITS, "fitted"), (False, "gap", "joint", SPLITS, "fitted"),
    (False, "coverage", "learned", SPLITS, "fitted"),
    (False, "gap", "product", SPLITS, "none"), (False, "probability", "learned", SPLITS, "none"),
    (False, "coverage", "free", ("train", "calibration", "test"), "none"),
])
def test_auto_takes_the_routers_own_then_a_fitted_one_where_a_joint_is_read_then_none(joint, family, null, splits,
                                                                                     expected):
    given = make(joint=joint, splits=splits)
    scores, rule = set_rule(given, SetsConfig(family, null), RISK)
    again, same = set_rule(given, SetsConfig(family, null, joint=expected), RISK)
    assert rule == same and np.array_equal(scores.probabilities, again.probabilities)
    assert (rule.coupling is not None) == (expected == "fitted") and rule.independent == (expected == "none")
    if expected == "fitted":
        rows = given.of_split("validation")
        assert rule.coupling == couple(rows.probabilities[:, :-1], rows.outcomes)
        np.testing.assert_array_equal(scores.own, given.probabilities[:, :-1])
        np.testing.assert_array_equal(scores.probabilities[:, :-1], scores.joint.marginals())
    else:
        assert scores.own is None and (scores.joint is None) == (not joint)
        np.testing.assert_array_equal(scores.probabilities[:, :-1], given.probabilities[:, :-1])


def test_the_rule_carries_every_setting_of_the_sets():
    given = make()
    sets = SetsConfig("coverage", "joint", 0.25, 0.75, 2, 1.5, "fitted")
    _, rule = set_rule(given, sets, RISK)
    assert rule == SetRule("coverage", "joint", given.prices(), 0.25, 0.75, 2, 1.5, rule.coupling, False)


@pytest.mark.parametrize(("joint", "splits", "sets", "says"), [
    (False, SPLITS, SetsConfig(joint="own"), r"sets\.joint=own, but this router has no joint: set sets\.joint=fitted"),
    (True, SPLITS, SetsConfig(joint="fitted"), r"sets\.joint=fitted, but this router has a joint of its own: .*own or"),
    (False, ("calibration", "test"), SetsConfig(joint="fitted"), "fitted on validation rows, and there are none"),
    (False, SPLITS, SetsConfig(null="joint", joint="none"), r"learned no such null: .*or set sets\.joint=fitted"),
    (False, ("calibration", "test"), SetsConfig(null="joint"), "learned no such null"),
])
def test_what_cannot_be_is_refused_with_the_way_out(joint, splits, sets, says):
    with pytest.raises(ConfigError, match=says):
        set_rule(make(joint=joint, splits=splits), sets, RISK)


def test_a_refusal_leaves_the_run_as_it_was(tmp_path):
    make().save(tmp_path / "scores.npz")
    stages.calibrate_run(tmp_path, SetsConfig(), RISK)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"sets\.joint=own"):
        stages.calibrate_run(tmp_path, SetsConfig(joint="own"), RiskConfig())
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_only_the_outcomes_of_validation_rows_reach_the_joint():
    given, rng = make(), np.random.default_rng(1)
    _, rule = set_rule(given, SetsConfig(), RISK)
    others = np.where((given.split == "validation")[:, None], given.outcomes, rng.random((200, M)) < 0.5)
    assert set_rule(replace(given, outcomes=others), SetsConfig(), RISK)[1] == rule
    theirs = np.where((given.split == "validation")[:, None], ~given.outcomes, given.outcomes)
    assert set_rule(replace(given, outcomes=theirs), SetsConfig(), RISK)[1] != rule


# ---------------------------------------------------------------- undone


def test_another_choice_undoes_a_fitted_joint_to_the_last_bit(tmp_path):
    path, risk = tmp_path / "scores.npz", RISK
    make().save(path)
    own = arrays(path)
    stages.calibrate_run(tmp_path, SetsConfig(null="joint", joint="fitted"), risk)
    fitted = arrays(path)
    assert not np.array_equal(fitted["probabilities"], own["probabilities"]) and "logits" in fitted
    np.testing.assert_array_equal(fitted["own"], own["probabilities"][:, :-1])
    first = (tmp_path / "calibration.json").read_bytes()
    stages.calibrate_run(tmp_path, SetsConfig(null="joint", joint="fitted"), risk)  # not fitted upon the fitted one
    assert identical(arrays(path), fitted) and (tmp_path / "calibration.json").read_bytes() == first
    stages.calibrate_run(tmp_path, SetsConfig(joint="none"), risk)
    assert identical(arrays(path), own)
    stages.calibrate_run(tmp_path, SetsConfig("gap"), risk)
    assert identical(arrays(path), own)
    stages.calibrate_run(tmp_path, SetsConfig(null="learned", joint="fitted"), risk)
    np.testing.assert_array_equal(arrays(path)["probabilities"][:, -1], own["learned_null"])


def test_independent_sets_of_a_joint_router_lose_nothing(field_run, tmp_path):
    run, risk = shutil.copytree(field_run("encoder"), tmp_path / "run"), RISK
    before = {name: (run / name).read_bytes() for name in ("scores.npz", "calibration.json")}
    own = arrays(run / "scores.npz")
    artifact = stages.calibrate_run(run, SetsConfig(joint="none", costs="mean", cost_power=0.5), risk)
    assert identical(arrays(run / "scores.npz"), own) and {"logits", "loadings"} <= own.keys()
    scores = scores_file.load(run / "scores.npz")
    bare = replace(scores, joint=None)  # a router that knows its marginals only
    rows = bare.of_split("calibration")
    rule = SetRule("coverage", "free", scores.prices(), cost_power=0.5)
    s = rule.distance(bare.probabilities)
    np.testing.assert_array_equal(artifact.rule.distance(scores.probabilities, scores.joint), s)
    assert not np.array_equal(rule.distance(scores.probabilities, scores.joint), s)
    assert artifact.calibration == calibrate(least_cut(rule.distance(rows.probabilities), rows.outcomes, "misrouting"),
                                             0.3, "pac", 0.1)
    greedy = one_by_one(scores.probabilities[0, :-1], np.array(scores.prices()))
    np.testing.assert_allclose(s[0, :-1], greedy, rtol=1e-12)
    stages.calibrate_run(run, SetsConfig(), risk)
    for name, content in before.items():
        assert (run / name).read_bytes() == content


def one_by_one(p: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """s of coverage with independent marginals: the gain is p_m times the product of 1 - p of those before it."""
    cost, s, missed, waiting = np.sqrt(prices / prices.mean()), np.empty(len(p)), 1.0, set(range(len(p)))
    while waiting:
        best = max(sorted(waiting), key=lambda m: p[m] * missed / cost[m])
        s[best] = -p[best] * missed / cost[best]
        missed *= 1 - p[best]
        waiting.remove(best)
    return s


# ---------------------------------------------------------------- when routing, and on file


@pytest.mark.parametrize("sets", [SetsConfig(), SetsConfig("gap", "joint", joint="fitted"),
                                  SetsConfig(null="learned", joint="none")])
def test_routing_with_a_fitted_joint_agrees_with_the_scores_on_file(sets, field_run, tmp_path):
    run = shutil.copytree(field_run("linear"), tmp_path / "run")
    artifact = stages.calibrate_run(run, sets, RISK)
    assert (artifact.rule.coupling is None) == (sets.joint == "none")
    scores, table = scores_file.load(run / "scores.npz"), data.load(composed(*FIELD).data)
    rows = np.flatnonzero(scores.split == "test")[:30]
    assert scores.ids[rows].tolist() == table.ids[rows].tolist()
    taken = scores.take(rows)
    own = taken.uncoupled()
    on_file = decide(Estimate(own.probabilities[:, :-1], own.learned_null, own.joint, own.expected_cost), artifact)
    routed = Router.load(run).route(table.queries[rows].tolist())
    s, cut, compared = artifact.rule.of_scores(taken), artifact.calibration.cut, 0
    for decision, expected, row in zip(routed, on_file, s, strict=True):
        np.testing.assert_allclose(decision.probabilities, expected.probabilities, atol=1e-5)
        if np.abs(row - cut).min() > 1e-5:
            assert set(decision.members) == set(expected.members)
            assert decision.null_admitted == expected.null_admitted
            compared += 1
    assert compared >= 20


def test_the_joint_on_file_keeps_every_bit(tmp_path):
    given = make()
    given.save(tmp_path / "scores.npz")
    made = stages.calibrate_run(tmp_path, SetsConfig(), RISK)
    assert made.rule.coupling is not None
    assert artifact_file.load(tmp_path / "calibration.json") == made
    awkward = Coupling((1 / 3, -0.0, 5e-324), (0.1 + 0.2, float(np.nextafter(1, 0)), 0.0), (3.0, -1e-17, 1e22))
    changed = replace(made, rule=replace(made.rule, coupling=awkward))
    changed.save(tmp_path / "c.json")
    back = artifact_file.load(tmp_path / "c.json").rule.coupling
    for name in ("shift", "scale", "loading"):
        assert np.array(getattr(back, name)).tobytes() == np.array(getattr(awkward, name)).tobytes()
        assert isinstance(getattr(back, name), tuple)


@pytest.mark.parametrize("broken", [[1, 2], {"shift": [0.0]}, "x", {"shift": [0], "scale": [1], "b": [0]}, 5])
def test_a_broken_joint_in_the_calibration_says_so(broken, tmp_path):
    make().save(tmp_path / "scores.npz")
    stages.calibrate_run(tmp_path, SetsConfig(), RISK)
    path = tmp_path / "calibration.json"
    resealed(path, coupling=broken)
    with pytest.raises(ConfigError, match="is not a calibration"):
        artifact_file.load(path)


@pytest.mark.parametrize(("change", "says"), [
    ({"own": np.full((200, M + 1), 0.5)}, r"own has shape \(200, 4\), expected \(200, 3\)"),
    ({"own": np.full((200, M), 1.5)}, r"own\[0, 0\] of query q0 is 1\.5, expected a number in \[0, 1\]"),
    ({"own": np.full((200, M), np.nan)}, r"own\[0, 0\] of query q0 is nan"),
    ({"own": np.full((200, M), "0.5")}, r"own has dtype <U3, expected real numbers"),
    ({"own": np.full((200, M), 0.5 + 0j)}, r"own has dtype complex128, expected real numbers"),
    ({"logits": None, "loadings": None, "nodes": None, "weights": None}, r"\(own\), but not the joint"),
    ({"loadings": None}, "only a part of a joint: it lacks loadings"),
])
def test_what_the_router_itself_said_is_checked_on_load(change, says, tmp_path):
    given = make()
    _, rule = set_rule(given, SetsConfig(), RISK)
    given.coupled(rule.coupling).save(tmp_path / "scores.npz")
    content = arrays(tmp_path / "scores.npz") | change
    np.savez(tmp_path / "changed.npz", **{k: v for k, v in content.items() if v is not None})
    with pytest.raises(TableError, match=says):
        scores_file.load(tmp_path / "changed.npz")


def test_rows_are_taken_with_what_the_router_itself_said():
    given = make()
    coupled = given.coupled(set_rule(given, SetsConfig(), RISK)[1].coupling)
    rows = np.array([5, 2, 9])
    np.testing.assert_array_equal(coupled.take(rows).own, given.probabilities[rows, :-1])
    np.testing.assert_array_equal(coupled.take(rows).uncoupled().probabilities, given.probabilities[rows])


# ---------------------------------------------------------------- the promise


def test_a_joint_fitted_on_six_rows_keeps_the_promise():
    """The joint is chosen before calibration: however poor, P(risk of the cut > alpha) <= delta."""
    world, rng, alpha, delta, draws = make(3000, seed=3), np.random.default_rng(4), 0.2, 0.2, 400
    scores, rule = set_rule(replace(world, split=np.where(np.arange(3000) < 6, "validation", "test")),
                            SetsConfig(null="joint", joint="fitted"), RISK)
    served = least_cut(rule.distance(scores.probabilities, scores.joint), scores.outcomes, "misrouting")[6:]
    violated = 0
    for _ in range(draws):  # calibration rows are i.i.d. from the other rows, so the true risk is known exactly
        c = calibrate(rng.choice(served, 150), alpha, "pac", delta)
        violated += (served > c.cut).mean() > alpha
    assert violated / draws <= delta + 3 * np.sqrt(delta * (1 - delta) / draws)
    assert violated > 0  # the bound is not just loose


def test_sets_are_made_by_the_costs_that_the_settings_name(field_run, tmp_path):
    run = shutil.copytree(field_run("encoder"), tmp_path / "run")
    scores = scores_file.load(run / "scores.npz")
    for costs, by_query in (("auto", True), ("query", True), ("mean", False)):
        _, rule = set_rule(scores, SetsConfig(costs=costs), RISK)
        assert rule.query_costs == by_query
        prices = scores.expected_cost if by_query else np.broadcast_to(scores.prices(), scores.outcomes.shape)
        relative = (prices / np.mean(scores.prices())) ** 0.75
        s = rule.of_scores(scores)
        one = replace(scores.joint, logits=scores.joint.logits[:1], loadings=scores.joint.loadings[:1])
        right = next(iter(one.blocks()))[1][0]  # (M, Q)
        first = int(np.argmax((right @ scores.joint.weights) / relative[0]))
        np.testing.assert_allclose(-s[0, first], (right @ scores.joint.weights)[first] / relative[0, first])
    without = replace(scores, expected_cost=None)
    assert not set_rule(without, SetsConfig(), RISK)[1].query_costs
    with pytest.raises(ConfigError, match=r"sets\.costs=query, but this router has learned no costs"):
        set_rule(without, SetsConfig(costs="query"), RISK)
    _, rule = set_rule(scores, SetsConfig(), RISK)
    with pytest.raises(ConfigError, match="expected costs, and the router here expects none"):
        rule.of_scores(without)


def test_no_set_is_expected_to_cost_more_than_the_limit(field_run, tmp_path):
    scores = scores_file.load(field_run("encoder") / "scores.npz")
    limit = float(np.median(scores.expected_cost.sum(axis=1)) / 3)
    _, rule = set_rule(scores, SetsConfig(max_cost=limit), RISK)
    chosen = rule.of_scores(scores)[:, :-1] < np.inf
    spend = (chosen * scores.expected_cost).sum(axis=1)
    assert (spend <= limit).all() and 0 < chosen.mean() < 1
