"""Routers that travel: saved, put on a hub and fetched from it, with a card that says what was measured."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import yaml
from conftest import resealed
from hub_server import serving

import racer
from racer import hashing, stages
from racer.card import model_card
from racer.config import RiskConfig, SetsConfig
from racer.errors import ConfigError

TEXTS = ["What is 2+2?", "Spell 'saucier' backwards."]


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback that the client of the real one talks to, with a cache of its own."""
    constants = huggingface_hub.constants
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                            hub.address + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
        monkeypatch.chdir(tmp_path)
        yield hub


def files(folder: Path) -> dict[str, str]:
    return hashing.of_folder(folder)


def same(a: "racer.Router", b: "racer.Router") -> bool:
    return all(x.members == y.members and np.array_equal(x.probabilities, y.probabilities)
               for x, y in zip(a.route(TEXTS), b.route(TEXTS), strict=True))


# ---------------------------------------------------------------- folders


def test_a_saved_router_opens_by_itself_with_all_that_goes_with_it(run, tmp_path):
    router = racer.Router.load(run)
    folder = router.save(tmp_path / "new" / "saved")
    again = racer.Router.load(folder)
    assert same(router, again) and again.fingerprint == router.fingerprint and again.artifact == router.artifact
    assert files(folder / "router") == files(run / "router")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "calibration.json", "report.json", "router"]
    assert [p.name for p in folder.parent.iterdir()] == ["saved"]
    assert f'racer.Router.load("{folder}")' in (folder / "README.md").read_text()
    (run / "calibration.json").unlink()
    (run / "report.json").unlink()
    bare = racer.Router.load(racer.Router.load(run).save(tmp_path / "bare"))
    assert bare.artifact is None and bare.fingerprint == router.fingerprint
    assert racer.Router.load(again.save(tmp_path / "third")).fingerprint == router.fingerprint  # a copy of a copy


def test_a_certificate_goes_with_it(run, tmp_path):
    (run / "certificate.json").write_text("{}")
    from racer import hub
    (tmp_path / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "model_card", lambda *_: "card")
        assert (hub.saved(run, tmp_path / "out", "x") / "certificate.json").read_text() == "{}"


def test_what_may_not_be_saved_is_refused_and_loses_nothing(run, tmp_path):
    router = racer.Router.load(run)
    (full := tmp_path / "full").mkdir()
    (full / "mine").write_text("precious")
    for folder in (full, full / "mine"):
        with pytest.raises(ConfigError, match="is there already"):
            router.save(folder)
    assert (full / "mine").read_text() == "precious"
    stages.calibrate_run(run, SetsConfig(), RiskConfig(alpha=0.3))
    with pytest.raises(ConfigError, match="has changed since this router was loaded"):
        router.save(tmp_path / "out")
    record = json.loads((run / "calibration.json").read_text())
    resealed(run / "calibration.json", fingerprint=record["fingerprint"] | {"tokenizer": "another"})
    with pytest.raises(ConfigError, match=r"a calibration of its own\..*tokenizer"):
        racer.Router.load(run, allow_uncertified=True).save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- the hub


def test_what_is_put_on_the_hub_is_what_comes_from_there(run, hub, monkeypatch):
    router = racer.Router.load(run)
    address = router.push_to_hub("acme/kitchen-router")
    assert address.startswith(f"{hub.address}/acme/kitchen-router/commit/") and hub.private["acme/kitchen-router"]
    held = hub.on("acme/kitchen-router")
    assert {"README.md", "calibration.json", "report.json", "router/head.safetensors", "notes.txt"} < held.keys()
    assert b'load("acme/kitchen-router")' in held["README.md"] and not any(b"/tmp/" in c for c in held.values())
    fetched = racer.Router.load("acme/kitchen-router")
    assert same(router, fetched) and fetched.artifact == router.artifact
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert same(router, racer.Router.load("acme/kitchen-router")) and not hub.asked


def test_another_push_takes_the_place_of_the_first_and_leaves_files_of_others(run, hub):
    racer.Router.load(run).push_to_hub("acme/r", private=False)
    first = hub.heads["acme/r", "main"]
    stages.calibrate_run(run, SetsConfig(), RiskConfig(alpha=0.3))  # removes the report
    racer.Router.load(run).push_to_hub("acme/r")
    assert not hub.private["acme/r"] and "report.json" not in hub.on("acme/r") and "notes.txt" in hub.on("acme/r")
    assert racer.Router.load("acme/r").artifact.risk.alpha == 0.3
    assert racer.Router.load("acme/r", revision=first).artifact.risk.alpha == 0.1
    racer.Router.load("acme/r", revision=first).push_to_hub("acme/r", revision="strict")
    assert racer.Router.load("acme/r", revision="strict").artifact.risk.alpha == 0.1
    assert racer.Router.load("acme/r").artifact.risk.alpha == 0.3


