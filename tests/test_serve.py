"""Our server with real routers, real upstreams on loopback, and the official client, which must need no change."""

import asyncio
import gc
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from serving import Serving, with_sets
from upstream import (
    Answer,
    Upstream,
    chunk,
    completion,
    cut_off,
    dies_mid_stream,
    fails,
    floods,
    hangs_up,
    returns,
    says,
    sends,
    slow,
    token,
    with_logprobs,
)

from racer import Router
from racer.bounded import EVERYTHING
from racer.calibrations import ByGroup, Online
from racer.certificate import Certificate
from racer.config import ServeConfig
from racer.consult import Consultation
from racer.context import OneCut
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.group import calibrate_groups
from racer.online import online_level
from racer.policy import Policy, Track
from racer.pool import Cache, Ledger
from racer.serve import render, server
from racer.serve.exchange import Exchange
from racer.serve.forward import Forward
from racer.serve.fusion import prompt_of
from racer.serve.request import text_of
from racer.votes import Best, Majority

QUERY = "What is 15 % of 240?"


@pytest.fixture(scope="module")
def router(small_run):
    return Router.load(small_run)


@pytest.fixture(scope="module")
def everyone(router):
    """All seven models are asked, whatever the query."""
    return with_sets(router, EVERYTHING)


@pytest.fixture(scope="module")
def single(router):
    return with_sets(router, EVERYTHING, max_size=1)


@pytest.fixture(scope="module")
def nobody(router):
    return with_sets(router, -np.inf)


@pytest.fixture(scope="module")
def ranks(single):
    """The models in the greedy order for QUERY."""
    [decision] = single.route([QUERY])
    return [*decision.members, *decision.spares]


def all_say(router, **others):
    """Behaviours: every model says its own name."""
    return {name: says(f"I am {name}.") for name in router.models} | others


def post(serving, body, path="/v1/chat/completions", **more):
    return httpx.post(serving.base + path, json=body, timeout=60, **more)


def chat(**more):
    return {"model": "racer", "messages": [{"role": "user", "content": QUERY}]} | more


# ---------------------------------------------------------------- completions


def test_the_set_is_called_and_the_best_of_those_that_replied_is_returned_verbatim(everyone):
    with Upstream(all_say(everyone)) as up, \
            Serving(everyone, up, endpoint={"parameters": {"temperature": 0.2}}) as serving:
        found = serving.ask(QUERY, temperature=0.2)
    [decision] = everyone.route([QUERY])
    best = int(decision.probabilities[:-1].argmax())
    assert found.choices[0].message.content == f"I am {everyone.models[best]}."
    assert found.choices[0].finish_reason == "stop" and found.model == everyone.models[best]
    assert found.racer["members"] == list(decision.members) and not found.racer["abstained"]
    assert found.racer["confidence"] == pytest.approx(decision.probabilities[best], abs=1e-5)
    assert found.racer["certificate"] is None and found.racer["promise_stands"] and found.racer["replaced"] == []
    assert found.racer["cost_usd"] == pytest.approx(7 * (10 + 2 * 5) / 1e6)
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (70, 35, 105)
    assert sorted(up.asked()) == sorted(everyone.models)
    assert all(call.body["temperature"] == 0.2 and call.body["messages"] == chat()["messages"] for call in up.calls)
    assert not any(key in call.body for call in up.calls for key in ("racer", "stream"))


@pytest.mark.parametrize("request_sets, changed", [
    ({}, None), ({"user": "me", "logprobs": True, "temperature": 0.5, "max_tokens": 5000}, None),
    ({"temperature": 0.7}, "temperature"), ({"max_tokens": 5, "stop": ["."]}, "max_tokens, stop"),
    ({"temperature": None}, "temperature")])
def test_who_sets_other_parameters_than_the_pool_file_gets_what_it_asks_for_without_the_promise(
        single, ranks, request_sets, changed):
    entry = {"parameters": {"temperature": 0.5}}
    with Upstream(all_say(single)) as up, Serving(single, up, endpoint=entry) as serving, \
            Serving(certified(single), up, endpoint=entry) as voting:
        found = [post(one, chat(**request_sets)).json()["racer"] for one in (serving, voting)]
        end = list(serving.ask(QUERY, stream=True, **{k: v for k, v in request_sets.items() if k != "logprobs"}))[-1]
        planned = post(serving, chat(**request_sets), "/v1/route").json()
    why = None if changed is None else f"the request sets {changed} otherwise than the pool file"
    for racer in (*found, end.racer):
        assert (racer["promise_stands"], racer.get("uncertified")) == (why is None, why)
    assert found[1]["certificate"]["stands"] == planned["certified"] == (why is None)


def test_members_are_called_at_the_same_time(everyone):
    with Upstream({name: slow(0.1) for name in everyone.models}) as up, Serving(everyone, up) as serving:
        serving.ask()
    assert up.most_busy == 7


def test_what_every_member_said_is_shown_where_asked_for(everyone):
    with Upstream(all_say(everyone)) as up, Serving(everyone, up) as serving:
        assert "replies" not in serving.ask().racer
        shown = serving.ask(extra_body={"racer": {"replies": True}}).racer["replies"]
    assert shown == {name: f"I am {name}." for name in everyone.models}


def test_calls_of_tools_come_through(single, ranks):
    message = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    reply = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
             "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with Upstream({ranks[0]: returns(reply)}) as up, Serving(single, up) as serving:
        found = serving.ask(QUERY, tools=tools)
    assert found.choices[0].message.tool_calls[0].function.name == "f"
    assert found.choices[0].finish_reason == "tool_calls" and up.calls[0].body["tools"] == tools


def test_a_reply_that_is_kept_costs_nothing(single, tmp_path):
    with Upstream(all_say(single)) as up, Serving(single, up, cache=Cache(tmp_path / "cache.db")) as serving:
        first, second = serving.ask(QUERY), serving.ask(QUERY)
    assert len(up.calls) == 1 and first.racer["cost_usd"] > 0 and second.racer["cost_usd"] == 0
    assert first.choices[0].message.content == second.choices[0].message.content


# ---------------------------------------------------------------- abstention


def test_an_abstention_is_a_normal_response_with_its_own_finish_reason(nobody):
    with Upstream({}) as up, Serving(nobody, up) as serving:
        found = serving.ask()
        chunks = list(serving.ask(stream=True))
    [choice] = found.choices
    assert choice.finish_reason == "abstained" and choice.message.content == ""
    assert "abstained" in choice.message.refusal
    assert found.racer["abstained"] and found.racer["members"] == [] and found.racer["cost_usd"] == 0
    assert found.racer["promise_stands"] and found.usage.total_tokens == 0 and not up.calls
    assert chunks[-1].choices[0].finish_reason == "abstained" and chunks[-1].racer["abstained"]


def test_a_fallback_answers_in_place_of_an_abstention_and_is_under_no_promise(nobody):
    with Upstream({"judge": says("from the fallback")}) as up, \
            Serving(nobody, up, beside=("judge",), fallback="judge") as serving:
        found = serving.ask()
    assert found.choices[0].message.content == "from the fallback" and found.choices[0].finish_reason == "stop"
    racer = found.racer
    assert racer["abstained"] and racer["fallback"] == "judge" and not racer["promise_stands"]
    assert racer["members"] == [] and racer["confidence"] is None and racer["cost_usd"] > 0


def test_a_fallback_that_fails_is_an_error(nobody):
    with Upstream({"judge": fails(500)}) as up, Serving(nobody, up, beside=("judge",), fallback="judge") as serving:
        assert post(serving, chat()).status_code == 502


# ---------------------------------------------------------------- failures and replacement


@pytest.mark.parametrize("bad, reason", [(fails(500), "status 500"), (hangs_up(), "no connection"),
                                         (sends(b"<html>"), "malformed reply"), (floods(), "reply too long"),
                                         (slow(), "timeout"), (says(""), "empty reply")])
def test_a_member_that_fails_is_replaced_by_the_next_in_order_and_the_promise_does_not_stand(single, ranks, bad,
                                                                                             reason):
    behaviours = all_say(single) | {ranks[0]: bad, ranks[1]: fails(401)}
    with Upstream(behaviours) as up, Serving(single, up, endpoint={"timeout": 0.5}) as serving:
        found = serving.ask(QUERY)
    assert found.choices[0].message.content == f"I am {ranks[2]}." and up.asked() == ranks[:3]
    assert found.racer["replaced"] == [{"model": ranks[0], "by": ranks[1], "reason": reason},
                                       {"model": ranks[1], "by": ranks[2], "reason": "status 401"}]
    assert found.racer["members"] == ranks[:3] and not found.racer["promise_stands"]


def test_in_a_set_each_place_is_taken_once(router, ranks):
    three = with_sets(router, EVERYTHING, max_size=3)
    with Upstream(all_say(router) | {ranks[0]: fails(500), ranks[2]: fails(500)}) as up, Serving(three, up) as serving:
        found = serving.ask(QUERY)
    assert sorted(up.asked()) == sorted(ranks[:5])
    assert {one["by"] for one in found.racer["replaced"]} == {ranks[3], ranks[4]}


