"""Heads: losses against numpy, labels, and probabilities in float64."""

import numpy as np
import pytest
import torch

from racer.router.heads import HEADS, MultilabelHead, SoftmaxHead, labels_of

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
    loss = MultilabelHead(4, M, 0, 0.0).loss(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_softmax_loss_is_cross_entropy_with_the_normalised_row_and_nothing_where_nobody_is_right():
    logits = RNG.normal(size=(3, M)).astype(np.float32)
    labels = labels_of(np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]]))
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = [-(np.log(q[0, 0]) + np.log(q[0, 2])) / 2, 0, -np.log(q[2, 1])]
    loss = SoftmaxHead(4, M, 0, 0.0).loss(torch.from_numpy(logits), torch.from_numpy(labels))
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_large_logits_do_not_saturate_before_float64_does():
    p, null = MultilabelHead.probabilities(np.array([[20.0, -20.0, 0.0]], dtype=np.float32))
    assert p.dtype == np.float64 and p[0, 0] < 1 and p[0, 1] > 0
    np.testing.assert_allclose(1 - p[0, 0], np.exp(-20), rtol=1e-6)
    assert null.tolist() == [0.5]


def test_softmax_probabilities_sum_to_one_and_know_no_null():
    p, null = SoftmaxHead.probabilities(RNG.normal(size=(B, M)))
    assert p.shape == (B, M) and null is None
    np.testing.assert_allclose(p.sum(axis=1), 1)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_an_untrained_head_predicts_the_base_rates_on_average(name):
    labels = labels_of(RNG.random((4000, M)) < [0.2, 0.5, 0.8])
    head = HEADS[name](8, M, hidden=16, dropout=0.0).eval()
    with torch.no_grad():
        head.layers[-1].weight.zero_()  # leaves the bias alone
    head.start_at(head.base_rates(labels))
    p, null = head.probabilities(head(torch.randn(4, 8)).detach().numpy())
    rates = labels.mean(axis=0)
    expected = rates[:M] if name == "multilabel" else rates[:M] / rates[:M].sum()
    np.testing.assert_allclose(p[0], expected, rtol=1e-4)
    assert null is None or np.allclose(null, rates[-1])
