"""The field of base routers: each against a slow way of saying the same, chosen on validation alone, whole on disk."""

import itertools
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import FIELD, composed, finished
from scipy import special
from sklearn import metrics, preprocessing
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from racer import data, pipeline, stages
from racer import scores as scores_file
from racer.config import RiskConfig, SetsConfig
from racer.errors import ConfigError
from racer.router import Router, clusters, linear, neighbours, perceptron
from racer.router.clusters import ClusterHead
from racer.router.contrastive import ContrastiveHead, against_models, against_queries
from racer.router.factors import FactorHead
from racer.router.heads import labels_of
from racer.router.kinds import FITTED, HEADS
from racer.router.linear import LinearHead
from racer.router.neighbours import NeighbourHead
from racer.router.perceptron import PerceptronHead
from racer.router.search import log_loss, scaling

N, HELD_OUT, C, M = 90, 41, 5, 3
KINDS = ("linear", "mlp", "knn", "clusters", "mf", "routerdc", "encoder")
TEXTS = ["What is 2+2?", "Which number comes next: 2, 4, 8, 16?", "Spell 'saucier' backwards."]


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, C) float32, not centred and not of one scale, and labels (n, M+1) that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, C))
    right = rng.random((n, M)) < special.expit(2 * x[:, :M] + [0.5, 0, -1])
    return (x * [1, 2, 3, 0.5, 1] + [0, 0, 5, 0, 1]).astype(np.float32), labels_of(right)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A perceptron of few epochs: it is by far the slowest to fit."""
    monkeypatch.setattr(perceptron, "EPOCHS", 12)


@pytest.fixture(scope="module")
def train():
    return rows(N, seed=0)


@pytest.fixture(scope="module")
def held_out():
    return rows(HELD_OUT, seed=1)


def say(head, vectors: np.ndarray) -> np.ndarray:
    """What a head says, (n, M+1), its own null last."""
    with torch.no_grad():
        estimate = head.estimate(head.eval()(torch.from_numpy(vectors)).numpy())
    return np.column_stack([estimate.models, estimate.learned_null])


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# ---------------------------------------------------------------- against a slow way


def slow_neighbours(vectors, labels, query, k, sharpness) -> list[float]:
    """One query: sort all train rows by cosine, add up the k first, and a neighbour's worth of the base rates."""
    cosine = [float(x @ query) for x in unit(vectors.astype(float))]
    nearest = sorted(range(len(vectors)), key=lambda i: -cosine[i])[:k]
    weight = {i: math.exp(sharpness * cosine[i]) for i in nearest}
    share = [sum(weight[i] * labels[i][j] for i in nearest) / sum(weight.values()) for j in range(M + 1)]
    return [(k * s + base) / (k + 1) for s, base in zip(share, labels.astype(float).mean(axis=0), strict=True)]


@pytest.mark.parametrize(("k", "sharpness"), [(1, 0.0), (8, 0.0), (13, 5.0), (N, 15.0)])
def test_neighbours_are_those_of_a_loop(k, sharpness, train, held_out):
    head = NeighbourHead.fit(*train, *held_out, seed=0)[0]
    head.options |= {"k": k, "sharpness": sharpness}
    queries = held_out[0]
    expected = [slow_neighbours(*train, q, k, sharpness) for q in unit(queries.astype(float))]
    np.testing.assert_allclose(say(head, queries), expected, atol=1e-5)


def test_the_number_of_neighbours_is_that_of_the_least_loss_on_the_held_out_rows(train, held_out):
    sizes = [k for k in neighbours.SIZES if k <= N]
    losses = {(k, s): metrics.log_loss(held_out[1].ravel(), np.ravel(
        [slow_neighbours(*train, q, k, s) for q in unit(held_out[0].astype(float))]))
        for k, s in itertools.product(sizes, neighbours.SHARPNESS)}
    head, loss = NeighbourHead.fit(*train, *held_out, seed=0)
    assert (head.options["k"], head.options["sharpness"]) == min(losses, key=losses.get)
    assert loss == pytest.approx(min(losses.values()), rel=1e-5)


def slow_clusters(vectors, labels, queries, count, seed) -> np.ndarray:
    """Rates of the nearest centre, cluster by cluster and query by query."""
    means = KMeans(count, n_init=4, random_state=seed).fit(unit(vectors))
    base, rates = labels.astype(float).mean(axis=0), []
    for cluster in range(count):
        inside = [y for y, c in zip(labels.astype(float), means.labels_, strict=True) if c == cluster]
        rates.append((sum(inside) + clusters.PRIOR * base) / (len(inside) + clusters.PRIOR))
    centres = means.cluster_centers_.astype(float)
    return np.array([rates[min(range(count), key=lambda c: np.sum((centres[c] - q) ** 2))]
                     for q in unit(queries.astype(float))])