def test_when_all_fail_the_client_is_told_who_and_why(everyone):
    with Upstream({name: fails(500) for name in everyone.models}) as up, Serving(everyone, up) as serving:
        with pytest.raises(openai.InternalServerError, match="no model replied") as error:
            serving.ask()
        body = post(serving, chat()).json()
    assert error.value.status_code == 502
    assert all(f"{name}: status 500" in body["error"]["message"] for name in everyone.models)
    assert body["racer"]["cost_usd"] == 0 and len(body["racer"]["replaced"]) == 7


def test_a_request_that_no_model_takes_is_the_clients_error(everyone):
    with Upstream({name: fails(400, message="temperature is too high") for name in everyone.models}) as up, \
            Serving(everyone, up) as serving, pytest.raises(openai.BadRequestError, match="temperature is too high"):
        serving.ask(temperature=9)


def test_the_deadline_holds_however_many_are_slow(everyone):
    with Upstream({name: slow() for name in everyone.models}) as up, \
            Serving(everyone, up, deadline=0.5, endpoint={"timeout": 30}) as serving:
        found = post(serving, chat())  # which itself waits 60 seconds, the models 30
    assert found.status_code == 504
    assert found.json()["racer"]["cost_usd"] > 0  # they may send a bill


def test_the_deadline_holds_while_the_router_reads(router):
    stuck, go_on = with_sets(router, EVERYTHING), threading.Event()
    estimate = stuck.estimate
    stuck.estimate = lambda texts: estimate(texts) if go_on.wait(15) else None
    with Upstream(all_say(router)) as up, Serving(stuck, up, deadline=0.3) as serving:
        assert post(serving, chat()).status_code == 504 and not up.calls
        go_on.set()
        assert post(serving, chat()).status_code == 200


def test_one_slow_member_does_not_hide_the_others(router, ranks):
    two = with_sets(router, EVERYTHING, max_size=2)
    with Upstream(all_say(router) | dict.fromkeys([r for r in ranks if r != ranks[1]], slow())) as up, \
            Serving(two, up, deadline=0.6, endpoint={"timeout": 30}) as serving:
        found = serving.ask(QUERY)
    assert found.choices[0].message.content == f"I am {ranks[1]}." and not found.racer["promise_stands"]


def test_the_spend_cap_ends_all_calls_and_says_so(single):
    behaviours = {name: says("long " * 100, 10, 900) for name in single.models}
    with Upstream(behaviours) as up, Serving(single, up, ledger=Ledger(cap=0.01)) as serving:
        found = [post(serving, chat()).status_code for _ in range(7)]
        assert serving.pool.ledger.spent <= 0.01
    assert found == sorted(found) and set(found) == {200, 402} and len(up.calls) == found.count(200) > 2


# ---------------------------------------------------------------- streams


def test_one_members_reply_is_streamed_as_it_comes(single, ranks):
    go_on = threading.Event()

    async def waits(body, answer):
        await answer.head(200, "text/event-stream")
        await answer.event(chunk({"role": "assistant", "content": "first "}))
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        await answer.event(chunk({"content": "second"}))
        await answer.event(chunk({}, "length"))
        await answer.event(chunk({}, usage={"prompt_tokens": 10, "completion_tokens": 5}))
        await answer.event("[DONE]")
    with Upstream({ranks[0]: waits}) as up, Serving(single, up) as serving:
        chunks = iter(serving.ask(QUERY, stream=True, stream_options={"include_usage": True}))
        assert next(chunks).choices[0].delta.content == "first "
        go_on.set()
        second, end, usage = list(chunks)
    assert second.choices[0].delta.content == "second" and second.choices[0].finish_reason is None
    assert end.choices[0].finish_reason == "length" and not usage.choices
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (10, 5)
    assert end.racer["cost_usd"] == pytest.approx((10 + 2 * 5) / 1e6) and end.racer["members"] == [ranks[0]]
    assert end.racer["promise_stands"] and 0 < end.racer["confidence"] < 1
    assert len({c.id for c in (second, end, usage)}) == 1 and end.model == ranks[0]


def test_without_usage_asked_for_a_stream_has_no_chunk_without_choices(single):
    with Upstream(all_say(single)) as up, Serving(single, up) as serving:
        chunks = list(serving.ask(stream=True))
    assert all(c.choices for c in chunks) and chunks[-1].racer["cost_usd"] > 0


def test_a_set_is_streamed_as_one_piece(everyone):
    with Upstream(all_say(everyone)) as up, Serving(everyone, up) as serving:
        whole = serving.ask(QUERY)
        chunks = list(serving.ask(QUERY, stream=True, stream_options={"include_usage": True}))
    assert [c.choices[0].delta.content for c in chunks[:1]] == [whole.choices[0].message.content]
    assert chunks[1].racer["members"] == whole.racer["members"] and chunks[1].choices[0].finish_reason == "stop"
    assert chunks[2].usage == whole.usage and len(chunks) == 3


