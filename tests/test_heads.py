"""Heads: losses against numpy, labels, and probabilities in float64."""

import numpy as np
import pytest
import torch

from racer.router.bank import Bank
from racer.router.heads import LatentHead, MultilabelHead, SoftmaxHead, labels_of

RNG = np.random.default_rng(0)
B, M = 5, 3


def test_labels_hold_the_null_exactly_where_nobody_is_right():
    outcomes = np.array([[1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(labels_of(outcomes), [[1, 0, 1, 0], [0, 0, 0, 1]])


def test_soft_labels_give_the_null_the_chance_that_nobody_is_right():
    np.testing.assert_allclose(labels_of(np.array([[0.5, 0.2, 0.0]]))[0, -1], 0.5 * 0.8)


def test_multilabel_loss_is_the_mean_binary_cross_entropy_of_all_columns():
    logits, labels = RNG.normal(size=(B, M + 1)).astype(np.float32), RNG.random((B, M + 1)).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(float)))
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(axis=1)
    loss = MultilabelHead(4, M, hidden=0, dropout=0.0).loss(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_softmax_loss_is_cross_entropy_with_the_normalised_row_and_nothing_where_nobody_is_right():
    logits = RNG.normal(size=(3, M)).astype(np.float32)
    labels = labels_of(np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]]))
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = [-(np.log(q[0, 0]) + np.log(q[0, 2])) / 2, 0, -np.log(q[2, 1])]
    loss = SoftmaxHead(4, M, hidden=0, dropout=0.0).loss(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_large_logits_do_not_saturate_before_float64_does():
    estimate = MultilabelHead.estimate(np.array([[20.0, -20.0, 0.0]], dtype=np.float32))
    p, null = estimate.models, estimate.learned_null
    assert p.dtype == np.float64 and p[0, 0] < 1 and p[0, 1] > 0
    np.testing.assert_allclose(1 - p[0, 0], np.exp(-20), rtol=1e-6)
    assert null.tolist() == [0.5]


def test_softmax_probabilities_sum_to_one_and_know_no_null():
    estimate = SoftmaxHead.estimate(RNG.normal(size=(B, M)))
    assert estimate.models.shape == (B, M) and estimate.learned_null is None
    np.testing.assert_allclose(estimate.models.sum(axis=1), 1)


@pytest.mark.parametrize("kind", [MultilabelHead, SoftmaxHead, LatentHead])
def test_an_untrained_head_predicts_the_base_rates_on_average(kind):
    labels = labels_of(RNG.random((4000, M)) < [0.2, 0.5, 0.8])
    head = kind(8, M, hidden=16, dropout=0.0, members=2).eval()
    with torch.no_grad():
        for network in head.networks:
            network[-1].weight.zero_()  # leaves the bias alone
    head.start(labels)
    estimate = head.estimate(head(torch.randn(4, 8)).detach().numpy())
    rates = labels.mean(axis=0)
    expected = rates[:M] / rates[:M].sum() if kind is SoftmaxHead else rates[:M]
    np.testing.assert_allclose(estimate.models[0], expected, rtol=0.02 if kind is LatentHead else 1e-4)
    assert estimate.learned_null is None or np.allclose(estimate.learned_null, rates[-1])


def row_likelihood(a, b, y) -> float:
    """E_z prod_m P(y_m | z) of one row, by a fine sum over z instead of 32 nodes."""
    z = np.linspace(-9, 9, 20_001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    p = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * z)))  # (M, z)
    return float((np.prod(p ** y[:, None] * (1 - p) ** (1 - y[:, None]), axis=0) * density).sum())


def test_latent_loss_is_minus_the_log_likelihood_of_the_row_per_model():
    logits = RNG.normal(scale=2, size=(B, 2 * M)).astype(np.float32)
    labels = labels_of(RNG.choice([0.0, 0.3, 1.0], size=(B, M)))  # 0.3: a share of attempts
    b = LatentHead.bounded(logits[:, M:])
    expected = [-np.log(row_likelihood(logits[i, :M], b[i], labels[i, :M])) / M for i in range(B)]
    head = LatentHead(4, M, hidden=0, dropout=0.0)
    for precision in (torch.float32, torch.bfloat16):
        loss = head.loss(torch.from_numpy(logits).to(precision), torch.from_numpy(labels))
        assert loss.dtype == torch.float32
        np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-4 if precision == torch.float32 else 3e-2)


def test_loadings_never_leave_the_range_where_the_nodes_are_accurate():
    for raw in (torch.tensor([-1e4, -1.0, 0.0, 50.0]), np.array([-1e4, -1.0, 0.0, 50.0])):
        assert np.abs(np.asarray(LatentHead.bounded(raw))).max() <= LatentHead.MAX_LOADING
    np.testing.assert_allclose(np.asarray(LatentHead.bounded(np.array([0.1]))), 0.1, atol=1e-4)


