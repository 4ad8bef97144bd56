"""A model that joins a finished run: its column is fitted, the others stay, calibration rows have no say."""

import json
import runpy
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy import special

from racer import add_model, kitchen, linking, recorded, stages
from racer import artifact as artifact_file
from racer import scores as scores_file
from racer.cli import saved_settings
from racer.errors import ConfigError, TableError
from racer.estimate import Joint, quadrature
from racer.linking import Hidden, Item, Rows, best_link, link
from racer.newcomer import at_most, joined, newcomer
from racer.router import Router
from racer.router.kinds import HEADS
from racer.table import OutcomeTable

ROOT, NEW = Path(__file__).parents[1], "apprentice"


# ---------------------------------------------------------------- the fit


def world(n: int, rng: np.random.Generator, m: int = 6) -> tuple[Joint, np.ndarray, np.ndarray, np.ndarray]:
    """A joint of m models, their outcomes (n, m), z (n,), and three features of each query (n, 3)."""
    z, features = rng.standard_normal(n), rng.standard_normal((n, 3))
    logits = features @ rng.standard_normal((3, m))
    loadings = np.broadcast_to(np.linspace(1.0, 2.5, m), (n, m))
    outcomes = rng.logistic(size=(n, m)) < logits + loadings * z[:, None]
    return Joint(logits, loadings, *quadrature(32)), outcomes.astype(float), z, features


def test_a_model_is_found_again_on_the_scale_that_is_there():
    rng = np.random.default_rng(0)
    joint, outcomes, z, features = world(6000, rng)
    right = rng.logistic(size=6000) < features @ [1.0, -0.5, 0.0] + 0.7 + 1.8 * z
    item = link(Rows(features, right.astype(float), Hidden.given(joint, outcomes)), np.full(3, 1e-3))
    np.testing.assert_allclose([*item.weights, item.intercept, item.loading], [1.0, -0.5, 0.0, 0.7, 1.8], atol=0.15)
    alone = link(Rows(features, right.astype(float), Hidden.given(None, outcomes)), np.full(3, 1e-3))
    assert alone.weights[0] < 0.8  # without z the same model looks flatter: the link is what puts it on the scale


def test_the_posterior_of_z_is_bayes_rule():
    rng = np.random.default_rng(1)
    joint, outcomes, *_ = world(4, rng, m=3)
    outcomes[1, 2] = 0.25  # a share of attempts weighs both outcomes
    found = Hidden.given(joint, outcomes).weights
    for i in range(4):
        posterior = []
        for node, weight in zip(joint.nodes, joint.weights, strict=True):
            p = special.expit(joint.logits[i] + joint.loadings[i] * node)
            posterior.append(weight * np.prod(p ** outcomes[i] * (1 - p) ** (1 - outcomes[i])))
        np.testing.assert_allclose(found[i], np.array(posterior) / sum(posterior), atol=1e-12)


def test_the_gradient_is_that_of_the_cost():
    from scipy.optimize import approx_fprime

    rng = np.random.default_rng(2)
    joint, outcomes, _, features = world(30, rng)
    rows = Rows(features, rng.random(30), Hidden.given(joint, outcomes))
    given = (np.column_stack([features, np.ones(30)]), rows, np.diag([0.5, 1.0, 2.0, 0.1]), 0.3)
    u = rng.standard_normal(5)
    slopes = approx_fprime(u, lambda v: linking._cost(v, *given)[0], 1e-6)
    np.testing.assert_allclose(linking._cost(u, *given)[1], slopes, rtol=1e-4, atol=1e-4)