def test_clusters_are_those_of_loops_and_their_number_fits_the_held_out_rows_best(train, held_out):
    counts = [c for c in clusters.COUNTS if 10 * c <= N]
    assert len(counts) == 2
    said = {c: slow_clusters(*train, held_out[0], c, seed=3) for c in counts}
    losses = {c: metrics.log_loss(held_out[1].ravel(), p.ravel()) for c, p in said.items()}
    head, loss = ClusterHead.fit(*train, *held_out, seed=3)
    best = min(losses, key=losses.get)
    assert head.options == {"count": best} and loss == pytest.approx(losses[best], rel=1e-6)
    np.testing.assert_allclose(say(head, held_out[0]), said[best], atol=1e-6)


def test_logistic_regression_is_that_of_scikit_learn(train, held_out):
    scaler = preprocessing.StandardScaler().fit(train[0].astype(float))
    z, z_held_out = (scaler.transform(x.astype(float)) for x in (train[0], held_out[0]))
    said = {}
    for strength in linear.STRENGTHS:
        columns = [LogisticRegression(C=strength, max_iter=1000).fit(z, y) for y in train[1].T]
        said[strength] = np.column_stack([c.predict_proba(z_held_out)[:, 1] for c in columns])
    losses = {c: metrics.log_loss(held_out[1].ravel(), p.ravel()) for c, p in said.items()}
    head, loss = LinearHead.fit(*train, *held_out, seed=0)
    np.testing.assert_allclose(say(head, held_out[0]), said[min(losses, key=losses.get)], atol=1e-3)
    assert loss == pytest.approx(min(losses.values()), abs=1e-3)


def test_the_perceptron_is_that_of_scikit_learn_stopped_at_its_best_epoch(train, held_out):
    scaler = preprocessing.StandardScaler().fit(train[0].astype(float))
    z, z_held_out = (scaler.transform(x.astype(float)).astype(np.float32) for x in (train[0], held_out[0]))
    best = (math.inf, None, None)
    for hidden, decay in itertools.product(perceptron.HIDDEN, perceptron.DECAYS):
        network, curve = MLPClassifier((hidden,), alpha=decay, random_state=7), []
        for _ in range(perceptron.EPOCHS):
            network.partial_fit(z, train[1].astype(int), classes=np.arange(M + 1))
            p = network.predict_proba(z_held_out)
            curve.append(metrics.log_loss(held_out[1].ravel(), p.ravel()))
            best = min(best, (curve[-1], hidden, p), key=lambda entry: entry[0])
            if len(curve) - 1 - int(np.argmin(curve)) == perceptron.PATIENCE:
                break
    head, loss = PerceptronHead.fit(*train, *held_out, seed=7)
    assert head.options == {"hidden": best[1]} and loss == pytest.approx(best[0], abs=1e-4)
    np.testing.assert_allclose(say(head, held_out[0]), best[2], atol=1e-3)


def test_factors_are_a_sum_over_three_indices(held_out):
    torch.manual_seed(0)
    head, x = FactorHead(C, M, rank=4, dropout=0.5), held_out[0]
    head.start(held_out[1])
    weights = {k: v.double().numpy() for k, v in head.state_dict().items()}
    z = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)  # fresh layer norm
    query = z @ weights["project.2.weight"].T + weights["project.2.bias"]
    logits = np.einsum("nr,mr,r->nm", query, weights["models"], weights["read.weight"][0]) + weights["bias"]
    np.testing.assert_allclose(say(head, x), special.expit(logits), atol=1e-5)


def test_factors_start_at_the_base_rates_and_learn_by_binary_cross_entropy(held_out):
    head, (x, y) = FactorHead(C, M, rank=4, dropout=0.0), held_out
    with torch.no_grad():
        head.read.weight.zero_()
    head.start(y)
    np.testing.assert_allclose(say(head, x), np.tile(y.mean(axis=0), (len(x), 1)), atol=1e-6)
    outputs = torch.from_numpy(np.random.default_rng(0).normal(size=y.shape).astype(np.float32))
    expected = [metrics.log_loss(row, special.expit(out), labels=[0, 1])
                for row, out in zip(y, outputs.double().numpy(), strict=True)]
    np.testing.assert_allclose(head.loss(outputs, torch.from_numpy(y)).numpy(), expected, rtol=1e-5)


# ---------------------------------------------------------------- dual contrast


