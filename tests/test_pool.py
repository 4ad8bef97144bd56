"""Live models against real servers: what they say, what they cost, and every way in which they fail."""

import asyncio
import json
import math
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from upstream import (
    Upstream,
    completion,
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

from racer.errors import ConfigError
from racer.pool import (
    NOT_OF_CLIENTS,
    Bill,
    Cache,
    CallFailed,
    Endpoint,
    Ledger,
    Member,
    Pool,
    confidence,
    file,
    read,
    usage,
    wire,
)
from racer.pool.failures import _wait
from racer.pool.ledger import CapReached

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
PRICES = dict(price_in=1.0, price_out=2.0)


def endpoint(up: Upstream, model: str = "m", **options) -> Endpoint:
    return Endpoint(**dict(name=model, model=model, api_base=up.base, backoff=0.01) | PRICES | options)


def ask(up: Upstream, body: dict = HELLO, ledger: Ledger | None = None, cache: Cache | None = None,
        seconds: float = 10.0, **options):
    """Ask the model m; return what came, a reply or a failure, and the bill."""
    async def once():
        bill = Bill()
        async with pool([endpoint(up, **options)], ledger, cache) as members:
            try:
                return await members["m"].ask(members["m"].of_query(body), bill, seconds), bill.usd
            except CallFailed as failed:
                return failed, bill.usd
    return asyncio.run(once())


class pool:
    """Members that are closed afterwards, while ledger and cache stay open."""

    def __init__(self, endpoints: list[Endpoint], ledger: Ledger | None = None, cache: Cache | None = None):
        self.members = {e.name: Member(e, ledger or Ledger(), cache) for e in endpoints}

    async def __aenter__(self):
        return self.members

    async def __aexit__(self, *_):
        for member in self.members.values():
            await member.close()


def worst(up: Upstream, body: dict = HELLO, **options) -> float:
    """The most that a call of the model m can cost."""
    one = endpoint(up, **options)
    member = asyncio.run(_member(one))
    return usage.worst(one, member.fitted(body)).usd


async def _member(one: Endpoint) -> Member:
    return Member(one, Ledger())


# ---------------------------------------------------------------- what is sent, what comes back


def test_a_reply_is_verbatim_and_costs_what_its_tokens_cost():
    with Upstream({"m": says(" The *answer*\n", 10, 5)}) as up:
        reply, usd = ask(up)
    assert reply.text == " The *answer*\n" and reply.finish_reason == "stop" and reply.usage.stated
    assert reply.usd == usd == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)


def test_the_endpoint_gets_its_model_name_its_key_and_its_parameters(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret-1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-someone")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-someone")
    with Upstream({"up/stream": says("a"), "m": says("a")}) as up:
        body = HELLO | {"temperature": 0.3, "unknown_to_us": [1], "max_tokens": 7}
        ask(up, body, name="m", model="up/stream", api_key_env="SOME_KEY", parameters={"temperature": 1, "seed": 5})
        ask(up)
    first, second = up.calls
    assert first.path == "/v1/chat/completions"
    assert first.body == body | {"model": "up/stream", "seed": 5}
    assert first.headers["authorization"] == "Bearer secret-1"
    assert "authorization" not in second.headers
    assert "someone" not in json.dumps([first.headers, second.headers])


@pytest.mark.parametrize("asked, sent", [({}, 50), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 9}, 9),
                                         ({"max_tokens": 5000}, 50)])
def test_the_limit_of_output_tokens_always_goes_along_under_the_key_the_endpoint_knows(asked, sent):
    with Upstream({"m": says("a")}) as up:
        ask(up, HELLO | asked, max_tokens=50, max_tokens_key="max_completion_tokens")
    assert up.calls[0].body["max_completion_tokens"] == sent and "max_tokens" not in up.calls[0].body


def test_a_prompt_goes_around_the_last_user_message_only():
    talk = {"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
                         {"role": "user", "content": [{"type": "text", "text": "th{r}ee"}]}]}
    with Upstream({"m": says("a")}) as up:
        ask(up, talk, prompt="Q: {query}\nA letter {only}.")
    contents = [m["content"] for m in up.calls[0].body["messages"]]
    assert contents == ["one", "two", "Q: th{r}ee\nA letter {only}."]


HALF = {"content": "nice \U0001f600 \ud83d",
        "tool_calls": [{"function": {"arguments": '{"x": "\udc00"}', "\ud800": 1}}]}