def test_without_a_joint_it_is_ridge_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    features = rng.standard_normal((80, 4)) * [1.0, 5.0, 0.2, 1.0]
    right = (rng.random(80) < special.expit(features[:, 0] - 0.3)).astype(float)
    c = 1 / linking.INTERCEPT
    theirs = LogisticRegression(C=c, fit_intercept=False, tol=1e-9, max_iter=9999)
    theirs.fit(np.column_stack([features, np.ones(80)]), right)
    ours = link(Rows(features, right, Hidden.given(None, right[:, None])), np.full(4, linking.INTERCEPT))
    np.testing.assert_allclose([*ours.weights, ours.intercept], theirs.coef_[0], atol=1e-3)


def test_held_out_rows_choose_the_ridge_and_scaling_changes_no_prediction():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((300, 10))
    right = (rng.random(300) < special.expit(2 * x[:, 0])).astype(float)
    train, held = (Rows(x[part], right[part], Hidden.given(None, right[part, None])) for part in
                   (slice(0, 60), slice(60, 300)))
    ridges = [np.full(10, r) for r in (1e-3, 3.0, 1e4)]
    item, loss = best_link(train, held, ridges)
    losses = [link(train, r).loss(held) for r in ridges]
    assert loss == min(losses) == item.loss(held) == losses[1]
    p = special.expit(held.features @ item.weights + item.intercept)
    assert loss == pytest.approx(-np.mean(np.where(held.targets > 0, np.log(p), np.log1p(-p))))
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1
    raw = Item(item.weights, item.intercept, 1.0).of_unscaled(mean, scale)
    np.testing.assert_allclose(x @ raw.weights + raw.intercept,
                               (x - mean) / scale @ item.weights + item.intercept, atol=1e-9)


# ---------------------------------------------------------------- tables


def pool(n: int, rng_seed: int = 0) -> OutcomeTable:
    """The kitchen's n queries with an eighth model, right where the chefs are and where the query is short."""
    table, rng = kitchen.generate(n), np.random.default_rng(rng_seed)
    lengths = np.array([len(q) for q in table.queries])
    right = rng.logistic(size=n) < 4 * table.scores.mean(axis=1) - 2 + 2 * np.sign(np.median(lengths) - lengths)
    answer = np.where(right, table.reference, None)
    cost = 1e-5 * lengths
    return replace(table, models=(*table.models, NEW), scores=np.column_stack([table.scores, right]),
                   answers=np.column_stack([table.answers, answer]), cost=np.column_stack([table.cost, cost]),
                   output_tokens=np.column_stack([table.output_tokens, np.ones(n)]),
                   card={**table.card, "models": [*table.card["models"], {"name": NEW}]})


def test_who_is_new_is_found_or_asked_for():
    table = pool(40)
    assert newcomer(table, table.models[:-1]) == NEW
    assert newcomer(table, table.models[:6], "executive-chef") == "executive-chef"
    with pytest.raises(ConfigError, match=f"lacks 2 models of the table, executive-chef, {NEW}.*model=NAME"):
        newcomer(table, table.models[:6])
    with pytest.raises(ConfigError, match="model=commis-3b: expected one that the table has"):
        newcomer(table, table.models[:-1], "commis-3b")
    with pytest.raises(TableError, match="no model that the run lacks"):
        newcomer(table, table.models)
    with pytest.raises(TableError, match="no outcomes of sommelier"):
        newcomer(table, (*table.models[:-1], "sommelier"))


@pytest.fixture(scope="module")
def known(small_run):
    return scores_file.load(small_run / "scores.npz").uncoupled()


def test_rows_keep_the_splits_of_the_run_whatever_the_table_says(known):
    table = pool(600)
    shuffled = table.take(np.random.default_rng(0).permutation(600))
    shuffled = replace(shuffled, split=np.roll(shuffled.split, 7))
    rows = joined(shuffled, known, NEW, 0.5)
    assert rows.ids.tolist() == known.ids.tolist() and rows.split.tolist() == known.split.tolist()
    assert rows.models == (*known.models, NEW) and (rows.outcomes()[:, :-1] == known.outcomes).all()
    np.testing.assert_array_equal(rows.scores[:, -1], table.scores[:, -1])


