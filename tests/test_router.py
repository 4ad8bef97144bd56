"""A trained router: it opens by itself, says the same alone and in a batch, and refuses what it was not made for."""

import json
import shutil

import numpy as np
import pytest
from conftest import resealed

import racer
from racer import scores as scores_file
from racer import stages
from racer.config import RiskConfig, SetsConfig
from racer.errors import ConfigError
from racer.sets import select

TEXTS = ["What is 2+2?", "Which number comes next: 2, 4, 8, 16?\nA. 18\nB. 24\nC. 32",
         "Spell 'saucier' backwards. " * 9]


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the small run, somewhere else."""
    return shutil.copytree(small_run, tmp_path / "moved")


def test_a_moved_run_opens_by_itself_and_routes(run):
    router = racer.Router.load(str(run))
    decisions = router.route(TEXTS)
    calibration = json.loads((run / "calibration.json").read_text())
    for text, decision in zip(TEXTS, decisions, strict=True):
        assert set(decision.members) <= set(calibration["models"]) and decision.abstain == (not decision.members)
        p = decision.probabilities
        assert p.shape == (8,) and p.dtype == np.float64
        said = router.estimate([text])
        s = router.artifact.rule.distance(p[None], said.joint, said.cost)[0]
        if np.abs(s - float(calibration["cut"])).min() > 1e-5:
            nearest_first = [calibration["models"][m] for m in np.argsort(s[:-1], kind="stable")]
            assert list(decision.members) == nearest_first[:int(select(s[:-1], float(calibration["cut"])).sum())]


def test_alone_and_in_a_batch_a_text_gets_the_same(run):
    router = racer.Router.load(run)
    together = router.route(TEXTS)
    cut = router.artifact.calibration.cut
    for text, decision in zip(TEXTS, together, strict=True):
        [alone] = router.route([text])
        np.testing.assert_allclose(alone.probabilities, decision.probabilities, atol=1e-5)
        said = router.estimate([text])
        s = router.artifact.rule.distance(decision.probabilities[None], said.joint, said.cost)[0]
        if np.abs(s - cut).min() > 1e-5:
            assert alone.members == decision.members


def test_the_router_says_what_its_scores_say(run, small_config):
    from racer import data

    table, scores = data.load(small_config.data), scores_file.load(run / "scores.npz")
    rows = np.flatnonzero(scores.split == "test")[:40]
    p = racer.Router.load(run).probabilities(table.queries[rows].tolist(), scores.null)
    assert scores.ids[rows].tolist() == table.ids[rows].tolist()
    np.testing.assert_allclose(p, scores.probabilities[rows], atol=1e-5)


def test_expected_cost_is_that_of_the_members_for_this_query(run, small_config):
    from racer import data

    router = racer.Router.load(run)
    usd = router.estimate(TEXTS).cost
    for decision, row in zip(router.route(TEXTS), usd, strict=True):
        assert decision.expected_cost == pytest.approx(sum(row[router.models.index(m)] for m in decision.members))
    table, scores = data.load(small_config.data), scores_file.load(run / "scores.npz")
    train = table.rows("train")
    np.testing.assert_allclose(scores.expected_cost[train].mean(axis=0), table.cost[train].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(router.estimate(table.queries[:9].tolist()).cost, scores.expected_cost[:9], rtol=1e-3)
    mean = dict(zip(table.models, table.cost[train].mean(axis=0), strict=True))
    stages.calibrate_run(run, SetsConfig(costs="mean"), RiskConfig())
    for decision in racer.Router.load(run).route(TEXTS):
        assert decision.expected_cost == pytest.approx(sum(mean[m] for m in decision.members))


def test_changed_weights_are_refused_by_name(run):
    path = run / "router" / "head.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # the file may be shared with the cache
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"these files differ: head\.safetensors"):
        racer.Router.load(run)


@pytest.mark.parametrize(("key", "value", "says"), [
    ("fingerprint", {"router": "feed", "table": "x"}, "was made for router feed, this router is"),
    ("models", ["a", "b"], "was made for the models a, b"),
])
def test_a_calibration_of_another_router_or_pool_is_refused(run, key, value, says):
    resealed(run / "calibration.json", **{key: value})
    with pytest.raises(ConfigError, match=says):
        racer.Router.load(run)


def test_an_uncertified_router_routes_only_when_asked_and_says_so_in_every_decision(run):
    certified = racer.Router.load(run, allow_uncertified=True)
    assert certified.uncertified is None and all(d.certified for d in certified.route(TEXTS))
    path = run / "calibration.json"
    record = json.loads(path.read_text())
    assert {"router", "weights", "tokenizer", "settings", "dtype", "table", "splits"} == set(record["fingerprint"])
    resealed(path, fingerprint=record["fingerprint"] | {"tokenizer": "another"})
    with pytest.raises(ConfigError, match="made for other tokenizer than these"):
        racer.Router.load(run)
    router = racer.Router.load(run, allow_uncertified=True)
    decisions = router.route(TEXTS)
    assert "tokenizer" in router.uncertified and not any(d.certified for d in decisions)
    assert [d.members for d in decisions] == [d.members for d in certified.route(TEXTS)]
    resealed(path, models=record["models"][::-1])
    with pytest.raises(ConfigError, match="was made for the models"):
        racer.Router.load(run, allow_uncertified=True)


def test_changed_weights_can_be_routed_uncertified(run):
    path = run / "router" / "head.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # the file may be shared with the cache
    path.write_bytes(content)
    router = racer.Router.load(run, allow_uncertified=True)
    assert "head.safetensors" in router.uncertified and not router.route(TEXTS)[0].certified


def test_a_query_is_routed_by_the_cut_of_its_group(run):
    stages.calibrate_run(run, SetsConfig(), RiskConfig("miss", "group", 0.2))
    router = racer.Router.load(run)
    groups = router.artifact.calibration
    own = max(groups.own, key=lambda name: abs(groups.own[name].cut - groups.pooled.cut))
    for said, cut in ((own, groups.own[own].cut), ("unheard of", groups.pooled.cut), (None, groups.pooled.cut)):
        [decision] = router.route(TEXTS[:1], known={"task": [said]})
        said = router.estimate(TEXTS[:1])
        s = router.artifact.rule.distance(decision.probabilities[None], said.joint, said.cost)
        assert len(decision.members) == select(s[:, :-1], cut).sum() or np.abs(s - cut).min() <= 1e-5
    with pytest.raises(ConfigError, match="say the task of every query"):
        router.route(TEXTS)


def test_without_calibration_it_gives_probabilities_but_no_sets(run):
    (run / "calibration.json").unlink()
    router = racer.Router.load(run)
    assert router.probabilities(TEXTS, "product").shape == (3, 8)
    with pytest.raises(ConfigError, match="not calibrated"):
        router.route(TEXTS)


def test_a_folder_without_a_router_says_how_to_train_one(tmp_path):
    with pytest.raises(ConfigError, match=r"no router in .*scripts/train\.py run_dir="):
        racer.Router.load(tmp_path)


@pytest.mark.parametrize(("texts", "says"), [
    (["fine", "  "], "text 1 of 2 is empty"),
    ("one string", "a list of texts"),
])
def test_bad_texts_are_refused(run, texts, says):
    with pytest.raises(ConfigError, match=says):
        racer.Router.load(run).route(texts)


def test_routing_nothing_gives_nothing(run):
    assert racer.Router.load(run).route([]) == []
