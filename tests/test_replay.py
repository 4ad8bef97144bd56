"""Recorded answers served as if live: what the server gives is what the certificate was made of."""

import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import uvicorn
from conftest import composed
from serving import Serving
from starlette.testclient import TestClient

from racer import Router, kitchen, stages
from racer.cli import saved_settings
from racer.config import CertifyConfig, PromisesConfig
from racer.errors import TableError
from racer.pool import confidence
from racer.serve import replay, server

ROWS = 25


@pytest.fixture(scope="module")
def table():
    return kitchen.generate(600)  # that of the small run


@contextmanager
def replayed(table):
    """Give the models of a table, behind a server; it has a `base`, as other upstreams do."""
    listening = server.listen("127.0.0.1", 0)
    served = uvicorn.Server(uvicorn.Config(replay.build(table), log_config=None, access_log=False))
    served.base = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield served
    served.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def upstream(table):
    with replayed(table) as served:
        yield served


@pytest.fixture(scope="module")
def told(table):
    """The table with models that say how sure they are, mostly, and more so where they are right."""
    rng = np.random.default_rng(0)
    sure = 0.2 * table.scores + rng.uniform(0.1, 0.7, table.scores.shape)
    return replace(table, confidence=np.where(rng.random(sure.shape) < 0.2, np.nan, sure))


def certified(small_run, folder, aggregators, **more):
    """Return a copy of the small run with a certificate."""
    run = shutil.copytree(small_run, folder / "run")
    saved = saved_settings(run)
    settings = CertifyConfig(run=str(run), promises=PromisesConfig(error_among_answered=0.25), prefer="answered",
                             cuts=2, thresholds=6, aggregators=aggregators, **more)
    assert stages.certify_run(run, saved.sets, saved.risk, settings)["status"] == "certified"
    return run


def test_live_answers_are_those_the_certificate_was_made_of(small_run, tmp_path, table, upstream):
    """Every answer, abstention and call of the certified policy on test rows, over HTTP, as in answers.parquet."""
    run = certified(small_run, tmp_path, ["majority", "weighted"])
    compare(run, table, upstream)


def test_so_are_those_of_a_vote_that_hears_how_sure_the_models_are(small_run, tmp_path, told):
    told.save(tmp_path / "told")
    run = certified(small_run, tmp_path, ["learned+confidence"], answers=str(tmp_path / "told"))
    with replayed(told) as served:
        found = compare(run, told, served, endpoint={"confidence": "likelihood"})
    row_of = {query: i for i, query in enumerate(told.queries)}
    heard = [(row_of[query], name, sure) for query, live in found for name, sure in live.racer["confidences"].items()]
    assert len(heard) > ROWS // 2 and any(sure is not None for *_, sure in heard)
    for row, name, sure in heard:
        column = told.models.index(name)
        expected = told.confidence[row, column] if told.answers[row, column] else np.nan
        assert sure == (None if np.isnan(expected) else pytest.approx(expected))


def compare(run, table, upstream, **options):
    """Serve a run and hold what comes back against answers.parquet; return it, by query."""
    rows = pq.read_table(run / "answers.parquet").to_pylist()[:ROWS]
    row_of = {name: i for i, name in enumerate(table.ids)}
    with Serving(Router.load(run), upstream, **options) as serving:
        found = [serving.ask(table.queries[row_of[r["id"]]], extra_body={
            "racer": {"task": str(table.task[row_of[r["id"]]])}}) for r in rows]
    assert any(r["answer"] is None for r in rows) and any(r["answer"] for r in rows)
    for recorded, live in zip(rows, found, strict=True):
        assert live.racer["members"] == recorded["members"] and live.racer["abstained"] == (recorded["answer"] is None)
        assert live.racer["confidence"] == pytest.approx(recorded["confidence"], abs=1e-4)
        assert live.choices[0].message.content == (recorded["answer"] or "") and live.racer["promise_stands"]
        assert live.racer["certificate"]["promises"] == {"error_among_answered": 0.25}
    return [(table.queries[row_of[r["id"]]], live) for r, live in zip(rows, found, strict=True)]


def test_a_set_is_answered_by_what_was_recorded_of_its_best_member(small_run, table, upstream):
    router = Router.load(small_run)
    rows = np.flatnonzero(table.split == "test")[:ROWS]
    with Serving(router, upstream) as serving:
        found = [serving.ask(query) for query in table.queries[rows]]
    for row, decision, live in zip(rows, router.route(table.queries[rows].tolist()), found, strict=True):
        said = {m: text for m, text in zip(table.models, table.answers[row], strict=True) if text}
        heard = [m for m in live.racer["members"] if m in said]
        p = dict(zip(router.models, decision.probabilities, strict=False))
        assert live.racer["members"][:len(decision.members)] == list(decision.members)
        assert live.racer["abstained"] == decision.abstain
        assert live.choices[0].message.content == (said[max(heard, key=p.get)] if heard else "")
        assert {r["model"] for r in live.racer["replaced"]} == set(live.racer["members"]) - set(said)


def test_only_what_was_recorded_is_known(table, upstream):
    def ask(model, text):
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        return httpx.post(f"{upstream.base}/chat/completions", json=body, timeout=20)
    assert ask("nobody", table.queries[0]).status_code == 404
    assert ask(table.models[0], "never asked").status_code == 404
    found = ask(table.models[2], table.queries[5]).json()
    assert found["choices"][0]["message"]["content"] == (table.answers[5, 2] or "")
    assert found["usage"]["completion_tokens"] == table.output_tokens[5, 2]


def test_a_recorded_confidence_is_read_back_by_its_likelihood(table):
    rng = np.random.default_rng(1)
    sure = rng.uniform(size=table.scores.shape)
    sure[0], sure[1, 0], sure[1, 1] = np.nan, 0.0, 1.0
    replayed = TestClient(replay.build(replace(table, confidence=sure)))

    def read(row, column, **more):
        body = {"model": table.models[column], "messages": [{"role": "user", "content": table.queries[row]}]} | more
        [choice] = replayed.post("/v1/chat/completions", json=body).json()["choices"]
        return confidence.likelihood(choice.get("logprobs"))
    found = np.array([[read(i, m, logprobs=True) for m in range(len(table.models))] for i in range(9)], dtype=float)
    assert np.allclose(found, sure[:9], rtol=1e-12, atol=0, equal_nan=True) and np.isnan(found[0]).all()
    assert read(3, 0) is None and read(1, 0, logprobs=True) == 0.0


def test_the_preset_of_the_kitchen_names_its_models(table):
    from racer.pool import read

    assert tuple(one.name for one in read("kitchen")) == table.models == tuple(one.model for one in read("kitchen"))
    assert {one.api_base for one in read("kitchen")} == {f"http://127.0.0.1:{composed(name='replay').port}/v1"}


def test_a_table_without_answers_cannot_be_replayed(table):
    with pytest.raises(TableError, match="no answers"):
        replay.build(replace(table, answers=None))