def slow_against_models(s: list[float], y: list[float]) -> float:
    """One row of any labels in [0, 1]: each model counts as right with its label, as wrong with the rest."""
    wrong = sum((1 - y_m) * math.exp(s_m) for s_m, y_m in zip(s, y, strict=True))
    terms = [-y_m * math.log(math.exp(s_m) / (math.exp(s_m) + wrong)) for s_m, y_m in zip(s, y, strict=True)]
    return sum(terms) / sum(y) if sum(y) else 0.0


def test_the_contrast_of_models_is_that_of_a_loop_and_nothing_where_all_agree():
    rng = np.random.default_rng(0)
    similar = rng.normal(scale=4, size=(6, M)).astype(np.float32)
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [0.5, 0, 1], [0.25, 0, 0]], dtype=np.float32)
    s = torch.from_numpy(similar).requires_grad_()
    losses = against_models(s, torch.from_numpy(labels))
    expected = [slow_against_models(a.tolist(), b.tolist()) for a, b in zip(similar, labels, strict=True)]
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    losses.sum().backward()
    assert torch.isfinite(s.grad).all() and (s.grad[2:4] == 0).all() and (s.grad[[0, 1, 4]] != 0).any(dim=1).all()


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
def test_the_contrast_of_models_is_finite_at_the_largest_scale(labels):
    s = torch.tensor([[100.0, -100.0, 0.0]], requires_grad=True)
    loss = against_models(s, torch.tensor([labels], dtype=torch.float32))
    loss.sum().backward()
    assert torch.isfinite(s.grad).all()
    assert loss.item() == pytest.approx({(0, 0, 1): 100.0}.get(tuple(labels), 0.0), abs=1e-6)


def slow_against_queries(unit: np.ndarray, cluster: list[int], i: int) -> float:
    others = [j for j in range(len(unit)) if j != i and cluster[j] == cluster[i]]
    away = sum(math.exp(unit[i] @ unit[j]) for j in range(len(unit)) if cluster[j] != cluster[i])
    terms = [-math.log(math.exp(unit[i] @ unit[j]) / (math.exp(unit[i] @ unit[j]) + away)) for j in others]
    return sum(terms) / len(others) if others else 0.0


@pytest.mark.parametrize("cluster", [[0, 1, 0, 2, 1, 0, 0], [3] * 7, list(range(7))])
def test_the_contrast_of_queries_is_that_of_a_loop(cluster):
    vectors = unit(np.random.default_rng(1).normal(size=(7, C)))
    given = torch.from_numpy(vectors.astype(np.float32)).requires_grad_()
    losses = against_queries(given, torch.tensor(cluster, dtype=torch.float32))
    expected = [slow_against_queries(vectors, cluster, i) for i in range(7)]
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    losses.sum().backward()
    assert torch.isfinite(given.grad).all()


