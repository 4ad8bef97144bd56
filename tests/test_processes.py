"""Training in several processes, and training that is killed: the same weights as one process that nothing disturbs."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONF, SMALL, WITHOUT_FIGURES, composed, finished
from safetensors.numpy import load_file

from racer import scores as scores_file
from racer.config import EncoderConfig, TrainConfig
from racer.errors import ConfigError
from racer.router import backbone
from racer.router.fit import Examples, accelerator_for

ROOT = Path(__file__).parents[1]


def script(cwd: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    (cwd / "sitecustomize.py").write_text(WITHOUT_FIGURES)
    return subprocess.Popen([sys.executable, *launcher, str(ROOT / "scripts" / "train.py"), *arguments], cwd=cwd,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env=os.environ | {"PYTHONPATH": f"{cwd}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"})


def ended(process: subprocess.Popen) -> None:
    printed = process.communicate()[0]
    assert process.returncode == 0, printed


def without_dropout(folder: Path) -> Path:
    """Return the tiny encoder with no dropout: processes draw other masks for other rows."""
    source = backbone.locate(EncoderConfig(path="tiny"), folder)
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (source / "config.json").write_text(json.dumps(config))
    return source


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_two_machines_of_one_process_learn_what_one_process_does(tmp_path):
    given = ["encoder=tiny", f"encoder.path={without_dropout(tmp_path / 'encoder')}", "encoder.freeze=false",
             "encoder.max_length=24", "head.dropout=0", "data.n=134", "train.epochs=2", "train.batch_size=7",
             "train.accumulate=2", "train.cpu=true", "train.lr=0.01", "train.encoder_lr=0.001", "tracking.wandb=off",
             "risk.alpha=0.3"]
    port = free_port()
    nodes = [script(tmp_path, *given, "cache_dir=shared", "run_dir=two", launcher=(
        "-m", "accelerate.commands.launch", "--config_file", str(CONF / "accelerate" / "nodes.yaml"), "--machine_rank",
        str(rank), "--main_process_ip", "127.0.0.1", "--main_process_port", str(port))) for rank in (0, 1)]
    said = [node.communicate()[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    one = finished(composed(*given, f"cache_dir={tmp_path / 'own'}", f"run_dir={tmp_path / 'one'}"))
    two = tmp_path / "two"
    scores, theirs = scores_file.load(one / "scores.npz"), scores_file.load(two / "scores.npz")
    rows = np.count_nonzero(scores.split == "train")
    assert rows % 7 == 1 and rows > 7  # the last batch has no row for the second process, the others have 4 and 3
    assert len(set(theirs.ids)) == len(theirs.ids) == 134
    np.testing.assert_array_equal(scores.ids, theirs.ids)
    np.testing.assert_allclose(theirs.probabilities, scores.probabilities, atol=2e-5)
    curves = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, two)]
    for ours, other in zip(*curves, strict=True):
        assert ours.keys() == other.keys()
        for key in ours.keys() - {"report"}:
            assert other[key] == pytest.approx(ours[key], abs=2e-5), key
    start = load_file(tmp_path / "encoder" / "encoders" / "tiny" / "model.safetensors")
    learned, also = (load_file(run / "router" / "encoder" / "model.safetensors") for run in (one, two))
    for name, weights in learned.items():
        np.testing.assert_allclose(also[name], weights, atol=2e-4, err_msg=name)
    assert max(np.abs(learned[name] - start[name]).max() for name in start) > 2e-3  # it did learn


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_parts_of_a_batch_give_its_mean_loss_whatever_their_sizes(processes):
    examples = Examples(np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10, dtype=np.float32)[:, None] ** 2)
    for rows in ([3, 1, 4, 5, 9], [2, 6], [7]):
        parts = [examples.collate(None, p, processes)(rows) for p in range(processes)]
        assert np.mean([w * float(labels.sum()) for _, labels, w in parts]) == pytest.approx(np.mean(np.square(rows)))
        read = [int(v) for inputs, _, w in parts if w for v in inputs["vectors"][:, 0] / 2]
        assert read == rows


def test_killed_at_random_and_started_again_the_weights_are_those_of_a_straight_run(tmp_path):
    settings = [*SMALL, "train.epochs=8", "train.patience=8", "head.dropout=0.3", "train.lr=0.003", "data.n=300"]
    ended(script(tmp_path, *settings, "cache_dir=own", "run_dir=straight"))
    draw, states = random.Random(7), 0
    for _ in range(2):
        states += draw.randint(3, 12)
        killed = script(tmp_path, *settings, "cache_dir=cache", "run_dir=out", "train.save_every=1")
        while killed.poll() is None and saved(tmp_path / "cache") < states:
            time.sleep(0.002)
        assert killed.poll() is None, killed.communicate()[0]  # it was still training
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
    ended(script(tmp_path, *settings, "cache_dir=cache", "run_dir=out"))
    straight, resumed = tmp_path / "straight", tmp_path / "out"
    whole, parts = (json.loads((run / "router" / "fingerprints.json").read_text()) for run in (straight, resumed))
    assert whole == parts  # the sha256 of every file
    curves = [(run / "metrics.jsonl").read_text().splitlines()[:-1] for run in (straight, resumed)]
    assert curves[0] == curves[1] and len(curves[0]) > 8


def saved(cache: Path) -> int:
    """Return how many steps the newest state of the training under way has, as its folder's name tells it."""
    names = [path.name.split("-") for path in cache.glob("routers/*.partial/state-*")]
    return max((int(epoch) * 5 + int(batch) for _, epoch, batch in names), default=0)


def test_half_precision_of_a_gpu_is_refused_on_a_cpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="fp16 needs a GPU, this training is on the CPU: set bf16 or no"):
        accelerator_for(TrainConfig(mixed_precision="fp16"))
    assert accelerator_for(TrainConfig(mixed_precision="bf16")).mixed_precision == "bf16"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: fp16 needs one")
def test_half_precision_learns_on_a_gpu(small_config, tmp_path):
    settings = replace(small_config, run_dir=str(tmp_path), train=replace(small_config.train, mixed_precision="fp16"))
    losses = [json.loads(line).get("validation_loss") for line in
              (finished(settings) / "metrics.jsonl").read_text().splitlines()]
    found = [loss for loss in losses if loss is not None]
    assert np.isfinite(found).all() and found[-1] < found[0]
