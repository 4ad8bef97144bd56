"""A run's answers from the certificate on: the files, what is deployed, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import composed
from hydra.errors import HydraException
from scipy import stats
from test_scripts import script

from racer import certificate as certificate_file
from racer import data, pipeline, recorded, stages
from racer import scores as scores_file
from racer.certificate import Certificate
from racer.cli import saved_settings
from racer.consult import Consultation, Form
from racer.errors import ConfigError, TableError
from racer.estimate import Estimate
from racer.policy import Policy, Track
from racer.recorded import AnswerLog
from racer.router import Router
from racer.rule import SetRule
from racer.votes import Majority

QUICK = ("cuts=2", "thresholds=5", "aggregators=[majority,weighted]")
PROMISE = "promises.error_among_answered=0.45"
SERIES = ("accuracy", "answered", "error_among_answered", "over_abstention", "cost", "harm")


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture(scope="module")
def first(small_run, tmp_path_factory):
    run = shutil.copytree(small_run, tmp_path_factory.mktemp("certified") / "run")
    certified(run, PROMISE)
    return run


@pytest.fixture
def ready(first, tmp_path):
    """A run that is certified to keep PROMISE."""
    return shutil.copytree(first, tmp_path / "ready")


def certified(run, *overrides) -> dict:
    """Certify as the script does."""
    settings = composed(f"run={run}", *QUICK, *overrides, name="certify")
    trained = saved_settings(run)
    return stages.certify_run(run, trained.sets, trained.risk, settings)


def columns(run) -> dict[str, list]:
    return pq.read_table(run / "answers.parquet").to_pydict()


# ---------------------------------------------------------------- the files


def test_the_certificate_and_its_answers_can_be_recomputed_from_the_files(run, tmp_path):
    printed = script("certify", f"run={run}", PROMISE, "promises.cost=0.95",
                     "risk.delta=0.2", *QUICK, cwd=tmp_path)
    record = json.loads((run / "certificate.json").read_text())
    assert record["status"] == "certified" and record["policy"]["text"].split(";")[0] in printed
    assert record["promises"] == {"error_among_answered": 0.45, "cost": 0.95}
    assert record["confidence"] == pytest.approx(0.8) and "reachable" not in record
    passed = [t for t in record["tested"] if t["certified"]]
    assert passed and all(t["p_value"] == max(t["p_values"].values()) <= 0.2 for t in passed)
    for tested in record["tested"]:
        seen = tested["calibration"]
        wrong = round(seen["error_among_answered"] * seen["answered"])
        assert tested["p_values"]["error_among_answered"] == pytest.approx(
            stats.binom.cdf(wrong, seen["answered"], 0.45), rel=1e-9)
    scores, rows = scores_file.load(run / "scores.npz").of_split("test"), columns(run)
    log = recorded.load(run / "recorded.parquet").aligned(scores.ids, scores.models)
    assert list(rows) == ["id", "answer", "confidence", "members", "calls", "cost"]
    assert rows["id"] == scores.ids.tolist()
    right, reference = np.zeros(len(scores.ids), dtype=bool), scores.models.index(record["best_single"]["model"])
    for i, (answer, members) in enumerate(zip(rows["answer"], rows["members"], strict=True)):
        asked = [scores.models.index(name) for name in members]
        assert rows["calls"][i] == len(asked) == len(set(asked))
        assert rows["cost"][i] == pytest.approx(scores.cost[i, asked].sum())
        if answer is not None:
            givers = [m for m in asked if log.answers.texts[i, m] == answer]
            assert givers and rows["confidence"][i] >= record["policy"]["threshold"]
            right[i] = scores.outcomes[i, givers[0]]
    answered = np.array([answer is not None for answer in rows["answer"]])
    expected = {"accuracy": right.mean(), "answered": answered.mean(), "harm": (scores.outcomes[:, reference] & ~right
                                                                               ).mean(),
                "error_among_answered": (answered & ~right).sum() / answered.sum(),
                "over_abstention": (~answered & scores.outcomes.any(axis=1)).mean(),
                "cost": (np.array(rows["cost"]) / scores.cost.sum(axis=1)).mean()}
    assert {name: record["test"][name]["value"] for name in SERIES} == pytest.approx(expected)
    assert all(record["test"][name]["low"] <= expected[name] <= record["test"][name]["high"] for name in SERIES)
    assert 0 < answered.mean() < 1 and record["n"]["test"] == len(answered)


def test_none_is_said_honestly_and_nobody_is_called(run):
    record = certified(run, "promises.harm=0.001", "promises.over_abstention=0.5")
    assert record["status"] == "none" and record["policy"] is None and not any(t["certified"] for t in record["tested"])
    assert record["reachable"]["harm"] > 0.001 and record["reachable_alone"]["over_abstention"] == 0.5
    rows = columns(run)
    assert set(rows["answer"]) == {None} and set(rows["calls"]) == {0} and not any(rows["members"])
    assert record["test"]["accuracy"]["value"] == 0 and record["test"]["error_among_answered"] is None
    answer = Router.load(run).answer("What is 2+2?", ask=None, kind="number")  # nobody is asked
    assert answer.abstain and answer.called == () and answer.answer is None and answer.confidence == 0
    again = certified(run, *(f"promises.{name}={level}" for name, level in record["reachable"].items()))
    assert again["status"] == "certified"


def test_calibration_rows_choose_nothing_but_the_verdict(ready):
    """Other outcomes of calibration rows: the same policies in the same order, with other p-values."""
    record = json.loads((ready / "certificate.json").read_text())
    arrays = dict(np.load(ready / "scores.npz"))
    rows = arrays["split"] == "calibration"
    arrays["outcomes"][rows] = arrays["outcomes"][rows][::-1]
    np.savez(ready / "scores.npz", **arrays)
    other = certified(ready, PROMISE)
    assert [t["text"] for t in other["tested"]] == [t["text"] for t in record["tested"]]
    assert [t["p_value"] for t in other["tested"]] != [t["p_value"] for t in record["tested"]]


# ---------------------------------------------------------------- what is deployed


@pytest.mark.parametrize("how", [("calling=[parallel]", "aggregators=[learned]"), ("calling=[settled]",),
                                 ("calling=[sequential]", "aggregators=[bayes]")])
def test_the_router_answers_as_the_certificate_says(run, how):
    certified(run, PROMISE, *how)
    router, rows, table = Router.load(run), columns(run), data.load(saved_settings(run).data)
    where = {name: i for i, name in enumerate(table.ids.tolist())}
    calls = set()
    for k in range(12):
        i, asked = where[rows["id"][k]], []

        def ask(model, i=i, asked=asked):
            asked.append(model)
            return table.answers[i, table.models.index(model)]

        said = router.answer(table.queries[i], ask, task=table.task[i])
        assert said.answer == rows["answer"][k] and said.abstain == (said.answer is None)
        assert list(said.called) == asked == rows["members"][k]
        assert said.confidence == pytest.approx(rows["confidence"][k], abs=1e-4) and said.certified
        calls.add(len(asked))
    assert calls != {0}


def test_a_consultation_asks_one_after_the_other_and_takes_only_what_it_asked_for():
    rule, models = SetRule("probability", "free", prices=(1.0, 2.0, 4.0)), ("a", "b", "c")
    policy = Policy(Track(rule), 2.0, None, "majority", "settled", 0.5)
    certificate = Certificate(policy, Majority(), {"harm": 0.1}, 0.1, models, {"t": {"kind": "text", "options": 0}}, {})
    consultation = Consultation(certificate, Estimate(np.array([[0.3, 0.9, 0.6]])), Form("text", 0))
    assert consultation.next == ("b",) and consultation.answer is None
    with pytest.raises(ConfigError, match="c is not to be called now; next: b"):
        consultation.tell({"c": "Paris"})
    consultation.tell({"b": "Paris"})
    consultation.tell({"c": "the paris."})
    assert consultation.next == ()  # two of three agree
    said = consultation.answer
    assert (said.answer, said.called, said.expected_cost) == ("Paris", ("b", "c"), 6.0)
    at_once = Consultation(replace(certificate, policy=replace(policy, calling="parallel")),
                           Estimate(np.array([[0.3, 0.9, 0.6]])), Form("text", 0))
    assert at_once.next == ("b", "c", "a")
    at_once.tell({"a": "Rome", "b": None})
    at_once.tell({"c": "Oslo"})
    assert at_once.answer.abstain and at_once.answer.called == ("b", "c", "a") and at_once.answer.expected_cost == 7.0


@pytest.fixture
def told(run, tmp_path):
    """A run with a table whose models, but for the first, say how sure they are; they are sure where they are right."""
    table = data.load(saved_settings(run).data)
    rng = np.random.default_rng(0)
    confidence = np.round(np.clip(0.4 * table.scores + rng.uniform(0.1, 0.6, table.scores.shape), 0, 1), 3)
    confidence[rng.random(confidence.shape) < 0.2] = np.nan
    confidence[:, 0] = np.nan
    listed = [{"name": name, "confidence": "verbalised" if i else None} for i, name in enumerate(table.models)]
    table = replace(table, confidence=confidence, card=table.card | {"models": listed})
    table.save(tmp_path / "told")
    return run, table, f"answers={tmp_path / 'told'}"


@pytest.mark.parametrize("calling", ["parallel", "sequential"])
def test_a_vote_that_hears_confidences_gets_them_live_as_they_were_recorded(told, calling):
    run, table, answers = told
    certified(run, PROMISE, answers, "aggregators=[learned+confidence]", f"calling=[{calling}]")
    router, rows = Router.load(run), columns(run)
    where = {name: i for i, name in enumerate(table.ids.tolist())}
    cells = [(where[rows["id"][k]], k) for k in range(12)]
    assert router.consult(table.queries[0], task=table.task[0]).hears == table.models[1:]
    assert router.certificate.ways == dict.fromkeys(table.models[1:], "verbalised")
    for i, k in cells:
        def ask(model, i=i):
            column = table.models.index(model)
            text, sure = table.answers[i, column], table.confidence[i, column]
            return (text, None if np.isnan(sure) else sure) if column else text

        said = router.answer(table.queries[i], ask, task=table.task[i])
        assert (said.answer, list(said.called)) == (rows["answer"][k], rows["members"][k])
        assert said.confidence == pytest.approx(rows["confidence"][k], abs=1e-4)
    louder = [router.answer(table.queries[i], lambda m, i=i: (table.answers[i, table.models.index(m)], 1.0),
                            task=table.task[i]).confidence for i, _ in cells]
    assert not np.allclose(louder, [rows["confidence"][k] for _, k in cells], atol=0.01)
    consultation = router.consult(table.queries[0], task=table.task[0])
    heard = next(name for name in table.models[1:] if name in consultation.next)
    with pytest.raises(ConfigError, match=f"how sure {heard} is of its answer: give that too"):
        consultation.tell({heard: "7"})
    with pytest.raises(ConfigError, match=r"is 1\.2, expected a number in \[0, 1\]"):
        consultation.tell({heard: "7"}, {heard: 1.2})
    with pytest.raises(ConfigError, match=f"a confidence of {heard} came without an answer"):
        consultation.tell({}, {heard: 0.5})
    asked = []
    with pytest.raises(ConfigError, match="give that too"):
        router.answer(table.queries[0], lambda model: asked.append(model) or "7", task=table.task[0])
    assert len(asked) <= 2  # the first who is heard ends it, before the others are paid for
    consultation.tell({heard: None})  # who gave no answer has nothing to be sure of


def test_votes_that_hear_are_tried_where_confidences_are_recorded(told):
    run, _, answers = told
    with pytest.raises(ConfigError, match="table with a column `confidence`"):
        certified(run, PROMISE, "aggregators=[best+confidence]")
    quick = ("cuts=0", "thresholds=3", "calling=[parallel]", "aggregators=null")
    without, with_ = (certified(run, PROMISE, *quick, *more)["policies"] for more in ((), (answers,)))
    assert with_ > 1.5 * without


def test_a_saved_router_takes_its_certificate_along_unless_that_has_changed(ready, tmp_path):
    router = Router.load(ready)
    saved = Router.load(router.save(tmp_path / "saved"))
    assert saved.certificate == router.certificate is not None
    (ready / "certificate.json").unlink()
    with pytest.raises(ConfigError, match="has changed since this router was loaded"):
        router.save(tmp_path / "again")


def test_tasks_of_several_kinds_must_be_named(ready):
    router = Router.load(ready)
    assert len({one["kind"] for one in router.certificate.tasks.values()}) > 1
    with pytest.raises(ConfigError, match=r"several kinds .*: say which, by task= or kind="):
        router.consult("What is 2+2?")
    with pytest.raises(ConfigError, match="task 'chess' was not certified"):
        router.consult("What is 2+2?", task="chess")
    assert router.consult("What is 2+2?", kind="number").form == Form("number", 0)


def test_without_a_certificate_nothing_is_answered(small_run):
    with pytest.raises(ConfigError, match=r"not certified: run `python scripts/certify\.py"):
        Router.load(small_run).answer("What is 2+2?", ask=None)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("change", [{"policy": {"threshold": 0.01}}, {"promises": {"error_among_answered": 0.01}},
                                    {"status": "none", "policy": None}, {"seal": "0"}])
def test_a_certificate_that_was_edited_is_refused(ready, change):
    record = json.loads((ready / "certificate.json").read_text())
    for key, value in change.items():
        record[key] = record[key] | value if isinstance(value, dict) else value
    (ready / "certificate.json").write_text(json.dumps(record))
    for tolerant in (False, True):
        with pytest.raises(ConfigError, match=r"is not a certificate .*changed after it was written"):
            Router.load(ready, allow_uncertified=tolerant)


@pytest.mark.parametrize("content", ["{}", "[]", "not json"])
def test_a_file_that_is_no_certificate_says_so(content, tmp_path):
    (tmp_path / "certificate.json").write_text(content)
    with pytest.raises(ConfigError, match="is not a certificate"):
        certificate_file.load(tmp_path / "certificate.json")
    with pytest.raises(ConfigError, match="no certificate at"):
        certificate_file.load(tmp_path / "other.json")


def test_every_bit_of_a_certificate_comes_back(ready):
    found = certificate_file.load(ready / "certificate.json")
    found.save(ready / "again.json")
    assert certificate_file.load(ready / "again.json") == found


def test_a_certificate_is_for_one_router(ready, tmp_path):
    path = ready / "certificate.json"
    other = certificate_file.load(path)
    replace(other, fingerprint=other.fingerprint | {"router": "r2"}).save(path)
    with pytest.raises(ConfigError, match=r"certificate\.json is for router r2"):
        Router.load(ready)
    router = Router.load(ready, allow_uncertified=True)
    assert not router.answer("What is 2+2?", lambda model: "4", kind="number").certified
    replace(other, models=other.models[::-1]).save(path)
    with pytest.raises(ConfigError, match="is for the models"):
        Router.load(ready, allow_uncertified=True)


def test_what_cannot_be_meant_loses_nothing(ready):
    before = (ready / "certificate.json").read_bytes(), (ready / "answers.parquet").read_bytes()
    for overrides, said in (((), "nothing is promised"), (("promises.harm=1.5",), "between 0 and 1"),
                            (("promises.harm=0.1", "answers=nowhere.csv"), "no such file")):
        with pytest.raises((ConfigError, TableError), match=said):
            certified(ready, *overrides)
    assert before == ((ready / "certificate.json").read_bytes(), (ready / "answers.parquet").read_bytes())


def test_mistakes_are_one_clear_line(tmp_path):
    said = script("certify", "run=nowhere", "promises.harm=0.1", cwd=tmp_path, fails=True)
    assert said.startswith("error: no run in nowhere")


@pytest.mark.parametrize(("override", "says"), [
    ("promises.hram=0.1", "hram"), ("risk.delta=1", "between 0 and 1"), ("aggregators=[plurality]", "plurality"),
    ("calling=[]", "calling is empty"), ("prefer=luck", "prefer is"), ("thresholds=0", "thresholds")])
def test_settings_that_cannot_be_meant(override, says):
    with pytest.raises((ConfigError, HydraException), match=says):
        composed("run=x", override, name="certify")


# ---------------------------------------------------------------- answers that are not there


def test_where_answers_are_absent_it_says_so_and_a_table_may_bring_them(run, tmp_path):
    kept, table = recorded.load(run / "recorded.parquet"), data.load(saved_settings(run).data)
    (run / "recorded.parquet").unlink()
    with pytest.raises(TableError, match=r"answers are absent: .*answers=TABLE"):
        certified(run, PROMISE)
    replace(table, answers=None).save(tmp_path / "bare")
    with pytest.raises(TableError, match="answers are absent"):
        certified(run, PROMISE, f"answers={tmp_path / 'bare'}")
    shuffled = table.take(np.random.default_rng(0).permutation(len(table.ids)))
    shuffled.save(tmp_path / "table")
    record = certified(run, PROMISE, f"answers={tmp_path / 'table'}")
    assert record["status"] == "certified"
    brought = recorded.load(run / "recorded.parquet").aligned(kept.ids, kept.models)
    np.testing.assert_array_equal(brought.answers.texts, kept.answers.texts)
    np.testing.assert_array_equal(brought.answers.codes, kept.answers.codes)


def test_a_run_on_a_table_without_answers_drops_those_of_an_earlier_run(small_config, ready, tmp_path):
    table = data.load(small_config.data)
    replace(table, answers=None).save(tmp_path / "bare")
    settings = replace(small_config, data=replace(small_config.data, path=str(tmp_path / "bare")), run_dir=str(ready))
    pipeline.run(settings)
    assert not any((ready / name).exists() for name in ("recorded.parquet", "certificate.json", "answers.parquet"))


def test_recorded_answers_are_read_by_id_and_name_or_refused(run):
    log = recorded.load(run / "recorded.parquet")
    some = log.aligned(log.ids[[5, 2]], log.models[::-1][:3])
    assert some.answers.texts.tolist() == log.answers.texts[[5, 2]][:, ::-1][:, :3].tolist()
    for ids, models, said in ((np.array(["q?"]), log.models, "1 of 1 queries"), (log.ids, ("nobody",), "model nobody")):
        with pytest.raises(TableError, match=said):
            log.aligned(ids, models)
    (run / "recorded.parquet").write_text("no parquet")
    with pytest.raises(TableError, match="does not hold recorded answers"):
        recorded.load(run / "recorded.parquet")


def test_a_lost_answer_stays_lost_in_the_file(tmp_path):
    texts = np.array([["A", None], ["b", " "]], dtype=object)
    from racer.answers import Answers, codes_of
    log = AnswerLog(np.array(["x", "y"]), np.array(["t", "t"]), np.array(["choice", "choice"]), ("m", "k"),
                    Answers(texts, codes_of(texts, ["choice", "choice"]), np.array([4, 0])))
    log.save(tmp_path / "recorded.parquet")
    back = recorded.load(tmp_path / "recorded.parquet")
    assert back.answers.texts.tolist() == texts.tolist() and back.answers.codes.tolist() == [[0, -1], [0, -1]]
    assert back.answers.options.tolist() == [4, 0] and back.models == ("m", "k") and back.answers.confidence is None
    sure = np.array([[0.25, np.nan], [np.nan, 1.0]])
    replace(log, answers=replace(log.answers, confidence=sure), ways=("p_true", None)).save(tmp_path / "again.parquet")
    again = recorded.load(tmp_path / "again.parquet")
    np.testing.assert_array_equal(again.answers.confidence, sure)
    turned = again.aligned(np.array(["y"]), ("k", "m"))
    np.testing.assert_array_equal(turned.answers.confidence, [[1.0, np.nan]])
    assert (back.ways, again.ways, turned.ways) == ((), ("p_true", None), (None, "p_true"))