def test_dual_contrast_says_a_softmax_of_scaled_cosines(held_out):
    torch.manual_seed(0)
    head, x = ContrastiveHead(C, M).eval(), held_out[0]
    with torch.no_grad():
        outputs = head(torch.from_numpy(x)).numpy()
    cosine = metrics.pairwise.cosine_similarity(x, head.models.detach().numpy())
    estimate = head.estimate(outputs)
    np.testing.assert_allclose(estimate.models, special.softmax(10 * cosine, axis=1), rtol=1e-4)
    assert estimate.learned_null is None and estimate.models.dtype == np.float64
    with torch.no_grad():
        head.log_scale.fill_(9.0)  # e^9: more than the scale may be
        limited = head(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(limited[:, :M], 100 * cosine, rtol=1e-4, atol=1e-4)


def test_the_contrast_of_queries_takes_part_in_training_only(held_out):
    torch.manual_seed(0)
    head, (x, y) = ContrastiveHead(C, M), held_out
    cluster = np.arange(len(x)) % 4
    labels = torch.from_numpy(np.column_stack([y, cluster]).astype(np.float32))
    outputs = head(torch.from_numpy(x)).detach()
    first = against_models(outputs[:, :M], labels[:, :M])
    np.testing.assert_allclose(head.eval().loss(outputs, labels), first)
    np.testing.assert_allclose(head.train().loss(outputs, labels[:, :-1]), first)
    expected = [slow_against_queries(unit(x.astype(float)), cluster.tolist(), i) for i in range(len(x))]
    np.testing.assert_allclose(head.train().loss(outputs, labels) - first, expected, rtol=1e-3, atol=1e-5)
    assert head.loss(outputs.to(torch.bfloat16), labels).dtype == torch.float32


# ---------------------------------------------------------------- awkward rows


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("n", [5, 300])
def test_probabilities_are_probabilities_where_a_model_is_always_or_never_right(kind, n, held_out):
    x, y = rows(n, seed=2)
    y[:, 0], y[:, 1], y[:, -1] = 1, 0, 0
    head, loss = kind.fit(x, y, *held_out, seed=0)
    for queries in (held_out[0], x, 100 * held_out[0], np.zeros((2, C), np.float32)):
        p = say(head, queries)
        assert p.dtype == np.float64 and p.shape == (len(queries), M + 1) and ((p >= 0) & (p <= 1)).all()
    ends = say(head, held_out[0])
    assert ends[:, 0].mean() > 0.7 and ends[:, 1].mean() < 0.45 and np.isfinite(loss)


def test_no_more_neighbours_and_clusters_than_there_are_rows(held_out):
    few = rows(6, seed=3)
    head = NeighbourHead.fit(*few, *held_out, seed=0)[0]
    assert head.options["k"] == 6 == head.options["rows"]
    assert ClusterHead.fit(*few, *held_out, seed=0)[0].options["count"] == 1
    np.testing.assert_allclose(say(ClusterHead.fit(*few, *held_out, seed=0)[0], held_out[0])[0], few[1].mean(axis=0),
                               rtol=1e-6)


@pytest.mark.parametrize("kind", [LinearHead, PerceptronHead])
def test_a_dimension_that_never_varies_on_train_says_nothing(kind, train, held_out):
    constant = [np.column_stack([x, np.full(len(x), c)]).astype(np.float32) for x, c in ((train[0], 0.7),
                                                                                        (held_out[0], 0.7))]
    head = kind.fit(constant[0], train[1], constant[1], held_out[1], seed=0)[0]
    elsewhere = constant[1].copy()
    elsewhere[:, -1] = 0.9
    np.testing.assert_array_equal(say(head, elsewhere), say(head, constant[1]))
    mean, scale = scaling(constant[0])
    np.testing.assert_allclose(scale[:-1], train[0].astype(float).std(axis=0))
    np.testing.assert_allclose(mean, constant[0].astype(float).mean(axis=0))


def test_log_loss_is_that_of_scikit_learn_and_finite_at_certainty():
    rng = np.random.default_rng(0)
    p, y = rng.random((30, 4)), rng.random((30, 4)) < 0.5
    assert log_loss(p, y) == pytest.approx(metrics.log_loss(y.ravel(), p.ravel()))
    assert log_loss(np.ones((2, 2), np.float32), np.zeros((2, 2))) == pytest.approx(-math.log(1e-7))


# ---------------------------------------------------------------- who chooses


@pytest.mark.parametrize("kind", FITTED)
def test_the_held_out_rows_choose_and_teach_nothing(kind, train, held_out):
    """Another validation split may choose other settings; the same settings mean the same weights."""
    found = {}
    for seed in range(6):
        x, y = rows(HELD_OUT, seed=10 + seed)
        y = y if seed % 2 else 1 - y  # half of them contradict the train rows
        head = kind.fit(*train, x, y, seed=0)[0]
        found.setdefault(json.dumps(head.options), []).append(say(head, held_out[0]))
    if kind in (LinearHead, PerceptronHead):  # strength, penalty and epochs leave no trace in the options
        assert len({p.tobytes() for said in found.values() for p in said}) > 1
        return
    assert len(found) > 1
    for said in found.values():
        assert all(np.array_equal(said[0], p) for p in said)


def trained(field_cache, tmp_path, router: str, table):
    """Train on a table, with the vectors that are there already; return the folder of the run."""
    for part in ("embeddings", "encoders"):
        shutil.copytree(field_cache / part, tmp_path / "cache" / part)
    return finished(composed(*FIELD, f"router={router}", f"data.path={table.save(tmp_path / 'table')}",
                             f"cache_dir={tmp_path}/cache", f"run_dir={tmp_path}/run"))


def test_the_seed_gives_the_router_and_calibration_and_test_rows_choose_nothing(field_run, field_cache, tmp_path):
    """Trained again on a table whose calibration and test outcomes are turned round, every file is the same."""
    table = data.load(composed(*FIELD).data)
    unseen = np.isin(table.split, ("calibration", "test"))
    turned = replace(table, scores=np.where(unseen[:, None], 1 - table.scores, table.scores))
    for router in KINDS:
        first, again = field_run(router), trained(field_cache, tmp_path / router, router, turned)
        names = sorted(p.relative_to(first) for p in (first / "router").rglob("*") if p.is_file())
        assert len(names) >= 6
        for name in names:
            assert (first / name).read_bytes() == (again / name).read_bytes(), f"{router}: {name}"
        before, after = (json.loads((run / "calibration.json").read_text()) for run in (first, again))
        assert before["coupling"] == after["coupling"] and before["cut"] != after["cut"]


# ---------------------------------------------------------------- the whole road


@pytest.mark.parametrize("router", KINDS)
def test_a_saved_router_opens_by_itself_and_says_the_same(router, field_run, tmp_path):
    run = shutil.copytree(field_run(router), tmp_path / "moved")
    (run / "config.yaml").unlink()
    opened, scores = Router.load(run), scores_file.load(run / "scores.npz").uncoupled()
    assert opened.settings.head["name"] == {"encoder": "latent"}.get(router, router)
    assert ((scores.probabilities >= 0) & (scores.probabilities <= 1)).all()
    table = data.load(composed(*FIELD).data)
    chosen = np.flatnonzero(table.split == "test")
    said = opened.estimate(table.queries[chosen].tolist())
    assert said.models.dtype == np.float64
    near = np.isclose(said.models, scores.probabilities[chosen, :-1], atol=1e-5).all(axis=1)
    jumps = router in ("knn", "clusters")  # a vector's last bit may change who is nearest
    assert near.mean() >= (0.9 if jumps else 1)
    decisions = opened.route(TEXTS)
    assert [d.abstain for d in decisions] == [not d.members for d in decisions]


@pytest.mark.parametrize("router", [kind.name for kind in FITTED])
def test_the_loss_that_is_told_is_that_on_the_validation_rows(router, field_run):
    run = field_run(router)
    [told] = [line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
              if "validation_loss" in line]
    rows = scores_file.load(run / "scores.npz").uncoupled().of_split("validation")
    said = np.column_stack([rows.probabilities[:, :-1], rows.learned_null])
    expected = metrics.log_loss(labels_of(rows.outcomes).ravel(), said.ravel())
    assert told["validation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("router", KINDS)
def test_every_router_gets_a_joint_and_its_null(router, field_run, tmp_path):
    run = shutil.copytree(field_run(router), tmp_path / "run")
    joint = "own" if router == "encoder" else "fitted"
    artifact = stages.calibrate_run(run, SetsConfig(null="joint", joint=joint), RiskConfig(alpha=0.3))
    scores = scores_file.load(run / "scores.npz")
    assert (artifact.rule.coupling is None) == (router == "encoder") and not artifact.rule.independent
    given_z = special.expit(scores.joint.logits[:, :, None] + scores.joint.loadings[:, :, None] * scores.joint.nodes)
    np.testing.assert_allclose(scores.probabilities[:, -1], np.prod(1 - given_z, axis=1) @ scores.joint.weights)
    np.testing.assert_allclose(scores.probabilities[:, :-1], given_z @ scores.joint.weights)
    assert stages.calibrate_run(run, SetsConfig("gap"), RiskConfig(alpha=0.3)).rule.coupling is None


@pytest.mark.parametrize("router", ["mf", "routerdc"])
def test_a_router_that_gradients_train_can_tune_the_encoder(router, field_run, tmp_path):
    small = ("data.n=100", "train.epochs=1", "risk.alpha=0.5", "router.clusters=100")  # more than there are queries
    run = finished(composed(*FIELD, f"router={router}", "encoder.freeze=false", f"cache_dir={tmp_path}/cache",
                            f"run_dir={tmp_path}/run", *small))
    tuned, frozen = (folder / "router/encoder/model.safetensors" for folder in (run, field_run(router)))
    assert tuned.read_bytes() != frozen.read_bytes()
    said = Router.load(run).estimate(TEXTS)
    assert said.models.shape == (3, 7) and (said.learned_null is None) == (router == "routerdc")


@pytest.mark.parametrize(("router", "setting", "says"), [
    *((kind.name, "encoder.freeze=false", f"router={kind.name} is fitted to the vectors of a frozen encoder")
      for kind in FITTED),
    *((name, "train.soft_labels=true", f"router={name} learns from right and wrong, not from fractions")
      for name in ("linear", "mlp")),
])
def test_what_makes_no_sense_is_refused_before_anything_is_done(router, setting, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        pipeline.run(composed(*FIELD, f"router={router}", setting, f"cache_dir={tmp_path}/cache",
                              f"run_dir={tmp_path}/run"))
    assert not any(tmp_path.iterdir())


def test_every_name_in_the_settings_has_a_head():
    for router in KINDS:
        assert router == "encoder" or HEADS[router].name == router
    for head in ("multilabel", "softmax", "latent"):
        assert HEADS[head].name == head
