"""The training loop: order, accumulation, best weights, and a run that is killed and goes on."""

import math
from itertools import chain

import numpy as np
import pytest
import torch

from racer.config import EncoderConfig, TrainConfig
from racer.router import backbone
from racer.router.encoder import Encoder
from racer.router.fit import EpochBatches, Examples, Fit, Network, accelerator_for
from racer.router.heads import MultilabelHead, labels_of

C, M = 6, 3


def examples(n: int, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, C)).astype(np.float32)
    return Examples(x, labels_of(x[:, :M] + 0.3 * rng.normal(size=(n, M)) > 0))


def head(dropout: float = 0.0) -> MultilabelHead:
    torch.manual_seed(0)
    return MultilabelHead(C, M, hidden=8, dropout=dropout)


def fit(folder, config: TrainConfig, network: Network, n: int = 70, train: Examples | None = None, **more) -> Fit:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    return Fit(network, train or examples(n), more.get("validation") or examples(40, 1), config, 0,
               accelerator_for(config), folder, more.get("log", lambda numbers: None))


def weights(network: Network) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy().copy() for k, v in network.state_dict().items()}


def test_every_epoch_holds_each_query_once_in_an_order_of_its_own():
    lengths = np.random.default_rng(0).integers(3, 90, size=103)
    batches = EpochBatches(lengths, 8, seed=5)
    first, again = list(batches), list(batches)
    batches.set(epoch=1, start=0)
    second = list(batches)
    assert first == again != second
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(103))
    assert [len(b) for b in first] == [8] * 12 + [7] and len(batches) == 13


def test_starting_inside_an_epoch_gives_its_remaining_batches():
    batches = EpochBatches(np.full(50, 4), 8, seed=0)
    whole = list(batches)
    batches.set(epoch=0, start=3)
    assert list(batches) == whole[3:] and len(batches) == len(whole) - 3


def test_queries_of_like_length_share_a_batch():
    lengths = np.random.default_rng(0).integers(1, 100, size=640)
    spread = np.mean([np.ptp(lengths[b]) for b in EpochBatches(lengths, 8, seed=0)])
    assert spread < 30  # by chance it would be about 78


def test_accumulating_two_batches_is_one_batch_of_twice_the_size(tmp_path):
    whole, halves = Network(head(), None), Network(head(), None)
    config = dict(epochs=1, lr=0.01, warmup=0.0)
    # one optimizer step on 64 queries, at once and as two batches of 32
    fit(tmp_path / "a", TrainConfig(batch_size=64, **config), whole, n=64).run()
    fit(tmp_path / "b", TrainConfig(batch_size=32, accumulate=2, **config), halves, n=64).run()
    start = weights(Network(head(), None))
    for name, value in weights(whole).items():
        np.testing.assert_allclose(weights(halves)[name], value, atol=1e-6)
        assert not np.allclose(value, start[name], atol=1e-4), name  # it did step


def test_training_learns_and_keeps_the_weights_of_the_best_validation_loss(tmp_path):
    lines, network = [], Network(head(), None)
    config = TrainConfig(epochs=40, lr=0.05, patience=5, batch_size=16)
    state = fit(tmp_path / "f", config, network, log=lines.append).run()
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert losses[0] > min(losses) == state.best_loss and state.best_epoch == losses.index(min(losses)) + 1
    assert len(losses) == min(40, state.best_epoch + 5)  # stopped for lack of patience, or at the end
    validation = examples(40, 1)
    logits = network.head.eval()(torch.from_numpy(validation.inputs))
    loss = float(network.head.loss(logits.detach(), torch.from_numpy(validation.labels)).mean())
    assert loss == pytest.approx(state.best_loss, abs=1e-6)


@pytest.mark.parametrize("kill_at", [1, 4, 5, 9, 10, 13])
def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(kill_at, tmp_path):
    config = TrainConfig(epochs=3, batch_size=16, lr=0.01, save_every=2)
    straight = Network(head(dropout=0.3), None)
    reference = fit(tmp_path / "straight", config, straight).run()
    interrupted = fit(tmp_path / "killed", config, Network(head(dropout=0.3), None))
    kill_after(interrupted, kill_at)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    network = Network(head(dropout=0.3), None)
    state = fit(tmp_path / "killed", config, network).run()
    assert state.history == reference.history
    for name, value in weights(straight).items():
        np.testing.assert_array_equal(weights(network)[name], value)


def kill_after(training: Fit, steps: int) -> None:
    """Let the training die in the middle of an optimizer step."""
    step, count = training.optimizer.step, iter(range(steps))

    def dying(*args, **kwargs):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    training.optimizer.step = dying


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_fine_tuning_moves_the_encoder(precision, tmp_path):
    folder = backbone.locate(EncoderConfig(path="tiny"), tmp_path)
    encoder = Encoder(folder, "mean", 32, "right")
    texts = [f"query {i} with {'apples' if i % 2 else 'pears'}" for i in range(24)]
    labels = labels_of(np.array([[i % 2, 1, 0] for i in range(24)]))
    torch.manual_seed(0)
    network = Network(MultilabelHead(encoder.width, 3, hidden=8, dropout=0.0), encoder)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    config = TrainConfig(epochs=3, batch_size=8, encoder_lr=1e-3, lr=1e-2, mixed_precision=precision)
    data = Examples(encoder.tokenize(texts), labels)
    state = fit(tmp_path / "f", config, network, train=data, validation=data).run()
    losses = [h["validation_loss"] for h in state.history if "validation_loss" in h]
    moved = [k for k, v in encoder.state_dict().items() if not torch.equal(v, before[k])]
    assert any("attention" in k for k in moved) and losses[-1] < losses[0] and math.isfinite(losses[-1])
    assert all(v.dtype == torch.float32 for v in encoder.state_dict().values() if v.is_floating_point())