def test_what_lacks_the_new_model_is_left_out_of_train_and_an_error_where_sets_are_judged(known):
    table, train = pool(600), np.flatnonzero(known.split == "train")
    rows = joined(table.take(np.setdiff1d(np.arange(600), train[:30])), known, NEW, 0.5)
    assert rows.ids.tolist() == np.delete(known.ids, train[:30]).tolist()
    assert any("30 train rows of the run left out" in note for note in rows.notes)
    calibration = np.flatnonzero(known.split == "calibration")
    holes = table.take(np.setdiff1d(np.arange(600), [*train[:30], *calibration[:4]]))
    with pytest.raises(TableError, match=f"^4 calibration rows of the run have no outcome of {NEW}.*missing=drop"):
        joined(holes, known, NEW, 0.5)
    rows = joined(holes, known, NEW, 0.5, "drop")
    assert len(rows.ids) == 566 and any("30 train, 4 calibration rows" in note for note in rows.notes)


def test_what_another_new_model_lacks_is_no_matter(small_run, known, tmp_path):
    """Of two that are new the first was asked all, the second half of the queries: each joins by its own."""
    table, half = pool(600), np.arange(600) % 2 == 0
    second = np.where(half, table.scores[:, -1], np.nan)
    table = replace(table, models=(*table.models, "second"), scores=np.column_stack([table.scores, second]),
                    answers=np.column_stack([table.answers, table.answers[:, -1]]),
                    cost=np.column_stack([table.cost, np.where(half, 1e-5, np.nan)]),
                    output_tokens=np.column_stack([table.output_tokens, np.ones(600)]),
                    card={**table.card, "models": [*table.card["models"], {"name": "second"}]})
    config = saved_settings(small_run)
    for models in (None, [*known.models, NEW]):
        config = replace(config, data=replace(config.data, path=str(table.save(tmp_path)), models=models))
        rows = add_model._table(config, known, NEW, None)
        assert rows.ids.tolist() == known.ids.tolist() and rows.models == (*known.models, NEW)
        assert rows.complete_cost() is not None and not any("left out" in note for note in rows.notes)
    drop = replace(config.data, models=None, missing="drop")
    rows = add_model._table(replace(config, data=drop), known, "second", None)
    assert set(rows.ids) == set(table.ids[half]) & set(known.ids)


def test_strangers_are_left_out_and_counted_and_other_outcomes_refused(known):
    table = pool(600)
    stranger = replace(table.take(np.arange(3)), ids=np.array(["a", "b", "c"], dtype=object))
    more = replace(table, **{c: np.concatenate([getattr(table, c), getattr(stranger, c)]) for c in
                             ("ids", "queries", "task", "split", "scores", "answers", "reference", "cost",
                              "output_tokens")})
    assert any("3 queries left out" in note for note in joined(more, known, NEW, 0.5).notes)
    scores = table.scores.copy()
    scores[5, 2] = 1 - scores[5, 2]
    with pytest.raises(TableError, match=r"1 outcomes of the run's models are others.*kitchen-000005.*patissier-8b"):
        joined(replace(table, scores=scores), known, NEW, 0.5)


def test_fewer_train_outcomes_are_drawn_by_seed(known):
    table = joined(pool(600), known, NEW, 0.5)
    few, other = at_most(table, 40, 0), at_most(table, 40, 1)
    assert len(few.rows("train")) == 40 and at_most(table, None, 0) is at_most(table, 9999, 0) is table
    assert few.ids.tolist() == at_most(table, 40, 0).ids.tolist() != other.ids.tolist()
    for split in ("validation", "calibration", "test"):
        assert few.ids[few.rows(split)].tolist() == table.ids[table.rows(split)].tolist()


# ---------------------------------------------------------------- the whole job