def test_a_stream_that_cannot_begin_is_replaced(single, ranks):
    with Upstream(all_say(single) | {ranks[0]: fails(503)}) as up, Serving(single, up) as serving:
        chunks = list(serving.ask(QUERY, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == f"I am {ranks[1]}. "
    assert chunks[-1].racer["replaced"] == [{"model": ranks[0], "by": ranks[1], "reason": "status 503"}]
    assert not chunks[-1].racer["promise_stands"] and chunks[-1].racer["answered_by"] == ranks[1]


def streams(*deltas: dict):
    """A model that streams these, and nothing else."""
    async def behave(body, answer):
        await answer.head(200, "text/event-stream")
        for delta in deltas:
            await answer.event(chunk(delta))
        await answer.event(chunk({}, "stop"))
        await answer.event("[DONE]")
    return behave


@pytest.mark.parametrize("blank", [(), ({"role": "assistant", "content": ""},), ({"content": " "}, {"content": "\n"})])
def test_a_stream_that_says_nothing_is_replaced_like_an_empty_reply(single, ranks, blank):
    with Upstream(all_say(single) | {ranks[0]: streams(*blank)}) as up, Serving(single, up) as serving:
        chunks = list(serving.ask(QUERY, stream=True))
        spent, wanted = serving.pool.ledger.spent, {f'racer_usd_total{{model="{ranks[1]}"}}': pytest.approx(20 / 1e6)}
        assert counted(serving, wanted) == wanted and spent > 20 / 1e6  # to each what it cost
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == f"I am {ranks[1]}. "
    assert chunks[-1].racer["replaced"] == [{"model": ranks[0], "by": ranks[1], "reason": "empty reply"}]
    assert not chunks[-1].racer["promise_stands"] and chunks[-1].racer["cost_usd"] == pytest.approx(spent)


def test_blanks_before_the_first_word_are_handed_on_and_a_refusal_or_a_call_of_a_tool_says_something(single, ranks):
    call = {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    for deltas in ([{"content": "\n"}, {"content": " x"}], [{"refusal": "no"}], [call]):
        with Upstream(all_say(single) | {ranks[0]: streams(*deltas)}) as up, Serving(single, up) as serving:
            *words, end = serving.ask(QUERY, stream=True)
        assert [one.choices[0].delta.model_dump(exclude_unset=True) for one in words] == deltas
        assert end.racer["promise_stands"]


def test_the_halves_of_an_emoji_in_two_chunks_arrive_as_they_came(single, ranks):
    with Upstream(all_say(single) | {ranks[0]: streams({"content": "\ud83d"}, {"content": "\ude00"})}) as up, \
            Serving(single, up) as serving:
        text = post(serving, chat(stream=True)).text
    assert r'"\ud83d"' in text and r'"\ude00"' in text and text.endswith("[DONE]\n\n")


def test_a_bug_amid_a_stream_is_an_explicit_error_too(single, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(QUERY)
    monkeypatch.setattr(render, "end", broken)
    with Upstream(all_say(single)) as up, Serving(single, up) as serving:
        text = post(serving, chat(stream=True)).text
        assert serving.pool.ledger.held == 0
    error = json.loads(text.split("\n\n")[-2].removeprefix("data: "))
    assert error["error"]["type"] == "server_error" and not error["racer"]["promise_stands"] and "[DONE]" not in text
    assert "RuntimeError" in caplog.text and QUERY not in caplog.text


def test_a_client_that_does_not_read_its_stream_ends_the_call_with_its_deadline(single, ranks):
    async def long(body, answer):
        await answer.head(200, "text/event-stream")
        while True:
            await answer.event(chunk({"content": "x" * 50_000}))
    collecting = gc.isenabled()
    gc.disable()
    try:
        with Upstream(all_say(single) | {ranks[0]: long}) as up, \
                Serving(single, up, deadline=1.0, endpoint={"max_tokens": 10**7, "timeout": 30.0}) as serving, \
                socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", int(serving.base.rsplit(":", 1)[1])))
            data = json.dumps(chat(stream=True)).encode()
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data)
                           + data)
            wanted = {"racer_requests_working": 0, "racer_usd_held": 0, 'racer_forward_seconds_count': 1,
                      f'racer_calls_total{{end="cut off",model="{ranks[0]}"}}': 1}
            assert counted(serving, wanted) == wanted and serving.pool.ledger.spent > 0
    finally:
        if collecting:
            gc.enable()


def test_a_stream_that_nobody_begins_is_an_error_status(single):
    with Upstream({name: fails(503) for name in single.models}) as up, Serving(single, up) as serving, \
            pytest.raises(openai.InternalServerError, match="no model replied"):
        serving.ask(stream=True)


def test_a_stream_that_breaks_off_is_an_explicit_error_to_the_official_client(single, ranks):
    with Upstream(all_say(single) | {ranks[0]: dies_mid_stream(2)}) as up, Serving(single, up) as serving:
        seen = []
        with pytest.raises(openai.APIError, match="stream broke off"):
            for one in serving.ask(QUERY, stream=True):
                seen.append(one.choices[0].delta.content)
        text = post(serving, chat(stream=True)).text
        assert serving.pool.ledger.held == 0
    assert seen == ["word0 ", "word1 "] and "[DONE]" not in text
    error = json.loads(text.split("\n\n")[2].removeprefix("data: "))
    assert not error["racer"]["promise_stands"] and error["racer"]["cost_usd"] > 0


def test_a_client_that_leaves_gives_back_its_place_and_is_billed(single, ranks):
    with Upstream(all_say(single) | {ranks[0]: dies_mid_stream(2, hang=True)}) as up, \
            Serving(single, up, concurrency=1) as serving:
        with httpx.stream("POST", f"{serving.base}/v1/chat/completions", json=chat(stream=True)) as response:
            next(response.iter_lines())
        up.behaviours[ranks[0]] = says("fine")
        assert serving.ask(QUERY).choices[0].message.content == "fine"
        assert serving.pool.ledger.held == 0 and serving.pool.ledger.spent > 0.002  # the worst case of the first


def counted(serving, wanted: dict[str, float]) -> dict[str, float]:
    """Return these lines of the metrics, once they are as wanted or after some seconds."""
    end = time.monotonic() + 5
    while True:
        text = httpx.get(f"{serving.base}/metrics", timeout=60).text
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        found = {name: float(lines.get(name, 0)) for name in wanted}
        if found == wanted or time.monotonic() > end:
            return found
        time.sleep(0.01)


def hang_up(serving, up, calls: int, body: dict) -> None:
    """Send a request, and hang up once this many calls have come upstream."""
    data, port = json.dumps(body).encode(), int(serving.base.rsplit(":", 1)[1])
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head + data)
        end = time.monotonic() + 5
        while len(up.calls) < calls and time.monotonic() < end:
            time.sleep(0.005)
        assert len(up.calls) == calls


LEFT = 'racer_requests_total{route="/v1/chat/completions",status="499"}'


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_its_calls_and_frees_its_place(router, ranks, stream):
    two = with_sets(router, EVERYTHING, max_size=2)
    with Upstream(dict.fromkeys(router.models, slow())) as up, \
            Serving(two, up, concurrency=1, deadline=30, endpoint={"timeout": 30}) as serving:
        hang_up(serving, up, 2, chat(stream=stream))
        wanted = {LEFT: 1, "racer_requests_working": 0, "racer_usd_held": 0, **{
            f'racer_calls_total{{end="cut off",model="{name}"}}': 1 for name in ranks[:2]}}
        assert counted(serving, wanted) == wanted
        assert serving.pool.ledger.spent > 2 * 0.002  # what was under way may be billed: the worst case
        up.behaviours |= all_say(router)
        assert serving.ask(QUERY).racer["promise_stands"]
    assert len(up.calls) == 4  # nobody took the place of those that were cut off


def test_a_client_that_hangs_up_while_it_waits_is_never_at_work(single, ranks, caplog):
    go_on = threading.Event()

    async def waits(body, answer):
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        await says("fine")(body, answer)
    with caplog.at_level(logging.INFO, logger="racer"), Upstream(dict.fromkeys(single.models, waits)) as up, \
            Serving(single, up, concurrency=1, deadline=30) as serving, ThreadPoolExecutor(1) as threads:
        first = threads.submit(serving.ask, QUERY)
        assert counted(serving, {"racer_requests_working": 1}) == {"racer_requests_working": 1}
        hang_up(serving, up, 1, chat())
        assert counted(serving, {LEFT: 1, "racer_requests_waiting": 0}) == {LEFT: 1, "racer_requests_waiting": 0}
        go_on.set()
        assert first.result().choices[0].message.content == "fine"
        assert counted(serving, {"racer_requests_working": 0}) == {"racer_requests_working": 0}
    assert len(up.calls) == 1 and "Error" not in caplog.text and "Disconnect" not in caplog.text


def test_a_client_that_hangs_up_in_the_middle_of_its_body_is_counted_and_no_bug(single, caplog):
    with caplog.at_level(logging.INFO, logger="racer"), Upstream({}) as up, Serving(single, up) as serving:
        port = int(serving.base.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        assert counted(serving, {LEFT: 1}) == {LEFT: 1}
    assert "failed" not in caplog.text


def test_a_long_body_is_read_as_far_as_it_is_asked_for(single):
    """A waiting request holds a first part of its body; at work it gets the rest."""
    long = chat(user="x" * 900_000)
    with Upstream({name: slow(0.2) for name in single.models}) as up, \
            Serving(single, up, concurrency=1) as serving, ThreadPoolExecutor(3) as threads:
        assert [one.status_code for one in threads.map(lambda _: post(serving, long), range(3))] == [200] * 3
    assert all(call.body["user"] == long["user"] for call in up.calls)


def test_what_waits_is_not_read_beyond_its_first_part():
    async def crowd():
        parts = [{"type": "http.request", "body": b"x", "more_body": i < 3} for i in range(4)]
        read, left = [], []

        async def receive():
            await asyncio.sleep(0)
            if not parts:
                return {"type": "http.disconnect"}
            read.append(parts.pop(0))
            return read[-1]
        exchange = Exchange(receive, None)
        listening = asyncio.create_task(exchange.listen(lambda: left.append(len(read))))
        for _ in range(10):
            await asyncio.sleep(0)
        ahead = len(read)
        got = [await exchange.receive() for _ in range(6)]
        listening.cancel()
        return ahead, left, [one["type"].split(".")[1] for one in got]
    assert asyncio.run(crowd()) == (1, [4], ["request"] * 4 + ["disconnect"] * 2)


def test_refusals_need_no_thread(single):
    with Upstream({name: fails(500) for name in single.models}) as up, Serving(single, up) as serving:
        assert {post(serving, chat(n=n)).status_code for n in (1, 2)} == {400, 502}
        assert not [thread.name for thread in threading.enumerate() if "AnyIO" in thread.name]
        wanted = {f'racer_calls_total{{end="failed",model="{name}"}}': 1.0 for name in single.models}
        assert counted(serving, wanted) == wanted  # also where nobody replied


# ---------------------------------------------------------------- what the router reads


TALK = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"}, {"role": "user", "content": [{"type": "text", "text": "three"}]}]


@pytest.mark.parametrize("messages, context, side, text", [
    (TALK[:2], "turns", "right", "one"), (TALK[1:2], "all", "right", "one"),
    (TALK[:2], "all", "right", "user: one\n\nsystem: be brief"), (TALK, "last", "right", "three"),
    (TALK, "turns", "right", "user: three\n\nassistant: two\n\nuser: one"),
    (TALK, "turns", "left", "user: one\n\nassistant: two\n\nuser: three"),
    ([{"role": "assistant", "content": None}, TALK[1]], "turns", "right", "one")])
def test_a_conversation_becomes_one_text_whose_oldest_part_is_cut_off_first(messages, context, side, text):
    assert text_of(messages, context, side) == text


def test_the_decision_alone_is_that_of_the_router(router):
    text = text_of(TALK, "turns", router.settings.truncation_side)
    with Upstream({}) as up, Serving(router, up) as serving:
        for body, read in (({"query": QUERY}, QUERY), ({"messages": TALK}, text)):
            found = post(serving, body, "/v1/route").json()
            [decision] = router.route([read])
            assert found["members"] == list(decision.members) and found["abstain"] == decision.abstain
            assert np.allclose(found["probabilities"], decision.probabilities, atol=1e-5)
            assert found["models"] == list(router.models) and found["certified"] and found["certificate"] is None
            assert found["expected_cost"] == pytest.approx(decision.expected_cost)
    assert not up.calls


def test_what_a_cut_must_know_of_a_query_can_be_said(router):
    made = router.artifact.calibration
    by_task = with_sets(router)

    class ByTask(OneCut):
        def cut_of(self, context):
            if context.known.get("task") != ["easy"]:
                raise ConfigError("say the task")
            return made.cut
    by_task.artifact = replace(router.artifact, calibration=ByTask())
    with Upstream({}) as up, Serving(by_task, up) as serving:
        refused = post(serving, {"query": QUERY}, "/v1/route")
        assert refused.status_code == 400 and "say the task" in refused.json()["error"]["message"]
        found = post(serving, {"query": QUERY, "racer": {"task": "easy"}}, "/v1/route").json()
        assert found["members"] == list(router.route([QUERY])[0].members)
    with Upstream({}) as up, Serving(by_task, up, task="easy") as serving:
        assert post(serving, {"query": QUERY}, "/v1/route").status_code == 200


# ---------------------------------------------------------------- requests that are not served


@pytest.mark.parametrize("change, status, param", [
    ({"model": "gpt-4"}, 404, "model"), ({"messages": []}, 400, "messages"), ({"messages": "hi"}, 400, "messages"),
    ({"messages": [{"role": "user"}]}, 400, "messages"), ({"messages": [{"role": "king", "content": "x"}]}, 400,
                                                          "messages[0]"),
    ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400,
     "messages[0].content"), ({"messages": [{"role": "user", "content": " \n"}]}, 400, "messages"),
    ({"n": 2}, 400, "n"), ({"stream": "yes"}, 400, "stream"), ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_completion_tokens": "5"}, 400, "max_completion_tokens"), ({"racer": []}, 400, "racer"),
    ({"racer": {"tsk": "a"}}, 400, "racer"), ({"racer": {"weight": "a"}}, 400, "racer.weight"),
    ({"racer": {"kind": "poem"}}, 400, "racer.kind"), ({"racer": {"options": -1}}, 400, "racer.options"),
    ({"racer": {"options": True}}, 400, "racer.options")])
def test_a_bad_request_is_an_error_in_the_protocols_form_and_nobody_is_called(bad_server, change, status, param):
    found = post(bad_server, chat(**change))
    error = found.json()["error"]
    assert (found.status_code, error["param"]) == (status, param) and error["message"] and error["type"]
    assert not bad_server.up.calls


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b'"x"', b'{"a": NaN}', b'{"a": 1e999}', b"\xff",
                                  b"[" * 100_000,
                                  b'{"model": "racer", "messages": [{"role": "user", "content": "\\ud800"}]}'])