@pytest.mark.parametrize("escaped", [True, False])
def test_half_a_character_in_a_reply_is_replaced_wherever_it_stands(tmp_path, escaped):
    said = completion("", {"model": "m"}) | {"choices": [{"message": HALF, "finish_reason": "stop"}]}
    content = json.dumps(said, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    with Upstream({"m": sends(content)}) as up:
        cache = Cache(tmp_path / "cache.db")
        first, again = (ask(up, cache=cache)[0] for _ in range(2))
        cache.close()
    mended = [{"function": {"arguments": '{"x": "\ufffd"}', "\ufffd": 1}}]
    assert first.message == again.message == {"content": "nice \U0001f600 \ufffd", "tool_calls": mended}
    assert first.usage.stated and again.cached


def test_an_endpoints_words_on_a_failure_may_hold_half_a_character_too():
    with Upstream({"m": fails(400, message="not \ud83d")}) as up:
        assert ask(up)[0].reason == "status 400: not \ufffd"


# ---------------------------------------------------------------- how sure a model is


@pytest.mark.parametrize("logprobs, sure", [
    ({"content": [token("Pa", -0.5), token("ris", -0.25)]}, math.exp(-0.75)), ({"content": [{"logprob": 0}]}, 1.0),
    ({"content": [{"logprob": -9999.0}]}, 0.0), ({"content": [{"logprob": -1.0}] * 9999}, 0.0),
    *((wrong, None) for wrong in (None, True, [], "x", {}, {"content": None}, {"content": []}, {"content": {}},
                                  {"content": [None]}, {"content": [{}]}, {"content": "text"})),
    *(({"content": [token("a", -0.5), token("b", wrong)]}, None) for wrong in (
        0.1, 1e-9, math.nan, math.inf, -math.inf, -10**400, "-0.5", None, True, False, [], {}))])
def test_the_likelihood_of_a_reply_is_that_of_all_its_tokens(logprobs, sure):
    assert confidence.likelihood(logprobs) == (None if sure is None else pytest.approx(sure))


@pytest.mark.parametrize("top, sure", [
    ({"A": math.log(0.6), "B": math.log(0.2)}, 0.75), ({"A": math.log(0.5)}, 1.0), ({"b": math.log(0.01)}, 0.0),
    ({"A": math.log(0.2), " a": math.log(0.1), "(A)": math.log(0.1), "True": math.log(0.05), "(B": math.log(0.1),
      " false": math.log(0.05), "C": math.log(0.4), "I": 5.0}, 0.75),  # what says neither is not read
    ({"yes": -0.1, "Apple": -3.0, "": -4.0}, None), ({}, None), ({"A": -9999.0, "B": -9999.0}, None),
    *(({"A": wrong, "B": -1.0}, None) for wrong in (0.1, math.nan, -math.inf, "x", None, True, -10**400))])
def test_p_true_compares_what_says_a_with_what_says_b(top, sure):
    found = confidence.p_true({"content": [token("A", -0.1, top), token("B", -0.1, {"B": -0.1})]})
    assert found == (None if sure is None else pytest.approx(sure))


@pytest.mark.parametrize("logprobs", [None, 1, [], {"content": 1}, {"content": [None]}, {"content": [token("A", -1)]},
                                      {"content": [{"token": "A", "top_logprobs": "A"}]},
                                      {"content": [{"top_logprobs": [None, {"token": 1, "logprob": -1}]}]}])
def test_p_true_of_another_shape_is_nothing_said(logprobs):
    assert confidence.p_true(logprobs) is None


@pytest.mark.parametrize("reply, sure", [
    ("85%", 0.85), ("85", 0.85), ("0.85", 0.85), (".85", 0.85), ("about 85 %, I think.", 0.85), ("1", 0.01), ("1.0", 1),
    ("0", 0), ("100", 1), ("0.5%", 0.005), ("0.5 percent", 0.005), ("99.5", 0.995), ("First 20%, now 70%.", 0.7),
    ("80-90%", 0.9), ("85/100", 0.85), ("85 out of 100", 0.85), ("**Probability:** 0.3\n", 0.3), ("100 %", 1),
    ("101", None), ("-5", None), ("-0.5", None), ("1000%", None), ("high", None), ("", None), ("9" * 400, None),
    ("8/10", 0.8), ("9 out of 10", 0.9), ("4/5", 0.8), ("11/10", None), ("85,5%", 0.855), ("1,0", 1), ("0,85", 0.85),
    ("I am 95% sure that it is 4", 0.95), ("10% at first, then 30 % of 7", 0.3), ("v2", None),
    ("-" * 10**5 + " " * 10**5 + "1" * 10**5, None)])
def test_a_verbalised_confidence_is_the_last_number_that_can_be_one(reply, sure):
    assert confidence.verbalised(reply) == (None if sure is None else pytest.approx(sure))


def test_a_query_asks_for_log_probabilities_where_they_are_the_confidence(tmp_path):
    async def likely(body, answer):
        await answer.json(with_logprobs(completion("Paris", body), token("Paris", -0.5), token("", -0.5)))
    with Upstream({"m": likely}) as up:
        cache = Cache(tmp_path / "cache.db")
        first, again = (ask(up, cache=cache, confidence="likelihood")[0] for _ in range(2))
        plain, _ = ask(up)
        cache.close()
    assert first.confidence == again.confidence == pytest.approx(math.exp(-1)) and again.cached
    assert [call.body.get("logprobs") for call in up.calls] == [True, None] and plain.confidence is None
    assert up.calls[0].body == up.calls[1].body | {"logprobs": True}


def test_log_probabilities_of_another_shape_are_no_confidence_and_the_reply_stands():
    async def likely(body, answer):
        said = completion("Paris", body)
        await answer.json(said | {"choices": [said["choices"][0] | {"logprobs": ["what", 1]}]})
    with Upstream({"m": likely}) as up:
        found, _ = ask(up, confidence="likelihood")
    assert found.text == "Paris" and found.confidence is None


def further(up: Upstream, **options):
    """Ask the model m how sure it is of an answer; return what it says, the request, and the bill."""
    async def once():
        bill = Bill()
        async with pool([endpoint(up, **options)]) as members:
            body = members["m"].of_confidence("6 times {answer}?", "42")
            return members["m"].sure(await members["m"].ask(body, bill, 10)), bill.usd
    return asyncio.run(once())


def test_p_true_is_asked_with_one_token_and_twenty_beside_it_in_a_reply_that_may_be_so_large():
    top = {"A": math.log(0.6), "B": math.log(0.2)} | {f"{'x' * 50}{i}": -9.0 for i in range(18)}

    async def judges(body, answer):
        await answer.json(with_logprobs(completion("A", body, 90, 1), token("A", math.log(0.6), top)))
    with Upstream({"m": judges}) as up:
        sure, usd = further(up, confidence="p_true", prompt="Well: {query}", max_tokens_key="max_completion_tokens")
    body = up.calls[0].body
    assert sure == pytest.approx(0.75) and usd == pytest.approx((90 + 2) / 1e6)
    assert (body["max_completion_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    assert "<question>\n6 times {answer}?\n</question>" in (text := body["messages"][0]["content"])
    assert "<proposed answer>\n42\n</proposed answer>" in text and "(A) true\n(B) false" in text and "Well" not in text


def test_a_verbalised_confidence_is_asked_for_by_a_prompt_of_ones_own(tmp_path):
    (tmp_path / "how.txt").write_text("{answer} to {query}: how sure?")
    with Upstream({"m": says("I would say 70%")}) as up:
        sure, _ = further(up, confidence="verbalised", confidence_prompt=str(tmp_path / "how.txt"), max_tokens=50)
    body = up.calls[0].body
    assert sure == pytest.approx(0.7) and body["max_tokens"] == 50 and "logprobs" not in body
    assert body["messages"] == [{"role": "user", "content": "42 to 6 times {answer}?: how sure?"}]


# ---------------------------------------------------------------- failures


BAD = {"no json": (sends(b"<html>"), "malformed reply"), "no choices": (returns({"choices": []}), "malformed reply"),
       "a list": (returns([1]), "malformed reply"), "not a text": (returns(completion(["x"], {"model": "m"})),
                                                                   "malformed reply"),
       "no message": (returns({"choices": [{"message": None}]}), "malformed reply"),
       "cut off": (sends(b'{"choices"', "content-length: 100"), "no connection"),
       "hangs up": (hangs_up(), "no connection"),
       "garbage": (sends(b"\xff\xfe\x00"), "malformed reply"), "deep": (sends(b"[" * 200_000), "malformed reply"),
       "compressed": (sends(b"\x1f\x8b", "content-encoding: gzip"), "malformed reply: compressed"),
       "endless": (floods(), "reply too long"), "silent": (slow(), "timeout")}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_endpoint_is_an_explicit_failure_that_counts_with_the_most_it_can_have_cost(kind):
    behaviour, reason = BAD[kind]
    options = dict(retries=0, timeout=0.3 if kind == "silent" else 10)
    with Upstream({"m": behaviour}) as up:
        failed, usd = ask(up, **options)
        assert isinstance(failed, CallFailed) and failed.reason == reason and not failed.refused
        assert usd == pytest.approx(worst(up, **options)) and usd > 0


@pytest.mark.parametrize("kind, whole", [("as told", True), ("longer", False), ("rich", True)])
def test_a_reply_may_be_as_long_as_its_tokens_need_and_no_longer(kind, whole):
    text = "x" * (wire.HEAD if kind == "as told" else wire.HEAD + 200 * wire.TOKEN)
    with Upstream({"m": says(text, 10, 100)}) as up:
        found, _ = ask(up, HELLO | ({"logprobs": True} if kind == "rich" else {}), max_tokens=100)
    assert found.text == text if whole else found.reason == "reply too long"


@pytest.mark.parametrize("status, tries", [(500, 3), (503, 3), (429, 3), (408, 3), (401, 1), (404, 1), (400, 1)])
def test_only_what_may_pass_is_tried_again_and_errors_cost_nothing(status, tries):
    with Upstream({"m": fails(status, message="bad thing")}) as up:
        failed, usd = ask(up, retries=2)
    assert len(up.calls) == tries and usd == 0
    assert failed.reason == (f"status {status}: bad thing" if status in (400, 404) else f"status {status}")
    assert failed.refused == (status == 400)


def test_a_second_try_may_succeed():
    with Upstream({"m": fails(503, times=2, then=says("fine"))}) as up:
        reply, usd = ask(up, retries=2)
    assert reply.text == "fine" and len(up.calls) == 3 and usd == reply.usd


def test_lost_tries_are_on_the_bill_of_a_call_that_succeeded():
    turns = iter([hangs_up(), says("fine")])

    async def behave(body, answer):
        await next(turns)(body, answer)
    with Upstream({"m": behave}) as up:
        reply, usd = ask(up, retries=1)
        assert usd == pytest.approx(reply.usd + worst(up))


def test_retry_after_is_obeyed_or_the_call_given_up_at_once():
    with Upstream({"m": fails(429, "retry-after-ms: 150", times=1, then=says("fine"))}) as up:
        start = time.monotonic()
        assert ask(up)[0].text == "fine" and time.monotonic() - start >= 0.15
    with Upstream({"m": fails(429, "retry-after: 60")}) as up:
        assert ask(up)[0].reason == "status 429" and len(up.calls) == 1  # not a timeout while waiting


def test_a_wait_is_read_in_each_form_it_may_have():
    assert _wait({"retry-after": "2"}) == 2 and _wait({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert _wait({}) is None and _wait({"retry-after": "soon"}) is None and _wait({"retry-after": "-1"}) is None
    assert _wait({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}) == 0
    assert _wait({"retry-after": "Fri, 01 Jan 2999 00:00:00 GMT"}) > 1e9


def test_an_endpoint_that_is_gone_is_tried_again_and_costs_nothing():
    with Upstream({}) as up:
        base = up.base

    async def once():
        bill = Bill()
        async with pool([Endpoint("m", "m", base, retries=1, backoff=0.01, **PRICES)]) as members:
            with pytest.raises(CallFailed, match="no connection"):
                await members["m"].ask(HELLO, bill, 10)
        return bill.usd
    assert asyncio.run(once()) == 0


@pytest.mark.parametrize("connect, timeout, retries", [(0.2, 10.0, 1), (5.0, 0.6, 0)])
def test_who_cannot_be_connected_to_in_time_costs_nothing(connect, timeout, retries, monkeypatch):
    monkeypatch.setattr(wire, "CONNECT", connect)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        for _ in range(4):  # so many wait that no further one is taken
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        up = Upstream({})
        up.port, start = full.getsockname()[1], time.monotonic()
        failed, usd = ask(up, timeout=timeout, retries=retries)
    assert failed.reason == "timeout" and usd == 0 and time.monotonic() - start < 5


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_what_json_has_no_word_for_is_refused_before_anything_is_held_or_sent(number):
    with Upstream({"m": says("a")}) as up:
        ledger = Ledger(cap=0.0)  # under which nothing can be held
        failed, usd = ask(up, HELLO | {"temperature": number}, ledger=ledger)
        assert failed.refused and "no JSON" in failed.reason and usd == 0 and not failed.capped
        assert streamed(up, body=HELLO | {"logit_bias": {"5": number}}, ledger=ledger)[1] == failed.reason
    assert not up.calls


def test_a_failure_never_shows_the_key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret-1")
    with Upstream({"m": fails(400, message="wrong key secret-1 " + "x" * 5000)}) as up:
        failed, _ = ask(up, api_key_env="SOME_KEY")
    assert "wrong key [key]" in failed.reason and len(failed.reason) < 300


def test_the_time_left_bounds_a_call_with_its_waits():
    with Upstream({"m": slow(2)}) as up:
        failed, _ = ask(up, seconds=0.2)
    assert failed.reason == "timeout"


# ---------------------------------------------------------------- limits


def test_no_more_calls_at_a_time_than_the_pool_file_allows():
    async def crowd(up):
        async with pool([endpoint(up, concurrency=3)]) as members:
            return await asyncio.gather(*(members["m"].ask(HELLO, Bill(), 10) for _ in range(12)))
    with Upstream({"m": slow(0.02)}) as up:
        assert {r.text for r in asyncio.run(crowd(up))} == {"late"}
    assert up.most_busy == 3


def test_a_rate_spaces_calls_evenly():
    async def crowd(up):
        async with pool([endpoint(up, rate=60 * 20)]) as members:  # one each 50 ms
            await asyncio.gather(*(members["m"].ask(HELLO, Bill(), 10) for _ in range(5)))
    with Upstream({"m": says("a")}) as up:
        start = time.monotonic()
        asyncio.run(crowd(up))
        assert time.monotonic() - start >= 4 * 0.05 * 0.95


def test_places_are_given_back_by_calls_that_fail_or_are_left():
    async def crowd(up):
        async with pool([endpoint(up, concurrency=1, retries=0), endpoint(up, "s", concurrency=1)]) as members:
            for _ in range(3):
                with pytest.raises(CallFailed):
                    await members["m"].ask(HELLO, Bill(), 10)
            for _ in range(3):
                chunks = members["s"].stream(HELLO, Bill(), 10)
                await anext(chunks)
                await chunks.aclose()
            return (await members["s"].ask(HELLO, Bill(), 10)).text
    with Upstream({"m": fails(500), "s": says("a b c")}) as up:
        assert asyncio.run(crowd(up)) == "a b c"


# ---------------------------------------------------------------- money


def test_the_cap_holds_whatever_runs_at_the_same_time():
    """What was held back is the most a call can cost, so no order of events passes the cap."""
    async def crowd(up, ledger):
        async with pool([endpoint(up, concurrency=50)], ledger) as members:
            found = await asyncio.gather(*(members["m"].ask(HELLO, Bill(), 10) for _ in range(40)),
                                         return_exceptions=True)
        return [isinstance(one, CallFailed) for one in found]
    with Upstream({"m": slow(0.05)}) as up:
        one = worst(up)
        ledger = Ledger(cap=7.5 * one)
        failed = asyncio.run(crowd(up, ledger))
        assert sum(failed) == 33 and len(up.calls) == 7 and up.most_busy == 7
        assert ledger.held == 0 and ledger.spent == pytest.approx(7 * (10 + 2 * 5) / 1e6)


def test_what_is_released_is_what_was_held_in_whatever_order():
    """No rounding stays behind, as it would of sums of such numbers: (.1 + .7 + .2) - .1 - .7 - .2 is not 0."""
    rng = np.random.default_rng(0)
    ledger, most = Ledger(cap=50.0), rng.uniform(0, 1, 40) * 10.0 ** rng.integers(-9, 1, 40)
    for _ in range(5):
        calls = [ledger.hold(usd, Bill()) for usd in most]
        for call in calls:
            call.__enter__().settle(0.0)
        assert most.sum() - 1e-15 <= ledger.held < most.sum() + 1e-9
        for i in rng.permutation(len(calls)):
            calls[i].__exit__(None, None, None)
        assert ledger.held == 0 == ledger.spent
    with Ledger(cap=0.0013).hold(0.0013, Bill()):  # all of a cap may be held
        pass


def test_under_the_cap_a_call_fails_before_anything_is_sent():
    with Upstream({"m": says("a")}) as up:
        failed, usd = ask(up, ledger=Ledger(cap=0.99 * worst(up)))
        assert "spend cap" in failed.reason and not up.calls and usd == 0 and not failed.retry
        assert ask(up, ledger=Ledger(cap=1.01 * worst(up)))[0].text == "a"


def test_a_cap_with_a_file_outlives_the_process_and_is_shared(tmp_path):
    first, second = Ledger(1.0, tmp_path / "spend.db"), Ledger(1.0, tmp_path / "spend.db")
    with first.hold(0.6, Bill()) as hold:
        with pytest.raises(CapReached, match="spend cap"), second.hold(0.5, Bill()):
            pass
        hold.settle(0.1)
    with second.hold(0.5, Bill()):
        pass
    first.close()
    second.close()
    again = Ledger(1.0, tmp_path / "spend.db")
    assert again.spent == pytest.approx(0.6) and again.held == 0
    again.close()


def test_money_held_by_a_process_that_was_killed_stays_held(tmp_path):
    script = ("import os, sys; from racer.pool.ledger import Bill, Ledger; "
              "held = Ledger(1.0, sys.argv[1]).hold(0.7, Bill()); held.__enter__(); os._exit(9)")
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "spend.db")], timeout=60)
    ledger = Ledger(1.0, tmp_path / "spend.db")
    with pytest.raises(CapReached), ledger.hold(0.4, Bill()):
        pass
    assert killed.returncode == 9 and ledger.held == pytest.approx(0.7)
    ledger.close()


class Locked:
    """A file of ours that another process holds locked for so many seconds."""

    def __init__(self, path, seconds: float):
        self.path, self.seconds = path, seconds

    def __enter__(self):
        self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.db.execute("BEGIN IMMEDIATE")
        self.timer = threading.Timer(self.seconds, self.db.execute, ["COMMIT"])
        self.timer.start()

    def __exit__(self, *_):
        self.timer.join()
        self.db.close()


def test_a_call_waits_for_a_locked_file_of_the_money_spent_and_nobody_else_does(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("racer.pool.ledger.PATIENCE", 0.4)
    async def call(up, ledger):
        bill, gaps, start = Bill(), [], time.monotonic()
        async with pool([endpoint(up)], ledger) as members:
            asked = asyncio.create_task(members["m"].ask(HELLO, bill, 10))
            while not asked.done():
                before = time.monotonic()
                await asyncio.sleep(0.005)
                gaps.append(time.monotonic() - before)
            return (await asked).text, bill.usd, time.monotonic() - start, max(gaps)
    ledger = Ledger(1.0, tmp_path / "spend.db")
    with Upstream({"m": says("a")}) as up, Locked(tmp_path / "spend.db", 1.0):
        text, usd, seconds, gap = asyncio.run(call(up, ledger))
    assert text == "a" and seconds >= 0.9 and gap < 0.5 and ledger.spent == usd == pytest.approx(20 / 1e6)
    assert caplog.text.count("the file of the money spent cannot be written (database is locked)") == 1
    with Upstream({"m": says("a")}) as up, Locked(tmp_path / "spend.db", 0.6):
        failed, cost = ask(up, ledger=ledger, seconds=0.2)
        assert failed.reason == "timeout" and cost == 0 and not up.calls
        assert streamed(up, seconds=0.2, ledger=ledger) == ("", "timeout", 0)
    assert ledger.held == 0 and ledger.spent == usd
    ledger.close()


@pytest.mark.parametrize("until", ["the loop", "the next call", "the end"])
def test_what_calls_cost_while_the_file_was_locked_is_written_afterwards(tmp_path, until):
    path = tmp_path / "spend.db"
    ledger, other = Ledger(1.0, path), Ledger(1.0, path)

    async def call(up):
        async with pool([endpoint(up)], ledger) as members:
            asked = [asyncio.create_task(members["m"].ask(HELLO, Bill(), 10)) for _ in range(3)]
            while len(up.calls) < 3:
                await asyncio.sleep(0.01)
            with Locked(path, 0.6):
                assert [(await one).text for one in asked] == ["late"] * 3
                assert ledger.held == 0 == other.spent and ledger.spent == pytest.approx(60 / 1e6) and other.held > 0
            await asyncio.sleep(0.2 if until == "the loop" else 0)
    with Upstream({"m": slow(0.2)}) as up:
        asyncio.run(call(up))
        if until == "the next call":
            ask(up, ledger=ledger)
    if until == "the end":
        ledger.close()
    assert other.held == 0 and other.spent == pytest.approx((80 if until == "the next call" else 60) / 1e6)
    for one in {ledger, other} - ({ledger} if until == "the end" else set()):
        one.close()


@pytest.mark.parametrize("opened", [lambda path: Ledger(1.0, path), Cache])
def test_a_file_that_is_none_of_ours_is_an_error_that_says_so(tmp_path, opened):
    (tmp_path / "notes.txt").write_text("no database\n" * 100)
    for path in (tmp_path / "notes.txt", tmp_path):
        with pytest.raises(ConfigError, match=f"{path} cannot be used as a .*: give the name of a new file"):
            opened(path)
    assert (tmp_path / "notes.txt").read_text() == "no database\n" * 100


LIES = {"none": None, "negative": {"prompt_tokens": -5, "completion_tokens": -5},
        "zero": {"prompt_tokens": 0, "completion_tokens": 0}, "text": {"prompt_tokens": "10", "completion_tokens": "5"},
        "huge": {"prompt_tokens": 10, "completion_tokens": 10**12}, "nan": {"prompt_tokens": 10,
                                                                            "completion_tokens": float("nan")},
        "too few": {"prompt_tokens": 10, "completion_tokens": 1}, "true": {"prompt_tokens": True,
                                                                           "completion_tokens": True}}


@pytest.mark.parametrize("lie", LIES)
def test_usage_that_cannot_be_true_is_not_believed(lie):
    text = "word " * 100
    with Upstream({"m": returns(completion(text, {"model": "m"}) | {"usage": LIES[lie]})}) as up:
        reply, usd = ask(up)
        assert reply.text == text and not reply.usage.stated
        assert usd == reply.usd == pytest.approx(worst(up)) and 0 < usd < 1


# ---------------------------------------------------------------- cache


def test_the_same_request_is_paid_once_and_another_is_not_mixed_up_with_it(tmp_path):
    with Upstream({"m": says("first")}) as up:
        cache = Cache(tmp_path / "cache.db")
        first, _ = ask(up, cache=cache)
        cache.close()
        up.behaviours["m"] = says("second")
        cache = Cache(tmp_path / "cache.db")
        again, usd = ask(up, cache=cache)
        other, _ = ask(up, HELLO | {"temperature": 0.1}, cache=cache)
        cache.close()
    assert (first.text, again.text, other.text) == ("first", "first", "second")
    assert again.cached and again.usd == usd == 0 and not first.cached and len(up.calls) == 2
    assert b"hello" not in (tmp_path / "cache.db").read_bytes()


@pytest.mark.parametrize("bad", [fails(500), says(" \n")])
def test_failures_and_empty_replies_are_not_kept(tmp_path, bad):
    with Upstream({"m": bad}) as up:
        cache = Cache(tmp_path / "cache.db")
        found = ask(up, cache=cache, retries=0)[0]
        assert isinstance(found, CallFailed) or found.empty
        up.behaviours["m"] = says("fine")
        assert ask(up, cache=cache, retries=0)[0].text == "fine"
        cache.close()


def test_the_cache_keeps_the_newest(tmp_path):
    cache = Cache(tmp_path / "cache.db", entries=2)
    for i in range(5):
        cache.put(str(i), {"i": i})
    assert [cache.get(str(i)) for i in range(5)] == [None, None, None, {"i": 3}, {"i": 4}]
    cache.close()
    count = sqlite3.connect(tmp_path / "cache.db")
    assert count.execute("SELECT count(*) FROM replies").fetchone() == (2,)
    count.close()


def test_a_cache_that_cannot_be_read_or_written_costs_no_reply(tmp_path, caplog):
    with Upstream({"m": says("a")}) as up:
        cache = Cache(tmp_path / "cache.db")
        with Locked(tmp_path / "cache.db", 1.0):
            start = time.monotonic()
            assert [ask(up, cache=cache)[0].text for _ in range(2)] == ["a", "a"] and time.monotonic() - start < 0.9
        assert not ask(up, cache=cache)[0].cached and ask(up, cache=cache)[0].cached
        db = sqlite3.connect(tmp_path / "cache.db")
        db.execute("UPDATE replies SET reply = '{bad'")
        db.commit()
        db.close()
        assert not ask(up, cache=cache)[0].cached and ask(up, cache=cache)[0].cached
        cache.close()
    assert len(up.calls) == 4 and caplog.text.count("the cache") == 1 and "is locked" in caplog.text


# ---------------------------------------------------------------- streams


def streamed(up: Upstream, seconds: float = 10.0, ledger: Ledger | None = None, body: dict = HELLO, **options):
    """Stream from the model m; return the text, the failure or None, and the bill."""
    async def once():
        text, bill = "", Bill()
        async with pool([endpoint(up, **options)], ledger) as members:
            try:
                async for chunk in members["m"].stream(body, bill, seconds):
                    text += "".join(c["delta"].get("content") or "" for c in chunk["choices"])
            except CallFailed as failed:
                return text, failed.reason, bill.usd
        return text, None, bill.usd
    return asyncio.run(once())


def test_a_stream_comes_through_and_is_billed_by_its_usage():
    with Upstream({"m": says("one two three", 10, 5)}) as up:
        text, failed, usd = streamed(up)
    assert (text, failed) == ("one two three ", None) and usd == pytest.approx((10 + 2 * 5) / 1e6)
    assert up.calls[0].body["stream"] and up.calls[0].body["stream_options"] == {"include_usage": True}


def test_halves_of_a_character_come_through_a_stream_as_they_are():
    with Upstream({"m": says("nice \ud83d \ude00", 10, 5)}) as up:
        text, failed, usd = streamed(up)
    assert (text, failed) == ("nice \ud83d \ude00 ", None) and usd == pytest.approx((10 + 2 * 5) / 1e6)


@pytest.mark.parametrize("behaviour, text, reason", [
    (dies_mid_stream(2), "word0 word1 ", "stream broke off"),
    (dies_mid_stream(2, hang=True), "word0 word1 ", "timeout"),
    (fails(500), "", "status 500"), (slow(), "", "timeout"), (hangs_up(), "", "no connection"),
    (sends(b"data: {oh\n\n", kind="text/event-stream"), "", "malformed reply"),
    (sends(b'data: {"choices": "x"}\n\n', kind="text/event-stream"), "", "malformed reply"),
    (sends(b"data: " + b"[" * 200_000 + b"\n\n", kind="text/event-stream"), "", "malformed reply"),
    (sends(b'data: {"error": {"message": "overloaded"}}\n\n', kind="text/event-stream"), "", "malformed reply")])
def test_a_stream_that_breaks_says_so(behaviour, text, reason):
    with Upstream({"m": behaviour}) as up:
        ledger = Ledger()
        found = streamed(up, ledger=ledger, timeout=0.4)
        assert found[:2] == (text, reason)
        assert found[2] == pytest.approx(0 if reason == "status 500" else worst(up, timeout=0.4))
        assert ledger.held == 0


# ---------------------------------------------------------------- the pool file


GOOD = """
models:
  - {name: a, model: up/a, api_base: "http://x/v1", price_in: 1, price_out: 2}
  - {name: b, model: up/b, api_base: "https://y/v1", api_key_env: KEY_B, price_in: 0.5, price_out: 0, timeout: 3}
"""


def test_a_pool_file_is_read_as_written(tmp_path):
    (tmp_path / "pool.yaml").write_text(GOOD)
    a, b = read(tmp_path / "pool.yaml")
    assert (a.name, a.model, a.api_base, a.price_in, a.price_out, a.key()) == ("a", "up/a", "http://x/v1", 1, 2, None)
    assert (b.price_in, b.timeout, b.api_key_env) == (0.5, 3, "KEY_B")


@pytest.mark.parametrize("old, new, says", [
    ("price_in: 1", "price: 1", "price"), ("price_in: 1", "price_in: free", "price_in"),
    ("price_in: 1", "price_in: -1", "a: price_in is -1"), ("price_in: 1, ", "", "price_in"),
    ("name: b", "name: a", "names a twice"), ("models:", "modles:", "modles"), ("http://x/v1", "x/v1", "api_base"),
    ("timeout: 3", "timeout: 0", "b: timeout"), ("timeout: 3", "max_tokens_key: tokens", "max_tokens_key"),
    ("timeout: 3", "prompt: no place", "{query}"), ("timeout: 3", "extract: '(a)(b)'", "2 groups"),
    ("timeout: 3", "extract: '('", "regular expression"), ("timeout: 3", "rate: 0", "b: rate"),
    (GOOD, "models: []", "names no model"), (GOOD, "- 1", "one key"), (GOOD, "a: [", "no pool file"),
    (GOOD, "", "models"), (GOOD, "models: {a: 1}", "with a list of models"),
    ("price_in: 1", "price: 1", "a: there is no key price: did you mean price_in?; the keys are name, model"),
    ("api_key_env: KEY_B", "api_key: sk-1", "b: there is no key api_key: did you mean api_key_env, the name"),
    ("price_in: 1, price_out: 2", "timeout: 1", "a lacks price_in, price_out: every entry needs"),
    ("{name: a, model", "{model", "entry 1 of `models` lacks name"), ("timeout: 3", "timeout: x", "b: timeout is 'x'"),
    (GOOD, "models:\n  - {name: a\n  - x: 1\n", "line 3: this is no pool file"), (GOOD, "models: [1]", "entry 1 of"),
    ("http://x/v1", "http://x/v1/chat/completions", "expected what stands before /chat/completions")])
def test_a_wrong_pool_file_is_an_error_that_names_the_place(tmp_path, old, new, says):
    assert old in GOOD
    (tmp_path / "pool.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError) as error:
        read(tmp_path / "pool.yaml")
    assert says in str(error.value) and "pool.yaml" in str(error.value)


@pytest.mark.parametrize("parameters, says", [
    ("n: 4", "parameters has n, which cannot be set there: one reply is asked for"),
    *((f"{key}: 1", f"parameters has {key}, which") for key in (*file.SET_BY, *file.UNHELD) if key != "n"),
    *((f"temperature: {number}", "parameters cannot be sent as JSON") for number in (".inf", "-.inf", ".nan")),
    ("logit_bias: {5: .nan}", "parameters cannot be sent as JSON"), ("stop: !!binary aGk=", "cannot be sent as JSON")])
def test_parameters_that_cannot_be_are_an_error_that_names_the_entry(tmp_path, parameters, says):
    (tmp_path / "pool.yaml").write_text(GOOD.replace("timeout: 3", f"parameters: {{{parameters}}}"))
    with pytest.raises(ConfigError) as error:
        read(tmp_path / "pool.yaml")
    assert "pool.yaml: b: parameters" in str(error.value) and says in str(error.value)


def test_one_reply_may_be_said_and_what_changes_prices_is_the_entrys(tmp_path):
    (tmp_path / "pool.yaml").write_text(GOOD.replace("timeout: 3", "parameters: {n: 1, service_tier: flex}"))
    assert read(tmp_path / "pool.yaml")[1].parameters == {"n": 1, "service_tier": "flex"}
    assert {"n", "best_of", "models", "service_tier", "provider"} <= set(NOT_OF_CLIENTS)


@pytest.mark.parametrize("keys, says", [
    ("confidence: certain", "b: confidence is certain, expected one of likelihood, p_true, verbalised"),
    ("confidence: p_true, confidence_prompt: nowhere.txt", "b: confidence_prompt=nowhere.txt is no file"),
    ("confidence: verbalised, confidence_prompt: HERE", "b: the confidence prompt HERE has no {answer}"),
    ("confidence: likelihood, confidence_prompt: HERE", "b: confidence_prompt is given, but confidence is likelihood"),
    ("confidence_prompt: HERE", "b: confidence_prompt is given, but confidence is not set"),
    ("confidence: p_true, confidence_prompt: BYTES", "b: confidence_prompt=BYTES is not text in UTF-8")])
def test_a_confidence_that_cannot_be_is_an_error_that_names_the_entry(tmp_path, keys, says):
    here, other = tmp_path / "prompt.txt", tmp_path / "bytes.txt"
    here.write_text("only {query}")
    other.write_bytes(b"\xff{query}{answer}")
    keys, says = (t.replace("HERE", str(here)).replace("BYTES", str(other)) for t in (keys, says))
    (tmp_path / "pool.yaml").write_text(GOOD.replace("timeout: 3", keys))
    with pytest.raises(ConfigError) as error:
        read(tmp_path / "pool.yaml")
    assert f"pool.yaml: {says}" in str(error.value)


def test_presets_are_found_by_name_and_every_one_is_sound():
    names = [path.stem for path in file.PRESETS.glob("*.yaml")]
    assert names and all(read(name) for name in names)
    with pytest.raises(ConfigError, match=names[0]):
        read("no_such_pool")


def test_a_key_that_is_not_in_the_environment_is_an_error_before_any_call(monkeypatch):
    monkeypatch.delenv("KEY_B", raising=False)
    with pytest.raises(ConfigError, match="KEY_B is not set"):
        Pool([Endpoint("b", "b", "http://x/v1", api_key_env="KEY_B", **PRICES)])


def test_the_pool_must_have_the_models_that_the_router_asks_for_and_no_others():
    async def check(*names):
        async with Pool([Endpoint(n, n, "http://x/v1", **PRICES) for n in names]) as pool:
            pool.check(("a", "b"), beside=("judge",))
    asyncio.run(check("judge", "b", "a"))
    with pytest.raises(ConfigError, match="no entry for b"):
        asyncio.run(check("a", "judge"))
    with pytest.raises(ConfigError, match="names c"):
        asyncio.run(check("a", "b", "c", "judge"))
