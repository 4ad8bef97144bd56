"""wandb as a mirror: real offline runs, read back from the files they leave."""

import json
import struct
from dataclasses import replace

import pytest

from racer import pipeline
from racer.config import TrackingConfig
from racer.tracking import Tracker, flatten


def records(run_dir) -> list:
    """Return the records of the one offline run below a run folder: what `wandb sync` would send.

    Closing a run does not wait until wandb's service has written the last of it: only the service's end does.
    """
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()
    [file] = (run_dir / "wandb").glob("offline-run-*/*.wandb")
    found = []
    for data in log_entries(file.read_bytes()):
        found.append(wandb_internal_pb2.Record())
        found[-1].ParseFromString(data)
    return found


def log_entries(content: bytes):
    """Yield the entries of a LevelDB log, which a .wandb file is: 32 KiB blocks of (checksum, length, kind, data)."""
    assert content[:4] == b":W&B"
    at, entry = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:  # the rest of a block is padding
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at:at + 7])
        entry += content[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield entry
            entry = b""


def values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_offline_run_holds_config_curve_report_figures_and_checkpoint(small_config, small_run, tmp_path):
    tracking = TrackingConfig(wandb="offline", project="kitchens", group="tests", name="one")
    evaluation = pipeline.run(replace(small_config, tracking=tracking, run_dir=str(tmp_path)))
    found = records(tmp_path)
    [run] = [r.run for r in found if r.WhichOneof("record_type") == "run"][:1]
    assert (run.project, run.run_group, run.display_name) == ("kitchens", "tests", "one")
    config = {u.key: json.loads(u.value_json) for u in run.config.update}
    assert config["risk"]["alpha"] == 0.1 and config["encoder"]["name"] == "tiny"
    history = [values(r.history.item) for r in found if r.WhichOneof("record_type") == "history"]
    assert [h["train/epoch"] for h in history if "train/epoch" in h] == [1, 2]
    assert any(key.startswith("figures/reliability") for h in history for key in h)
    summary = {}
    for record in found:
        if record.WhichOneof("record_type") == "summary":
            summary |= values(record.summary.update)
    assert summary["report/set_size/value"] == evaluation.report["set_size"]["value"]
    artifacts = [r.request.log_artifact.artifact for r in found if r.request.HasField("log_artifact")]
    artifacts += [r.artifact for r in found if r.WhichOneof("record_type") == "artifact"]
    assert any(a.name == f"router-{evaluation.report['fingerprint']['router']}" for a in artifacts)
    assert [r.exit.exit_code for r in found if r.WhichOneof("record_type") == "exit"] == [0]


def test_a_run_that_fails_is_closed_as_failed(tmp_path):
    with pytest.raises(ValueError), Tracker(tmp_path, TrackingConfig(), {}) as tracker:
        tracker.log({"step": 1, "train_loss": 0.5})
        raise ValueError
    assert [r.exit.exit_code for r in records(tmp_path) if r.WhichOneof("record_type") == "exit"] == [1]
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "train_loss": 0.5}


def test_without_wandb_nothing_of_it_is_imported_or_written(small_run):
    assert not (small_run / "wandb").exists()


def test_flatten_names_leaves_by_their_path():
    assert flatten({"a": {"b": 1, "c": None}, "d": [1], "e": "x"}) == {"a/b": 1, "e": "x"}