def test_a_body_that_is_no_json_object_is_refused(bad_server, data):
    found = httpx.post(f"{bad_server.base}/v1/chat/completions", content=data, timeout=60)
    assert found.status_code == 400 and "error" in found.json()


@pytest.fixture(scope="module")
def bad_server(everyone):
    with Upstream({}) as up, Serving(everyone, up, max_body=200_000) as serving:
        yield serving


def test_a_body_past_the_limit_is_refused_whether_its_length_is_told_or_not(bad_server):
    data = json.dumps(chat(messages=[{"role": "user", "content": "x" * 300_000}])).encode()
    url = f"{bad_server.base}/v1/chat/completions"
    assert httpx.post(url, content=data, timeout=60).status_code == 413
    parts = (data[i:i + 50_000] for i in range(0, len(data), 50_000))
    assert httpx.post(url, content=parts, timeout=60).status_code == 413


def test_a_path_or_method_that_is_not_there_is_told(bad_server):
    for path, status in (("chat/completions", 405), ("other", 404)):
        found = httpx.get(f"{bad_server.base}/v1/{path}", timeout=60)
        assert found.status_code == status and "POST /v1/chat/completions" in found.json()["error"]["message"]


@pytest.mark.parametrize("record, says_", [
    ({}, "either query"), ({"query": "x", "messages": [{"role": "user", "content": "y"}]}, "either query"),
    ({"query": " "}, "not empty"), ({"query": "x", "tsak": "t"}, "got tsak")])
def test_a_route_is_asked_for_one_query_in_known_words(bad_server, record, says_):
    found = post(bad_server, record, "/v1/route")
    assert found.status_code == 400 and says_ in found.json()["error"]["message"]


@pytest.mark.parametrize("key", ["best_of", "models", "service_tier", "web_search_options"])
def test_what_would_cost_more_than_is_held_or_have_another_model_answer_is_refused(bad_server, key):
    found = post(bad_server, chat(**{key: "x"}))
    assert found.status_code == 400 and found.json()["error"]["param"] == key


def test_an_empty_token_is_none_and_no_server_starts_with_it(single, monkeypatch):
    monkeypatch.setenv("RACER_TOKEN", " ")
    with pytest.raises(ConfigError, match="RACER_TOKEN is set and empty"):
        server.application(single, ServeConfig(run="-", pool="kitchen"))


# ---------------------------------------------------------------- who gets in


def test_with_a_token_set_nothing_but_health_is_open(single):
    with Upstream(all_say(single)) as up, Serving(single, up, token="open sesame") as serving:
        assert serving.ask().choices[0].message.content  # the official client sends it as its key
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "open sesame"},
                      {"authorization": "Bearer open sesame2"}):
            assert post(serving, chat(), headers=given).status_code == 401
            assert httpx.get(f"{serving.base}/metrics", headers=given, timeout=60).status_code == 401
        assert httpx.get(f"{serving.base}/health", timeout=60).json() == {"status": "ok"}
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{serving.base}/v1", api_key="wrong", max_retries=0).models.list()
    assert len(up.calls) == 1


def test_beyond_places_and_queue_requests_are_turned_away_at_once(single):
    with Upstream({name: slow(1.0) for name in single.models}) as up, \
            Serving(single, up, concurrency=2, queue=3) as serving, ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda _: post(serving, chat()), range(12)))
        codes = sorted(one.status_code for one in found)
        assert httpx.get(f"{serving.base}/health", timeout=60).status_code == 200
    assert codes == [200] * 5 + [503] * 7 and up.most_busy == 2
    assert {one.headers.get("retry-after") for one in found if one.status_code == 503} == {"1"}


def test_waiting_counts_towards_the_deadline(single):
    with Upstream({name: slow() for name in single.models}) as up, \
            Serving(single, up, concurrency=1, deadline=0.5, endpoint={"timeout": 30}) as serving, \
            ThreadPoolExecutor(2) as threads:
        codes = [one.status_code for one in threads.map(lambda _: post(serving, chat()), range(2))]
    assert 504 in codes and set(codes) <= {503, 504}