def test_the_joint_is_accurate_to_a_thousandth_at_the_largest_loadings():
    rng = np.random.default_rng(1)
    logits = np.concatenate([rng.normal(scale=2.5, size=(200, 7)), np.full((200, 7), 1e3)], axis=1)  # b at its end
    joint = LatentHead.estimate(logits).joint
    none = [row_likelihood(joint.logits[i], joint.loadings[i], np.zeros(7)) for i in range(200)]
    np.testing.assert_allclose(joint.none_right(), none, atol=1e-3)
    first = [row_likelihood(joint.logits[i, :1], joint.loadings[i, :1], np.ones(1)) for i in range(200)]
    np.testing.assert_allclose(joint.marginals()[:, 0], first, atol=1e-3)


def bank_of(rows: int) -> tuple[Bank, np.ndarray, np.ndarray]:
    vectors = RNG.normal(size=(rows, 4)).astype(np.float32)
    labels = labels_of(RNG.random((rows, M)) < 0.5)
    return Bank(rows, 4, M + 1).remember(vectors, labels), vectors, labels


def neighbours_mean(query, vectors, labels, k, sharpness) -> np.ndarray:
    """The weighted mean label of the k most alike by cosine, with one more neighbour at the base rates; by a loop."""
    cosines = [query @ v / np.linalg.norm(query) / np.linalg.norm(v) for v in vectors]
    nearest = sorted(range(len(vectors)), key=lambda i: -cosines[i])[:k]
    weights = np.array([np.exp(sharpness * cosines[i]) for i in nearest])
    mean = sum(w * labels[i] for w, i in zip(weights, nearest, strict=True)) / weights.sum()
    return (len(nearest) * mean + labels.mean(axis=0)) / (len(nearest) + 1)


@pytest.mark.parametrize(("k", "sharpness"), [(1, 0.0), (3, 5.0), (9, 15.0), (50, 1.0)])
def test_the_bank_averages_the_labels_of_the_nearest(k, sharpness):
    bank, vectors, labels = bank_of(9)
    queries = RNG.normal(size=(5, 4)).astype(np.float32)
    [found] = bank.mean_label(torch.from_numpy(queries), [(k, sharpness)])
    expected = [neighbours_mean(q, vectors, labels, k, sharpness) for q in queries]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_in_the_bank_a_query_is_not_its_own_neighbour():
    bank, vectors, labels = bank_of(9)
    own = torch.tensor([7, 2])
    for k in (1, 8, 20):
        [found] = bank.mean_label(torch.from_numpy(vectors[own]), [(k, 5.0)], own)
        for i, row in zip(own.tolist(), found.numpy(), strict=True):
            others = np.arange(9) != i
            total = neighbours_mean(vectors[i], vectors[others], labels[others], k, 5.0)
            n = min(k, 8)  # the base rates are those of the whole bank, also of the query itself
            total += (labels.mean(axis=0) - labels[others].mean(axis=0)) / (n + 1)
            np.testing.assert_allclose(row, total, rtol=1e-4)


def test_a_head_reads_its_bank_when_it_judges_and_what_was_read_when_it_trains():
    head = LatentHead(4, M, hidden=0, dropout=0.0, members=3, rows=9)
    bank, vectors, _ = bank_of(9)
    head.bank = bank
    inputs = head.read(torch.from_numpy(vectors))
    assert inputs.shape == (9, 4 + 3 * (M + 1))
    np.testing.assert_allclose(inputs[:, :4].norm(dim=1), 2.0, rtol=1e-5)  # sqrt(4)
    trained, judged = head.train()(inputs), head.eval()(torch.from_numpy(vectors))
    assert trained.shape == (9, 3, 2 * M)
    assert (trained[:, 0] - trained[:, 1]).abs().max() > 1e-3  # members start elsewhere
    np.testing.assert_allclose(trained.mean(dim=1).detach(), judged.detach(), atol=1e-6)


def test_each_member_is_trained_by_its_own_loss():
    head = MultilabelHead(4, M, hidden=0, dropout=0.0, members=2)
    logits, labels = torch.randn(B, 2, M + 1), torch.rand(B, M + 1)
    expected = (head.row_loss(logits[:, 0], labels) + head.row_loss(logits[:, 1], labels)) / 2
    np.testing.assert_allclose(head.loss(logits, labels), expected, rtol=1e-6)
    assert (expected > head.loss(logits.mean(dim=1), labels)).all()  # convex: the average is no worse than its members