def added(old: Path, table: OutcomeTable, folder: Path, outcomes: int | None = None, **settings) -> Path:
    """Do the job but for the figures; return the folder of the new run."""
    config = saved_settings(old)
    path = table.save(folder / "table")
    config = replace(config, run_dir=str(folder / "new"), data=replace(config.data, path=str(path), models=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "draw_all", lambda *_: [])
        add_model.run(replace(config, **settings), old, None, outcomes)
    return folder / "new"


@pytest.fixture(scope="module")
def grown(small_run, tmp_path_factory) -> Path:
    return added(small_run, pool(600), tmp_path_factory.mktemp("grown"))


def test_the_new_run_is_whole_and_what_is_said_of_the_others_stays(small_run, grown, known):
    before, after = Router.load(small_run), Router.load(grown)
    assert after.models == (*before.models, NEW) and after.settings.trained_on.endswith("train outcomes")
    texts = kitchen.generate(40, seed=9).queries.tolist()
    old, new = before.estimate(texts), after.estimate(texts)
    np.testing.assert_array_equal(new.models[:, :-1], old.models)
    np.testing.assert_array_equal(new.joint.logits[:, :-1], old.joint.logits)
    np.testing.assert_array_equal(new.joint.loadings[:, :-1], old.joint.loadings)
    np.testing.assert_allclose(new.cost[:, :-1], old.cost, rtol=1e-12)
    np.testing.assert_allclose(new.joint.marginals(), new.models, rtol=1e-12)
    scores = scores_file.load(grown / "scores.npz")
    assert scores.models == after.models and scores.split.tolist() == known.split.tolist()
    np.testing.assert_array_equal(scores.probabilities[:, :-2], known.probabilities[:, :-1])
    assert recorded.load(grown / recorded.FILE).models == after.models
    report = json.loads((grown / "report.json").read_text())
    assert report["n"]["calibration"] == (known.split == "calibration").sum() and NEW in scores.models
    [decision] = after.route(texts[:1])
    assert set(decision.members) <= set(after.models) and len(decision.probabilities) == len(after.models) + 1


def test_the_new_model_is_known_better_than_by_its_rate(grown):
    line = next(json.loads(text) for text in (grown / "metrics.jsonl").read_text().splitlines() if "added" in text)
    assert line["added"] == NEW and line["validation_loss"] < line["rate_loss"]
    scores = scores_file.load(grown / "scores.npz")
    y, p = scores.outcomes[:, -1], scores.probabilities[:, -2]
    held = np.isin(scores.split, ("calibration", "test"))
    rate = y[scores.split == "train"].mean()
    loss = lambda p: -np.mean(np.where(y[held], np.log(p), np.log1p(-p)))  # noqa: E731
    assert loss(p[held]) < loss(np.full(held.sum(), rate)) - 0.02
    assert (scores.joint.loadings[:, -1] > 0.5).all()  # it fails where the others fail
    cost = scores.expected_cost[:, -1]
    assert np.corrcoef(np.log(cost), np.log(scores.cost[:, -1]))[0, 1] > 0.9  # its price goes by the length


def weights(run: Path) -> dict:
    return {(name, key): value for name in ("head", "cost") for key, value in
            load_file(run / "router" / f"{name}.safetensors").items()}


def test_calibration_and_test_rows_have_no_say_in_the_router(small_run, grown, known, tmp_path):
    table = pool(600)
    judged = np.isin(known.split, ("calibration", "test"))
    scores, cost = table.scores.copy(), table.cost.copy()
    scores[judged, -1], cost[judged, -1] = 0, 1e-3
    other = added(small_run, replace(table, scores=scores, cost=cost), tmp_path)
    before, after = weights(grown), weights(other)
    assert before.keys() == after.keys() and all(np.array_equal(before[k], after[k]) for k in before)
    first, second = (artifact_file.load(run / "calibration.json") for run in (grown, other))
    assert first.calibration.cut != second.calibration.cut  # they decide the cut, and only that
    assert first.fingerprint["router"] == second.fingerprint["router"]
    assert first.fingerprint["table"] != second.fingerprint["table"]


def test_train_rows_do_have_a_say_and_the_old_calibration_is_refused(small_run, grown, known, tmp_path):
    new = added(small_run, pool(600, rng_seed=1), tmp_path, outcomes=60)
    assert not np.array_equal(weights(new)["head", "on_logits"], weights(grown)["head", "on_logits"])
    scores = scores_file.load(new / "scores.npz")
    assert (scores.split == "train").sum() == 60 and (scores.split == "test").sum() == (known.split == "test").sum()
    (new / "calibration.json").write_bytes((small_run / "calibration.json").read_bytes())
    with pytest.raises(ConfigError, match=r"calibration\.json was made for the models"):
        Router.load(new)


def test_one_more_joins_a_run_that_has_grown(grown, tmp_path):
    table, rng = pool(600), np.random.default_rng(5)
    table = replace(table, models=(*table.models, "novice"),
                    scores=np.column_stack([table.scores, rng.random(600) < 0.3]), cost=None, answers=None,
                    output_tokens=None, card={k: v for k, v in table.card.items() if k != "models"})
    new = added(grown, table, tmp_path)
    before, after = Router.load(grown), Router.load(new)
    texts = kitchen.generate(20, seed=9).queries.tolist()
    said = after.estimate(texts)
    old = before.estimate(texts).models
    np.testing.assert_array_equal(said.models[:, :7], old[:, :7])
    np.testing.assert_allclose(said.models[:, 7], old[:, 7], rtol=1e-6)  # two columns at once round otherwise
    assert said.models.shape == (20, 9) and said.joint.logits.shape == (20, 9)
    assert said.cost is None and not (new / recorded.FILE).exists()  # this table knows no costs and no answers
    assert after.settings.head["added"] == 2 and after.settings.head["base"]["name"] == "latent"


@pytest.mark.parametrize("router", ["knn", "linear"])
def test_routers_without_a_joint_take_one_too(router, field_run, tmp_path):
    table = pool(300)
    new = added(field_run(router), table, tmp_path)
    before, after = Router.load(field_run(router)), Router.load(new)
    texts = kitchen.generate(20, seed=9).queries.tolist()
    old, said = before.estimate(texts), after.estimate(texts)
    np.testing.assert_array_equal(said.models[:, :-1], old.models)
    assert said.joint is None and scores_file.load(new / "scores.npz").joint is not None  # fitted to all eight
    train = table.split == "train"
    none = table.scores[train, :-1].sum(axis=1) == 0
    share = ((1 - table.scores[train, -1])[none].sum() + 1) / (none.sum() + 2)
    np.testing.assert_allclose(said.learned_null, old.learned_null * share, rtol=1e-6)


def test_a_train_query_is_not_its_own_neighbour(field_run, small_run):
    for run in (field_run("knn"), small_run):
        head = Router.load(run).head
        vector, bank, own = head.bank.vectors[:1].clone(), head.bank, torch.arange(1)
        with torch.inference_mode():
            apart, as_new = head.of_train(vector, own), head(vector)
            farthest = (bank.vectors @ vector[0]).argmin()
            change = 1 - 2 * bank.labels[0]
            bank.labels[0] += change
            bank.labels[farthest] -= change  # nobody's neighbour: only the mean of all labels knows it, and that stays
            torch.testing.assert_close(head.of_train(vector, own), apart)
            assert not torch.allclose(head(vector), as_new, atol=1e-3)


@pytest.mark.parametrize("now", ["as it was", "tuned", "gone", "another"])
def test_vectors_are_those_of_the_runs_own_encoder(now, small_run, tmp_path, monkeypatch):
    config, router, texts = saved_settings(small_run), Router.load(small_run), kitchen.generate(30).queries.tolist()
    here = replace(config, cache_dir=str(tmp_path), encoder=replace(config.encoder, freeze=now != "tuned"))
    source = add_model.backbone.locate(config.encoder, Path(config.cache_dir))
    other = shutil.copytree(source, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: 1.1 * w for name, w in weights.items()}, other / "model.safetensors", {"format": "pt"})

    def locate(*_):
        if now == "gone":
            raise ConfigError("the hub gave none")
        return other if now == "another" else source

    monkeypatch.setattr(add_model.backbone, "locate", locate)
    for _ in range(2):  # made, and found again
        np.testing.assert_allclose(add_model._vectors(here, router, texts), router.embed(texts), atol=1e-6)
    own = add_model._source(here, router, texts)
    assert own == (small_run / "router" / "encoder" if now in ("gone", "another") else source)