def test_a_body_that_does_not_come_is_not_waited_for(single):
    with Upstream({}) as up, Serving(single, up, deadline=0.3) as serving:
        port = int(serving.base.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow_client:
            slow_client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
            assert b"408" in slow_client.recv(100)


# ---------------------------------------------------------------- what is told beside


def test_models_lists_what_can_be_asked_for(everyone):
    with Upstream({}) as up, Serving(everyone, up, name="my-router") as serving:
        [model] = serving.client.models.list().data
        assert model.id == "my-router" and model.pool == list(everyone.models)
        assert serving.client.models.retrieve("my-router") == model
        with pytest.raises(openai.NotFoundError, match="ask for 'my-router'"):
            serving.client.models.retrieve("gpt-9/large")


def test_metrics_count_what_happened(single, ranks):
    with Upstream(all_say(single) | {ranks[0]: fails(500)}) as up, Serving(single, up) as serving:
        serving.ask(QUERY)
        list(serving.ask(QUERY, stream=True))
        post(serving, chat(n=2))
        text = httpx.get(f"{serving.base}/metrics", timeout=60).text
        spent = serving.pool.ledger.spent
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['racer_requests_total{route="/v1/chat/completions",status="200"}'] == "2.0"
    assert lines['racer_requests_total{route="/v1/chat/completions",status="400"}'] == "1.0"
    assert lines[f'racer_calls_total{{end="failed",model="{ranks[0]}"}}'] == "2.0"
    assert lines[f'racer_calls_total{{end="replied",model="{ranks[1]}"}}'] == "1.0"
    assert lines[f'racer_calls_total{{end="streamed",model="{ranks[1]}"}}'] == "1.0"
    assert lines[f'racer_replaced_total{{model="{ranks[0]}"}}'] == "2.0"
    assert float(lines["racer_usd_spent"]) == pytest.approx(spent) == pytest.approx(2 * 20 / 1e6)
    assert lines["racer_forward_seconds_count"] == "2.0" and lines["racer_requests_working"] == "0.0"
    assert QUERY not in text


def test_logs_hold_no_prompt_and_no_key_unless_asked(single, ranks, caplog, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret-key-1")
    secret = "my secret prompt"
    with caplog.at_level(logging.DEBUG, logger="racer"):
        with Upstream(all_say(single) | {ranks[0]: fails(400, message=secret)}) as up, \
                Serving(single, up, token="secret-token", endpoint={"api_key_env": "SOME_KEY"}) as serving:
            serving.ask(secret)
            post(serving, {"messages": secret, "model": secret}, headers={"authorization": "Bearer secret-token"})
        quiet = caplog.text
        assert "members=" in quiet and "secret" not in quiet
        with Upstream(all_say(single)) as up, Serving(single, up, log_prompts=True) as serving:
            serving.ask(secret)
    assert secret in caplog.text and "secret-key-1" not in caplog.text


def test_a_bug_of_ours_is_a_response_too_and_its_message_is_not_logged(single, caplog, monkeypatch):
    with Upstream({}) as up, Serving(single, up) as serving, caplog.at_level(logging.INFO, logger="racer"):
        monkeypatch.setattr(serving.app.app.router.routes[0], "app", broken)
        found = post(serving, chat())
    assert found.status_code == 500 and found.json()["error"]["message"] == "internal error"
    assert "KeyError" in caplog.text and "a prompt" not in caplog.text


async def broken(scope, receive, send):
    raise KeyError("a prompt")


def test_times_are_told_in_a_header(single):
    with Upstream({name: slow(0.1) for name in single.models}) as up, Serving(single, up) as serving:
        header = post(serving, chat()).headers["server-timing"]
    times = {part.split(";")[0]: float(part.split("=")[1]) for part in header.split(", ")}
    assert set(times) == {"forward", "upstream", "overhead"} and times["upstream"] >= 100 > times["overhead"] > 0


# ---------------------------------------------------------------- majority and fusion


def cut(text):
    async def behave(body: dict, answer: Answer) -> None:
        await answer.json(cut_off(completion(text, body)))
    return behave


def test_a_majority_compares_final_answers_and_returns_a_reply_verbatim(everyone):
    texts = ["The answer is (B).", "B", "**Answer: C**", "I cannot say.", "B. Paris", "(C) it is", "Option: B"]
    behaviours = {name: says(text) for name, text in zip(everyone.models, texts, strict=True)}
    with Upstream(behaviours) as up, Serving(everyone, up, aggregator="majority") as serving:
        found = serving.ask(extra_body={"racer": {"kind": "choice"}})
        refused = post(serving, chat())
    assert found.racer["answer"] == "B" and found.racer["confidence"] == pytest.approx(4 / 7)
    assert found.choices[0].message.content in {texts[0], texts[1], texts[4], texts[6]}
    assert found.choices[0].message.content == texts[everyone.models.index(found.racer["answered_by"])]
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "racer.kind" and len(up.calls) == 7


def test_who_failed_counts_against_a_majority(everyone):
    behaviours = {name: says("42") for name in everyone.models} | {everyone.models[0]: fails(500)}
    with Upstream(behaviours) as up, Serving(everyone, up, aggregator="majority", kind="number") as serving:
        assert serving.ask().racer["confidence"] == pytest.approx(6 / 7)


def test_a_majority_of_no_answers_is_an_abstention(everyone):
    with Upstream({name: says("who knows") for name in everyone.models}) as up, \
            Serving(everyone, up, aggregator="majority", kind="number") as serving:
        found = serving.ask()
    assert found.choices[0].finish_reason == "abstained" and "no answer" in found.choices[0].message.refusal
    assert len(found.racer["members"]) == 7


def test_a_letter_that_was_cut_off_has_no_vote(everyone):
    """As in a collection: it may have been the beginning of a word."""
    behaviours = dict.fromkeys(everyone.models, cut("The answer is B")) | {everyone.models[0]: says("The answer is C")}
    with Upstream(behaviours) as up, Serving(everyone, up, aggregator="majority", kind="choice") as serving:
        found = serving.ask()
    assert found.racer["answer"] == "C" and found.racer["confidence"] == pytest.approx(1 / 7)


def test_fusion_reads_all_answers_and_writes_one_under_no_certificate(router, ranks):
    two = with_sets(router, EVERYTHING, max_size=2)
    with Upstream(all_say(router, judge=says("both are wrong, 36"))) as up, \
            Serving(two, up, beside=("judge",), aggregator="fusion", fusion="judge") as serving:
        found = serving.ask("{answers} or {query}?")
    prompt = next(c for c in up.calls if c.body["model"] == "judge").body["messages"][0]["content"]
    members = list(found.racer["members"])
    assert all(f"I am {name}." in prompt for name in members)
    assert "<request>\n{answers} or {query}?\n</request>" in prompt
    assert found.choices[0].message.content == "both are wrong, 36" and found.model == "judge"
    assert found.racer["fusion"] == {"model": "judge", "failed": None} and found.racer["confidence"] is None
    assert found.racer["certificate"] is None and found.racer["cost_usd"] == pytest.approx(3 * 20 / 1e6)
    assert len(members) == 2 and "judge" not in members and found.usage.total_tokens == 45


def test_a_prompt_of_the_pool_is_around_queries_only(router, nobody):
    two, wrapped = with_sets(router, EVERYTHING, max_size=2), {"prompt": "Well: {query}"}
    with Upstream(all_say(router, judge=says("36"))) as up:
        with Serving(two, up, beside=("judge",), endpoint=wrapped, aggregator="fusion", fusion="judge") as serving:
            serving.ask(QUERY)
        with Serving(nobody, up, beside=("judge",), endpoint=wrapped, fallback="judge") as serving:
            serving.ask(QUERY)
        likely = wrapped | {"confidence": "likelihood"}
        with Serving(with_sets(router, EVERYTHING, max_size=1), up, endpoint=likely) as serving:
            list(serving.ask(QUERY, stream=True))
            serving.ask("And 3?")
    assert [call.body.get("logprobs") for call in up.calls[-2:]] == [None, True]  # of a stream no confidence is told
    *members, fusing, fallback, streamed, _ = [call.body["messages"][0]["content"] for call in up.calls]
    assert members == [f"Well: {QUERY}"] * 2 and fallback == streamed == f"Well: {QUERY}"
    assert fusing.startswith("Several assistants") and "Well" not in fusing


def test_where_fusion_fails_the_best_members_reply_counts(router):
    two = with_sets(router, EVERYTHING, max_size=2)
    with Upstream(all_say(router, judge=fails(500))) as up, \
            Serving(two, up, beside=("judge",), aggregator="fusion", fusion="judge") as serving:
        found = serving.ask()
    assert found.choices[0].message.content.startswith("I am ") and found.racer["confidence"] is not None
    assert found.racer["fusion"] == {"model": "judge", "failed": "status 500"}


def test_one_answer_is_not_fused(single):
    with Upstream(all_say(single)) as up, \
            Serving(single, up, beside=("judge",), aggregator="fusion", fusion="judge") as serving:
        assert serving.ask().choices[0].message.content.startswith("I am ")
        assert len(list(serving.ask(stream=True))) > 2


# ---------------------------------------------------------------- the certified policy


def certified(router, aggregator=None, calling="parallel", threshold=0.5, size=3, policy=True) -> Router:
    """A router with a certificate whose policy asks `size` models and answers from a confidence of `threshold` on."""
    other, vote = with_sets(router, EVERYTHING), aggregator or Majority()
    made = Policy(Track(router.artifact.rule), EVERYTHING, size, vote.name, calling, threshold) if policy else None
    other.certificate = Certificate(made, vote if policy else None, {"error_among_answered": 0.1}, 0.1, router.models,
                                    {"t": {"kind": "choice", "options": 4}}, {})
    return other


def test_the_certified_policy_answers_with_a_reply_verbatim(router, ranks):
    texts = ["So the answer is (C).", "It is B, so: answer: B", "C"]
    behaviours = {name: says(text) for name, text in zip(ranks, texts, strict=False)}
    with Upstream(behaviours) as up, Serving(certified(router), up) as serving:
        found = serving.ask(QUERY)
        streamed = list(serving.ask(QUERY, stream=True))
        planned = post(serving, {"query": QUERY}, "/v1/route").json()
    racer = found.racer
    assert racer["members"] == ranks[:3] == planned["members"] and racer["answer"] == "C"
    assert racer["confidence"] == pytest.approx(2 / 3) and racer["promise_stands"] and not racer["abstained"]
    assert found.choices[0].message.content in (texts[0], texts[2])
    assert racer["certificate"]["promises"] == {"error_among_answered": 0.1} and racer["certificate"]["stands"]
    assert racer["certificate"]["confidence"] == 0.9 and "majority vote" in racer["certificate"]["policy"]
    assert streamed[0].choices[0].delta.content == found.choices[0].message.content
    assert planned["certificate"]["promises"] == {"error_among_answered": 0.1} and len(planned["probabilities"]) == 8


def test_the_certified_policy_reads_no_answer_in_what_was_cut_off_before_it(router, ranks):
    with Upstream({name: cut("The answer is C") for name in ranks}) as up, Serving(certified(router), up) as serving:
        found = serving.ask(QUERY)
    assert found.choices[0].finish_reason == "abstained" and found.racer["answer"] is None
    assert found.racer["members"] == ranks[:3] and found.racer["promise_stands"]


def test_below_the_certified_threshold_it_abstains(router, ranks):
    behaviours = {name: says(text) for name, text in zip(ranks, "ABC", strict=False)}
    with Upstream(behaviours) as up, Serving(certified(router), up) as serving:
        found = serving.ask(QUERY)
    assert found.choices[0].finish_reason == "abstained" and "no answer is sure" in found.choices[0].message.refusal
    assert found.racer["confidence"] == pytest.approx(1 / 3) and found.racer["cost_usd"] > 0
    assert found.racer["members"] == ranks[:3] and found.racer["promise_stands"]


def test_one_after_the_other_it_stops_when_sure(router, ranks):
    behaviours = {name: says(text) for name, text in zip(ranks, "DDAB", strict=False)}
    with Upstream(behaviours) as up, Serving(certified(router, calling="sequential"), up) as serving:
        found = serving.ask(QUERY)
    assert up.asked() == ranks[:2] == found.racer["members"] and found.choices[0].message.content == "D"


@pytest.mark.parametrize("calling", ["parallel", "sequential"])
def test_a_failed_call_of_the_policy_is_replaced_and_its_promise_does_not_stand(router, ranks, calling):
    behaviours = {name: says("A") for name in ranks} | {ranks[0]: fails(500)}
    with Upstream(behaviours) as up, Serving(certified(router, calling=calling, threshold=0.7), up) as serving:
        found = serving.ask(QUERY)
    assert sorted(up.asked()) == sorted(ranks[:4]) and found.choices[0].message.content == "A"
    assert found.racer["replaced"] == [{"model": ranks[0], "by": ranks[3], "reason": "status 500"}]
    assert not found.racer["promise_stands"] and not found.racer["certificate"]["stands"]
    assert found.racer["confidence"] == 1.0  # of those who could be asked


def test_a_reply_without_a_final_answer_is_a_lost_answer_not_a_failed_call(router, ranks):
    behaviours = {ranks[0]: says("hard to say"), ranks[1]: says("B"), ranks[2]: says("B")}
    with Upstream(behaviours) as up, Serving(certified(router), up) as serving:
        found = serving.ask(QUERY)
    assert found.racer["answer"] == "B" and found.racer["promise_stands"] and found.racer["replaced"] == []
    assert found.racer["confidence"] == pytest.approx(2 / 3) and len(up.calls) == 3


def test_an_empty_reply_is_a_lost_answer_too(router, ranks):
    with Upstream({name: says("") for name in router.models}) as up, Serving(certified(router), up) as serving:
        found = serving.ask(QUERY)
    assert found.racer["abstained"] and found.racer["members"] == ranks[:3] and found.racer["promise_stands"]


def test_the_best_member_alone_may_be_certified(router, ranks):
    policy = certified(router, Best(), size=1, threshold=0.0)
    with Upstream({ranks[0]: says("Answer: A")}) as up, Serving(policy, up) as serving:
        found = serving.ask(QUERY)
    assert found.choices[0].message.content == "Answer: A" and found.racer["members"] == ranks[:1]


def test_where_nothing_was_certified_nobody_is_called(router):
    with Upstream({}) as up, Serving(certified(router, policy=False), up) as serving:
        found = serving.ask(QUERY)
        planned = post(serving, {"query": QUERY}, "/v1/route").json()
    assert found.racer["abstained"] and found.racer["certificate"]["policy"] is None and not up.calls
    assert planned["abstain"] and planned["members"] == []


def test_a_policy_whose_models_all_fail_is_an_error_no_abstention(router):
    with Upstream({name: fails(500) for name in router.models}) as up, Serving(certified(router), up) as serving:
        found = post(serving, chat())
    assert found.status_code == 502 and len(up.calls) == 7
    racer = found.json()["racer"]
    assert racer["certificate"]["promises"] and not racer["certificate"]["stands"]


@pytest.mark.parametrize("calling", ["parallel", "settled", "sequential"])
def test_however_many_of_a_policys_models_fail_those_who_are_left_are_asked(router, ranks, calling):
    behaviours = {name: says("C") for name in ranks} | {name: fails(500) for name in (*ranks[:3], ranks[4])}
    with Upstream(behaviours) as up, Serving(certified(router, calling=calling, threshold=0.9), up) as serving:
        racer = serving.ask(QUERY).racer
    assert racer["answer"] == "C" and set(racer["members"]) >= {*ranks[:4]}
    assert all(one["by"] in {None, *racer["members"]} for one in racer["replaced"])


def test_who_was_to_take_a_place_and_was_not_needed_is_not_said_to_have_taken_it(router, ranks):
    behaviours = {name: says("C") for name in ranks} | {ranks[0]: fails(500)}
    with Upstream(behaviours) as up, \
            Serving(certified(router, calling="sequential", threshold=0.5), up) as serving:
        racer = serving.ask(QUERY).racer
        metrics = httpx.get(serving.base + "/metrics").text
    assert racer["members"] == ranks[:3] and racer["answer"] == "C"  # two of three are enough
    assert racer["replaced"] == [{"model": ranks[0], "by": None, "reason": "status 500"}]
    assert "racer_replaced_total{" not in metrics


def test_a_run_for_which_no_policy_was_certified_says_so(router, caplog):
    with caplog.at_level(logging.WARNING, logger="racer"), Upstream({}) as up, \
            Serving(certified(router, policy=False), up) as serving:
        found = serving.ask(QUERY)
        planned = post(serving, {"query": QUERY}, "/v1/route").json()
    assert found.choices[0].message.refusal == "abstained: no policy was certified for this run"
    assert not found.racer["promise_stands"] and not found.racer["certificate"]["stands"] and not planned["certified"]
    assert len(planned["probabilities"]) == 8 and "every query is abstained on" in caplog.text and not up.calls


def test_a_fallback_that_was_asked_already_is_not_asked_again(router, ranks):
    with Upstream({name: says(text) for name, text in zip(ranks, "ABCDEFG", strict=True)}) as up, \
            Serving(certified(router), up, fallback=ranks[1]) as serving:
        found = serving.ask(QUERY)
    assert found.choices[0].message.content == "B" and found.racer["fallback"] == ranks[1] and found.racer["abstained"]
    assert len(up.calls) == 3 and found.racer["cost_usd"] == pytest.approx(3 * 20 / 1e6)


def test_the_kind_of_answer_may_be_said_with_the_request(router, ranks):
    with Upstream({name: says("so it is 36 %.") for name in ranks}) as up, Serving(certified(router), up) as serving:
        assert serving.ask(QUERY).racer["abstained"]  # no letter in it
        assert serving.ask(QUERY, extra_body={"racer": {"kind": "number"}}).racer["answer"] == "36"
        refused = post(serving, chat(racer={"task": "unheard of"}))
    assert refused.status_code == 400 and "unheard of" in refused.json()["error"]["message"]


def test_where_tasks_differ_an_unmodified_client_gets_a_guess_without_a_promise(router, ranks):
    mixed = certified(router)
    tasks = {"t": {"kind": "choice", "options": 4}, "sums": {"kind": "number", "options": 0}}
    mixed.certificate = replace(mixed.certificate, tasks=tasks)
    with Upstream({name: says("Answer: 36") for name in ranks}) as up, Serving(mixed, up) as serving:
        found = [serving.ask(QUERY), serving.ask("Which?\nA. 1\nB. 36"),
                 serving.ask(QUERY, extra_body={"racer": {"task": "sums"}})]
        planned = post(serving, {"query": QUERY}, "/v1/route").json()
    assert [one.racer.get("guessed_kind") for one in found] == ["text", "choice", None]
    assert [one.racer["promise_stands"] for one in found] == [False, False, True]
    assert [one.racer["certificate"]["stands"] for one in found] == [False, False, True]
    assert [one.racer["answer"] for one in found] == ["36", None, "36"] and not planned["certified"]


LETTERS = "Which?\nA. 1\nB. 2\nC. 3\nD. 4\nE. 5"


@pytest.mark.parametrize("settings, query, said, form, other", [
    ({}, QUERY, {}, ("choice", 4), None), ({}, QUERY, {"task": "t"}, ("choice", 4), None),
    ({}, QUERY, {"task": "t", "kind": "choice", "options": 4}, ("choice", 4), None),
    ({"kind": "choice"}, QUERY, {}, ("choice", 4), None), ({"kind": "text"}, QUERY, {"task": "t"}, ("choice", 4), None),
    ({}, LETTERS, {}, ("choice", 5), None), ({}, LETTERS, {"options": 5}, ("choice", 5), None),
    ({}, QUERY, {"options": 1000}, ("choice", 1000), "4 options were expected, not 1000"),
    ({}, LETTERS, {"options": 4}, ("choice", 4), "5 options were expected, not 4"),
    ({}, QUERY, {"task": "t", "kind": "text"}, ("text", 0), "answers of kind text were not certified"),
    ({"kind": "number"}, QUERY, {}, ("number", 0), "answers of kind number were not certified"),
    ({}, QUERY, {"task": "new", "kind": "choice"}, ("choice", 0), "the task 'new' was not certified"),
    ({"task": "new", "kind": "choice"}, QUERY, {"options": 4}, ("choice", 4), "the task 'new' was not certified")])
def test_the_promise_stands_for_answers_of_the_form_that_was_certified(router, ranks, monkeypatch, settings, query,
                                                                       said, form, other):
    seen, judge = [], Consultation._judge
    monkeypatch.setattr(Consultation, "_judge", lambda self: seen.append(self.form) or judge(self))
    with Upstream({name: says("C") for name in ranks}) as up, Serving(certified(router), up, **settings) as serving:
        racer = serving.ask(query, extra_body={"racer": said}).racer
        planned = post(serving, {"query": query, "racer": said}, "/v1/route").json()
    assert {(one.kind, one.options) for one in seen} == {form}
    assert racer["promise_stands"] == racer["certificate"]["stands"] == planned["certified"] == (other is None)
    assert racer.get("uncertified", "").startswith(other or "") and ("uncertified" in racer) == (other is not None)


def test_tasks_that_differ_in_their_options_leave_a_query_that_lists_none_without_a_promise(router, ranks):
    mixed = certified(router)
    tasks = {name: {"kind": "choice", "options": options} for name, options in (("t", 4), ("u", 4), ("v", 10))}
    mixed.certificate = replace(mixed.certificate, tasks=tasks)
    with Upstream({name: says("C") for name in ranks}) as up, Serving(mixed, up) as serving:
        stands = [serving.ask(query, extra_body={"racer": said}).racer["promise_stands"] for query, said in (
            (QUERY, {}), (LETTERS, {}), (QUERY, {"task": "v"}), (QUERY, {"options": 10}), (QUERY, {"options": 5}))]
    assert stands == [False, True, True, True, False]


class Hears(Majority):
    """A vote that is handed what models say of their own answers. What it does with that is tested elsewhere."""

    hears = (True,) * 7


@pytest.fixture
def heard(monkeypatch):
    """What consultations are told beside the answers, call by call."""
    found, tell = [], Consultation.tell

    def noted(self, said, confidence=None):
        found.append(confidence)
        tell(self, said, confidence)
    monkeypatch.setattr(Consultation, "tell", noted)
    return found


def sure(text: str, word: str = "70%", p: float = 0.6, then=None):
    """A model that says `text` with likelihood .5, and of its own answer `word`, "A" having probability `p`, "B" .2."""
    async def behave(body, answer):
        if "proposed answer" in body["messages"][-1]["content"]:
            if then is not None:
                return await then(body, answer)
            top = {"A": np.log(p), "B": np.log(0.2)}
            said, tokens = completion(word, body, 100, 1), [token("A", -0.5, top)]
        else:
            said, tokens = completion(text, body), [token(text, np.log(0.5))]
        await answer.json(with_logprobs(said, *tokens) if body.get("logprobs") else said)
    return behave


@pytest.mark.parametrize("way, said, calls", [("likelihood", [0.5, 0.5], 3), ("p_true", [0.75, 0.5], 5),
                                              ("verbalised", [0.7, 0.3], 5)])
def test_a_vote_that_hears_confidence_is_told_it_and_the_client_too(router, ranks, heard, way, said, calls):
    behaviours = {ranks[0]: sure("So the answer is (C)."), ranks[1]: sure("hm"), ranks[2]: sure("C", "30%", 0.2)}
    with Upstream(behaviours) as up, Serving(certified(router, Hears()), up, endpoint={"confidence": way}) as serving:
        found = serving.ask(QUERY)
        metrics = httpx.get(serving.base + "/metrics").text
    told = {ranks[0]: pytest.approx(said[0]), ranks[1]: None, ranks[2]: pytest.approx(said[1])}
    assert heard == [told] and found.racer["confidences"] == told  # the second gave no answer to be sure of
    assert found.racer["promise_stands"] and found.racer["members"] == ranks[:3] and len(up.calls) == calls
    further = [text for c in up.calls if "proposed answer" in (text := c.body["messages"][0]["content"])]
    assert len(further) == calls - 3 and all("<proposed answer>\nC\n" in text and QUERY in text for text in further)
    usd = (3 * 20 + (calls - 3) * 102) / 1e6
    assert found.racer["cost_usd"] == pytest.approx(usd) and found.usage.prompt_tokens == 30 + 100 * (calls - 3)
    assert f'racer_calls_total{{end="replied",model="{ranks[0]}"}} {1 + (calls - 3) / 2}' in metrics


def test_one_after_the_other_each_is_asked_how_sure_it_is_before_the_next(router, ranks, heard):
    behaviours = {name: sure("D") for name in ranks}
    policy = certified(router, Hears(), calling="sequential")
    with Upstream(behaviours) as up, Serving(policy, up, endpoint={"confidence": "verbalised"}) as serving:
        found = serving.ask(QUERY, stream=True)
        racer = list(found)[-1].racer
    assert up.asked() == [ranks[0], ranks[0], ranks[1], ranks[1]] and racer["members"] == ranks[:2]
    assert heard == [{ranks[0]: 0.7}, {ranks[1]: 0.7}] and racer["confidences"] == {ranks[0]: 0.7, ranks[1]: 0.7}


@pytest.mark.parametrize("bad, reason", [(fails(500), "status 500"), (hangs_up(), "no connection")])
def test_a_model_that_cannot_be_asked_how_sure_it_is_keeps_its_place_without_the_promise(router, ranks, heard, bad,
                                                                                       reason):
    behaviours = {ranks[0]: sure("C", then=bad), ranks[1]: sure("C"), ranks[2]: fails(503), ranks[3]: sure("C")}
    with Upstream(behaviours) as up, \
            Serving(certified(router, Hears(), threshold=0.7), up, endpoint={"confidence": "p_true"}) as serving:
        found = serving.ask(QUERY)
    racer = found.racer
    assert racer["replaced"] == [{"model": ranks[0], "by": None, "reason": f"its confidence: {reason}"},
                                 {"model": ranks[2], "by": ranks[3], "reason": "status 503"}]
    assert racer["members"] == ranks[:4] and found.choices[0].message.content == "C" and not racer["promise_stands"]
    first = {ranks[0]: None, ranks[1]: pytest.approx(0.75), ranks[2]: None}
    assert heard == [first, {ranks[3]: pytest.approx(0.75)}] and racer["confidences"] == heard[0] | heard[1]
    assert not racer["certificate"]["stands"] and racer["confidence"] == 1.0


def test_a_word_on_an_answer_that_a_leaving_client_cuts_off_is_counted(router, ranks):
    with Upstream({name: sure("C", then=slow()) for name in ranks}) as up, \
            Serving(certified(router, Hears()), up, deadline=30,
                    endpoint={"confidence": "p_true", "timeout": 30}) as serving:
        hang_up(serving, up, 6, chat())
        wanted = {LEFT: 1, "racer_usd_held": 0} | {f'racer_calls_total{{end="{end}",model="{name}"}}': 1
                                                   for end in ("replied", "cut off") for name in ranks[:3]}
        assert counted(serving, wanted) == wanted


def test_a_pool_that_cannot_ask_those_who_are_heard_is_refused(router, ranks):
    with Upstream({name: sure("C") for name in ranks}) as up, \
            pytest.raises(ConfigError, match=r"hears how sure .* the key `confidence` that it had"), \
            Serving(certified(router, Hears()), up):
        pass


def test_to_hear_models_in_another_way_than_was_certified_is_refused_or_promises_nothing(router, ranks):
    behaviours = {name: sure("C") for name in ranks}
    on_record = certified(router, Hears())
    ways = dict.fromkeys(ranks, "p_true") | {ranks[1]: "verbalised"}
    on_record.certificate = replace(on_record.certificate, ways=ways)
    with Upstream(behaviours) as up:
        with pytest.raises(ConfigError, match=rf"in another way \({ranks[1]} by p_true, on record by verbalised\)"), \
                Serving(on_record, up, endpoint={"confidence": "p_true"}):
            pass
        with Serving(on_record, up, endpoint={"confidence": "p_true"}, allow_uncertified=True) as serving:
            found = serving.ask(QUERY).racer
    assert found["answer"] == "C" and not found["promise_stands"] and not found["certificate"]["stands"]


def test_only_those_who_are_heard_are_asked(router, ranks, heard, monkeypatch):
    monkeypatch.setattr(Hears, "hears", tuple(name == ranks[1] for name in router.models))
    with Upstream({name: sure("C") for name in ranks}) as up, \
            Serving(certified(router, Hears()), up, endpoint={"confidence": "verbalised"}) as serving:
        found = serving.ask(QUERY)
    assert found.racer["confidences"] == {ranks[1]: 0.7} == heard[0] and len(up.calls) == 4
    assert found.racer["promise_stands"]


def test_a_vote_that_hears_no_confidence_asks_for_none(router, ranks, heard):
    with Upstream({name: sure("C") for name in ranks}) as up, \
            Serving(certified(router), up, endpoint={"confidence": "p_true"}) as serving:
        found = serving.ask(QUERY)
    assert "confidences" not in found.racer and heard == [{}] and len(up.calls) == 3


def test_a_fallback_leaves_told_how_sure_the_models_were(router, ranks):
    with Upstream({name: sure(text) for name, text in zip(ranks, "ABC", strict=False)} | {"judge": says("D")}) as up, \
            Serving(certified(router, Hears()), up, beside=("judge",), fallback="judge",
                    endpoint={"confidence": "verbalised"}) as serving:
        found = serving.ask(QUERY)
    assert found.racer["fallback"] == "judge" and found.racer["confidences"] == dict.fromkeys(ranks[:3], 0.7)


def test_with_a_fallbacks_reply_the_certificate_does_not_stand_and_if_it_fails_all_calls_are_told(router, ranks):
    apart = {name: says(text) for name, text in zip(ranks, "ABC", strict=False)}
    with Upstream(apart | {"judge": says("D")}) as up, \
            Serving(certified(router), up, beside=("judge",), fallback="judge") as serving:
        answered = serving.ask(QUERY).racer
        up.behaviours["judge"] = fails(500)
        found, spent = post(serving, chat()), serving.pool.ledger.spent
    assert answered["abstained"] and not answered["promise_stands"] and not answered["certificate"]["stands"]
    racer = found.json()["racer"]
    assert found.status_code == 502 and "judge: status 500" in found.json()["error"]["message"]
    assert racer["members"] == ranks[:3] and racer["abstained"] and not racer["certificate"]["stands"]
    assert racer["cost_usd"] + answered["cost_usd"] == pytest.approx(spent) and racer["cost_usd"] > 0


def test_a_cut_that_must_move_with_the_losses_promises_nothing_where_it_stands_still(router):
    moving = with_sets(router, EVERYTHING)
    sample = online_level(np.linspace(0.1, 0.9, 50), 0.1, 0.01)
    moving.artifact = replace(moving.artifact, calibration=Online.of(sample))
    with Upstream(all_say(router)) as up, Serving(moving, up) as serving:
        assert not serving.ask(QUERY).racer["promise_stands"]
        assert not post(serving, {"query": QUERY}, "/v1/route").json()["certified"]


def test_a_query_of_a_group_without_a_cut_of_its_own_is_under_no_promise(router):
    grouped = with_sets(router, EVERYTHING)
    served, groups = np.linspace(0, 1, 100), np.repeat(["logic", "rare"], [95, 5])
    found = ByGroup.of(calibrate_groups(served, groups, 0.2), "task")
    grouped.artifact = replace(grouped.artifact, calibration=found)
    with Upstream(all_say(router)) as up, Serving(grouped, up) as serving:
        told = [serving.ask(QUERY, extra_body={"racer": {"task": task}}).racer for task in ("logic", "rare", "nope")]
    assert [one["promise_stands"] for one in told] == [True, False, False]
    assert [one.get("uncertified") for one in told] == [None, *["there is a promise only for task logic"] * 2]


def test_log_probabilities_are_returned_to_who_asks_for_them(router, ranks):
    with Upstream({name: sure("C") for name in ranks}) as up, \
            Serving(certified(router), up, endpoint={"confidence": "likelihood"}) as serving:
        whole, unasked = serving.ask(QUERY, logprobs=True), serving.ask(QUERY)
        streamed = [one for one in serving.ask(QUERY, logprobs=True, stream=True) if one.choices[0].logprobs]
    assert [one.token for one in whole.choices[0].logprobs.content] == ["C"] and unasked.choices[0].logprobs is None
    assert [one.choices[0].logprobs.content[0].token for one in streamed] == ["C"]


def test_a_server_checks_its_task_and_says_at_its_start_what_requests_have_to(router, caplog):
    mixed = certified(router)
    tasks = {"t": {"kind": "choice", "options": 4}, "sums": {"kind": "number", "options": 0}}
    mixed.certificate = replace(mixed.certificate, tasks=tasks)
    with caplog.at_level(logging.WARNING, logger="racer"), Upstream({}) as up:
        with pytest.raises(ConfigError, match="task 'nope' was not certified"), Serving(mixed, up, task="nope"):
            pass
        with Serving(mixed, up, task="sums"):
            assert not caplog.text
        with Serving(mixed, up):
            assert "answers are of several kinds (choice, number)" in caplog.text


def test_sets_can_be_served_beside_a_certificate_and_other_votes_only_then(router):
    policy = certified(router)
    with Upstream(all_say(router)) as up, Serving(policy, up, policy="sets") as serving:
        assert serving.ask().racer["certificate"] is None
    with pytest.raises(ConfigError, match="policy=sets"), Serving(policy, up, aggregator="majority"):
        pass


# ---------------------------------------------------------------- the forward pass


def forward_of(estimate, batch=4):
    return Forward(estimate, batch)


def test_texts_that_come_together_are_read_together_and_each_gets_its_own(router):
    sizes = []

    def estimate(texts):
        sizes.append(len(texts))
        time.sleep(0.02)
        return Estimate(np.array([[float(t)] for t in texts]))

    async def crowd():
        forward = forward_of(estimate)
        found = await asyncio.gather(*(forward.estimate(str(i)) for i in range(11)))
        forward.close()
        return [one.models[0, 0] for one, _ in found]
    assert asyncio.run(crowd()) == list(range(11))
    assert sum(sizes) == 11 and max(sizes) == 4 and len(sizes) <= 4


def test_the_oldest_text_goes_first_with_those_most_like_it_in_length():
    read = []

    async def crowd():
        def estimate(texts):
            read.append([len(t) for t in texts])
            time.sleep(0.02)
            return Estimate(np.array([[float(len(t))] for t in texts]))
        forward = forward_of(estimate, batch=2)
        lengths = [1, 50, 9, 10, 51, 8, 9]
        found = await asyncio.gather(*(forward.estimate("x" * n) for n in lengths))
        forward.close()
        assert [one.models[0, 0] for one, _ in found] == lengths
    asyncio.run(crowd())
    assert read == [[1, 8], [50, 51], [9, 9], [10]]


def test_the_event_loop_goes_on_while_a_text_is_read():
    async def beside():
        forward, ticks = forward_of(lambda texts: time.sleep(0.2) or Estimate(np.zeros((1, 1)))), 0
        task = asyncio.create_task(forward.estimate("x"))
        while not task.done():
            await asyncio.sleep(0.005)
            ticks += 1
        forward.close()
        return ticks
    assert asyncio.run(beside()) > 5


def test_a_text_that_cannot_be_read_fails_alone():
    def estimate(texts):
        if "bad" in texts:
            raise ValueError("bad")
        return Estimate(np.zeros((len(texts), 1)))

    async def crowd():
        forward = forward_of(estimate)
        found = await asyncio.gather(*(forward.estimate(t) for t in ("a", "bad", "b")), return_exceptions=True)
        again = await forward.estimate("c")
        forward.close()
        return [type(one).__name__ for one in (*found, again)]
    assert asyncio.run(crowd()) == ["tuple", "ValueError", "tuple", "tuple"]


def test_who_has_left_is_not_read():
    read = []

    async def crowd():
        def estimate(texts):
            read.extend(texts)
            time.sleep(0.05)
            return Estimate(np.zeros((len(texts), 1)))
        forward = forward_of(estimate)
        first = asyncio.create_task(forward.estimate("first"))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(forward.estimate("gone"))
        last = asyncio.create_task(forward.estimate("last"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, last)
        forward.close()
    asyncio.run(crowd())
    assert read == ["first", "last"]


# ---------------------------------------------------------------- the command


def test_the_command_serves_until_it_is_stopped(small_run, tmp_path):
    root = Path(__file__).parents[1]
    with Upstream(all_say(Router.load(small_run))) as up:
        entries = [{"name": name, "model": name, "api_base": up.base, "price_in": 1, "price_out": 2}
                   for name in up.behaviours]
        (tmp_path / "pool.yaml").write_text(json.dumps({"models": entries}))
        command = [sys.executable, str(root / "scripts" / "serve.py"), f"run={small_run}", "pool=pool.yaml", "port=0",
                   "spend_cap=1", "spend_file=spend.db", "cache=cache.db"]
        process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env=os.environ | {"HF_HUB_OFFLINE": "1", "RACER_TOKEN": "sesame"})
        try:
            line = next(line for line in process.stdout if line.startswith("serving"))
            base = re.search(r"http://127.0.0.1:\d+/v1", line)[0]
            with openai.OpenAI(base_url=base, api_key="sesame", max_retries=0) as client:
                found = client.chat.completions.create(model="racer", messages=chat()["messages"])
            assert sorted(found.racer["members"]) == sorted(up.asked())
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=30)[0]
    assert process.returncode in (0, -signal.SIGINT) and "Traceback" not in rest and QUERY not in rest
    ledger = Ledger(1.0, tmp_path / "spend.db")
    assert ledger.spent == pytest.approx(found.racer["cost_usd"]) and ledger.held == 0
    ledger.close()


def test_the_command_says_what_is_wrong_before_it_serves(small_run, tmp_path):
    with pytest.raises(ConfigError, match="cannot be used"), server.listen("127.0.0.1", 0) as taken:
        server.listen("127.0.0.1", taken.getsockname()[1])
    (tmp_path / "prompt.txt").write_text("only {query}")
    with pytest.raises(ConfigError, match="the fusion prompt"):
        prompt_of(str(tmp_path / "prompt.txt"))
    router = Router.load(small_run)
    entry = {"name": "a", "model": "a", "api_base": "http://x", "price_in": 1, "price_out": 1}
    (tmp_path / "pool.yaml").write_text(json.dumps({"models": [entry]}))
    with pytest.raises(ConfigError, match="no entry for"):
        server.application(router, ServeConfig(run="-", pool=str(tmp_path / "pool.yaml")))
    with pytest.raises(ConfigError, match="its folder does not exist"):
        server.application(router, ServeConfig(run="-", pool="kitchen", cache=str(tmp_path / "no" / "cache.db")))


@pytest.mark.parametrize("settings", [{"policy": "x"}, {"aggregator": "vote"}, {"aggregator": "fusion"},
                                      {"fusion": "judge"}, {"deadline": 0}, {"concurrency": 0}, {"port": 99999},
                                      {"spend_cap": -1}, {"kind": "poem"}, {"context": "none"}, {"max_body": 0}])
def test_settings_that_cannot_be_are_errors(settings):
    with pytest.raises(ConfigError):
        ServeConfig(run="-", pool="-", **settings)