def test_changed_weights_on_the_hub_are_refused(run, hub):
    racer.Router.load(run).push_to_hub("acme/r")
    content = hub.on("acme/r")["router/head.safetensors"]
    hub.commit("acme/r", "main", hub.on("acme/r") | {"router/head.safetensors": content[:-1] + b"\x01"})
    with pytest.raises(ConfigError, match=r"these files differ: head\.safetensors"):
        racer.Router.load("acme/r")


@pytest.mark.parametrize(("name", "says"), [
    ("nowhere", "no name on the Hugging Face hub, which is OWNER/NAME"), ("./outputs/demo", "no such folder"),
    ("a/b/c", "no such folder, and no name"),
    ("acme/nothing", r"the Hugging Face hub gave none \(Repo.*check the path or the name")])
def test_what_is_neither_a_folder_nor_on_the_hub_is_said_to_be_so(hub, name, says):
    with pytest.raises(ConfigError, match=f"no router in {name}: .*{says}"):
        racer.Router.load(name)


def test_a_hub_that_refuses_or_is_not_there_is_a_clear_error(run, hub, monkeypatch):
    router = racer.Router.load(run)
    for name in ("r", "acme/r/x"):
        with pytest.raises(ConfigError, match="expected OWNER/NAME"):
            router.push_to_hub(name)
    hub.refuses = True
    with pytest.raises(ConfigError, match=r"did not take acme/r \(.*folder=DIR"):
        router.push_to_hub("acme/r")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="the Hugging Face hub gave none"):
        racer.Router.load("acme/never-fetched")


# ---------------------------------------------------------------- the card


def test_the_card_says_what_the_run_measured(run):
    report = json.loads((run / "report.json").read_text())
    card = model_card(run, "acme/kitchen")
    front, text = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front)["library_name"] == "racer" and "llm-routing" in yaml.safe_load(front)["tags"]
    assert text.strip().startswith("# kitchen\n") and 'load("acme/kitchen")' in text
    for model, price in zip(report["models"], json.loads((run / "calibration.json").read_text())["prices"],
                            strict=True):
        assert f"| {model} | {1000 * price:.4g} |" in text
    assert "simulated" in text and f"{report['n']['calibration']:,} calibration" in text
    assert "misrouting risk <= 0.1 on new queries" in text and "with confidence 0.9 (`pac`" in text
    risk = report["risk"]["misrouting"]
    assert f"risk: {risk['value']:.3f} [{risk['low']:.3f}, {risk['high']:.3f}]" in text
    single = report["baselines"]["best_single"]["accuracy"]
    assert f"| the best single model | {single['value']:.3f} [" in text
    assert all(f"| {task} | {t['queries']} |" in text for task, t in report["tasks"].items())
    assert "Not out of distribution" in text and "Not that the answer is right" in text


@pytest.mark.parametrize(("risk", "says"), [
    (RiskConfig(method="crc", alpha=0.2), "misrouting risk <= 0.2 on new queries like the 1"),
    (RiskConfig("miss", "group", 0.2), "in each group with a cut of its own, with confidence 0.9"),
    (RiskConfig(method="online"), "in the long run of any stream")])
def test_the_promise_on_the_card_is_that_of_the_calibration(run, risk, says):
    stages.calibrate_run(run, SetsConfig(), risk)
    text = model_card(run, "x")
    assert says in text and "was not evaluated on test queries" in text


def test_a_card_says_when_there_is_no_promise_and_what_is_certified(run):
    (run / "certificate.json").write_text(json.dumps({
        "status": "certified", "promises": {"error_among_answered": 0.2}, "confidence": 0.9,
        "policy": {"text": "ask all; answer at .8"}}))
    assert 'error among answered <= 0.2, with confidence 0.9, by the policy "ask all; answer at .8"' in model_card(
        run, "x")
    (run / "certificate.json").write_text(json.dumps({"status": "none", "promises": {}, "policy": None}))
    assert "nothing could be certified" in model_card(run, "x")
    (run / "calibration.json").unlink()
    assert "None: the router is not calibrated" in model_card(run, "x")