# ---------------------------------------------------------------- what cannot be


def test_routers_whose_numbers_hang_together_are_refused(field_run, tmp_path):
    with pytest.raises(ConfigError, match=r"is routerdc: its numbers.*latent.*Train again"):
        added(field_run("routerdc"), pool(300), tmp_path)
    assert not (tmp_path / "new").exists()
    assert {name for name, kind in HEADS.items() if not kind.grows} == {"routerdc", "softmax"}


def test_what_cannot_be_is_said_before_anything_is_written(small_run, known, tmp_path):
    config = saved_settings(small_run)
    with pytest.raises(ConfigError, match="is the run itself"):
        add_model.run(replace(config, run_dir=str(small_run)), small_run)
    file = replace(config, run_dir=str(tmp_path / "new"), router=replace(config.router, name="file", path="x.npz"))
    with pytest.raises(ConfigError, match="came from a file"):
        add_model.run(file, small_run)
    table = pool(600)
    train = np.flatnonzero(known.split == "train")
    with pytest.raises(TableError, match="5 train rows have an outcome of apprentice, at least 20"):
        added(small_run, table.take(np.setdiff1d(np.arange(600), train[5:])), tmp_path)
    texts = replace(table, queries=np.roll(table.queries, 1))
    with pytest.raises(TableError, match="their texts have changed"):
        added(small_run, texts, tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_cost_that_is_not_known_of_all_calls_is_no_cost(small_run, known, tmp_path, caplog):
    table = pool(600)
    cost = table.cost.copy()
    cost[0, -1] = np.nan
    new = Router.load(added(small_run, replace(table, cost=cost), tmp_path))
    assert new.spend is None and "the cost of some calls of apprentice is unknown" in caplog.text


def test_the_script_adds_a_model_and_later_stages_take_the_run(small_run, tmp_path, monkeypatch, capsys):
    table = pool(600).save(tmp_path / "table")
    script = ROOT / "scripts" / "add_model.py"
    old = shutil.copytree(small_run, tmp_path / "old")
    settings = saved_settings(old)
    chosen = replace(settings.data, models=list(kitchen.generate(1).models))  # a run that named its pool
    stages.save_config(old, **asdict(replace(settings, data=chosen)))
    monkeypatch.setattr(stages, "draw_all", lambda *_: [])
    monkeypatch.setattr("sys.argv", [str(script), f"run={old}", f"data.path={table}", f"run_dir={tmp_path}/new",
                                     "outcomes=200", "risk.alpha=0.2"])
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert f"added {NEW}, from 200 train outcomes" in printed and "8 models" in printed and "best single" in printed
    config = saved_settings(tmp_path / "new")
    assert config.data.models[-1] == NEW and config.data.path == str(table) and config.tracking.wandb == "off"
    artifact = artifact_file.load(tmp_path / "new" / "calibration.json")
    assert artifact.models[-1] == NEW and artifact.risk.alpha == 0.2
    assert stages.calibrate_run(tmp_path / "new", config.sets, replace(config.risk, alpha=0.3)).risk.alpha == 0.3
    monkeypatch.setattr("sys.argv", [str(script), f"run={old}", "head=softmax", f"run_dir={tmp_path}/again"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    assert "train again" in capsys.readouterr().err
