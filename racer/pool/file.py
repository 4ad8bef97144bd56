"""The pool file: which models can be called, where, at what price, and within which limits."""

import json
import os
import re
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from racer import patterns, prompts
from racer.errors import ConfigError
from racer.pool.confidence import ASKED, PLACES, WAYS

PRESETS = Path(__file__).parents[2] / "conf" / "pools"  # as conf/pool it would be a group to Hydra
TOKEN_KEYS = ("max_tokens", "max_completion_tokens")
QUERY = "{query}"
SET_BY = {"model": "the key `model` of the entry says it", "messages": "the key `prompt` of the entry goes around them",
          "stream": "each call says it by itself", "stream_options": "each call says it by itself",
          **dict.fromkeys(TOKEN_KEYS, "the keys `max_tokens` and `max_tokens_key` of the entry say it")}
UNHELD = {  # keys of a request by which a call can take more than is held for it, or another model than named answers
    **dict.fromkeys(("n", "best_of"), "one reply is asked for and held for: leave it out"),
    **dict.fromkeys(("max_output_tokens", "max_new_tokens"), "a limit beside the entry's `max_tokens`: leave it out"),
    **dict.fromkeys(("models", "fallbacks", "route"), "another model would answer in its name: give that an entry"),
    **dict.fromkeys(("prediction", "modalities", "audio", "web_search_options", "plugins"),
                    "it is not paid by `price_in` and `price_out` alone: leave it out")}
PRICED = ("service_tier", "provider")  # by these the price is another: only in an entry, whose prices are then theirs
NOT_OF_CLIENTS = (*UNHELD, *PRICED)  # keys of a request that no client may set, `n` of 1 aside


@dataclass
class Endpoint:
    """One model behind an OpenAI-compatible endpoint."""

    name: str = MISSING  # as the router knows it
    model: str = MISSING  # sent upstream, verbatim
    api_base: str = MISSING  # up to and without /chat/completions
    price_in: float = MISSING  # USD per million input tokens
    price_out: float = MISSING  # USD per million output tokens
    api_key_env: str | None = None  # the environment variable that holds the key; None: the endpoint takes none
    timeout: float = 20.0  # seconds for a call, with its retries and waits
    retries: int = 2  # after a timeout of the network, a 429 or a 5xx
    backoff: float = 0.5  # seconds before the first retry, doubling; an endpoint's Retry-After goes first
    rate: float | None = None  # calls per minute; None: no limit
    concurrency: int = 64  # calls at a time
    max_tokens: int = 1024  # of output, at most; a request may ask for fewer
    max_tokens_key: str = "max_tokens"  # by which the endpoint is told: max_tokens | max_completion_tokens
    prompt: str | None = None  # template around the last user message, with {query} in it; None: as it came
    extract: str | None = None  # regular expression with one group: the final answer in a reply; None: by kind
    confidence: str | None = None  # how sure it is of its answer, by: likelihood | p_true | verbalised; None: not asked
    confidence_prompt: str | None = None  # file for the latter two, with {query} and {answer}; None: that in conf
    parameters: dict[str, Any] = field(default_factory=dict)  # of the request body, where a request does not say

    def __post_init__(self):
        for name, least in (("price_in", 0), ("price_out", 0), ("retries", 0), ("backoff", 0), ("concurrency", 1),
                            ("max_tokens", 1)):
            if not least <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{self.name}: {name} is {getattr(self, name)}, expected at least {least}")
        for name in ("timeout", "rate"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{self.name}: {name} is {getattr(self, name)}, expected a number above 0")
        if self.max_tokens_key not in TOKEN_KEYS:
            raise ConfigError(f"{self.name}: max_tokens_key is {self.max_tokens_key}, expected one of "
                              f"{', '.join(TOKEN_KEYS)}")
        if self.prompt is not None and QUERY not in self.prompt:
            raise ConfigError(f"{self.name}: the prompt has no {QUERY}: say where the user's text goes")
        if not re.match("https?://.", self.api_base):
            raise ConfigError(f"{self.name}: api_base is {self.api_base!r}, expected http://... or https://...")
        if self.api_base.rstrip("/").endswith("/chat/completions"):
            raise ConfigError(f"{self.name}: api_base is {self.api_base!r}, expected what stands before "
                              "/chat/completions, which is added to it")
        self._check_parameters()
        self._check_extract()
        self._check_confidence()

    def _check_parameters(self) -> None:
        for key, why in (SET_BY | UNHELD).items():
            if key in self.parameters and (key, self.parameters[key]) != ("n", 1):
                raise ConfigError(f"{self.name}: parameters has {key}, which cannot be set there: {why}")
        try:
            json.dumps(self.parameters, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.name}: parameters cannot be sent as JSON ({error}): give finite numbers, texts, "
                              "lists and keys") from None

    def _check_extract(self) -> None:
        if self.extract is None:
            return
        try:
            groups = patterns.groups(self.extract)
        except ValueError as error:
            raise ConfigError(f"{self.name}: extract is no regular expression ({error})") from None
        if groups != 1:
            raise ConfigError(f"{self.name}: extract has {groups} groups, expected one, around the answer")

    def _check_confidence(self) -> None:
        if self.confidence not in (None, *WAYS):
            raise ConfigError(f"{self.name}: confidence is {self.confidence}, expected one of {', '.join(WAYS)}, or "
                              "nothing")
        if self.confidence_prompt is not None and self.confidence not in ASKED:
            raise ConfigError(f"{self.name}: confidence_prompt is given, but confidence is "
                              f"{self.confidence or 'not set'}, so that nothing is asked: set it to "
                              f"{' or '.join(ASKED)}, or remove the prompt")
        self.question()

    def question(self) -> str | None:
        """Return the prompt by which the model is asked how sure it is, None if it is not; raise `ConfigError`."""
        if self.confidence not in ASKED:
            return None
        try:
            return prompts.read("confidence_prompt", self.confidence_prompt, ASKED[self.confidence], PLACES)
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None

    def key(self) -> str | None:
        """Return the key from the environment, None where none is needed; raise `ConfigError` where it is missing."""
        if self.api_key_env is None:
            return None
        if not (key := os.environ.get(self.api_key_env, "").strip()):
            raise ConfigError(f"{self.name}: the environment variable {self.api_key_env} is not set: export the key "
                              f"of {self.api_base} in it")
        return key


def read(pool: str | Path) -> list[Endpoint]:
    """Return the endpoints in a pool file, by its path or the name of a preset in conf/pools.

    Raises `ConfigError` that names the entry and what is wrong with it.
    """
    path = _located(pool)
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        if not isinstance(found, dict) or list(found) != ["models"] or not isinstance(found["models"], list):
            got = f"the keys {', '.join(map(str, found))}" if isinstance(found, dict) else "no keys"
            raise ConfigError(f"expected one key, `models`, with a list of models, got {got}")
        endpoints = [_entry(number, one) for number, one in enumerate(found["models"], 1)]
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ConfigError(f"{path}{line}: this is no pool file ({str(error).splitlines()[0]})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    names = [one.name for one in endpoints]
    if not names:
        raise ConfigError(f"{path} names no model: give at least one under `models`")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path} names {', '.join(twice)} twice: give each model once")
    return endpoints


def _entry(number: int, found) -> Endpoint:
    """Return one entry of `models`; raise `ConfigError` that names it and the keys at fault."""
    if not isinstance(found, dict):
        raise ConfigError(f"entry {number} of `models` is {found!r}, expected keys with values")
    who = found["name"] if isinstance(found.get("name"), str) else f"entry {number} of `models`"
    known = {field.name: field.default for field in fields(Endpoint)}
    for key in (key for key in found if key not in known):
        near = ["api_key_env, the name of the variable that holds it"] if key == "api_key" else get_close_matches(
            str(key), known, 1)
        raise ConfigError(f"{who}: there is no key {key}{f': did you mean {near[0]}?' if near else ''}; the keys are "
                          f"{', '.join(known)}")
    if lacking := [key for key, default in known.items() if default is MISSING and found.get(key) is None]:
        raise ConfigError(f"{who} lacks {', '.join(lacking)}: every entry needs a name, a model, an api_base and its "
                          "prices in USD per million tokens, 0 if it is free")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Endpoint), found))
    except OmegaConfBaseException as error:
        key = str(error.full_key or "").split(".")[0]
        raise ConfigError(f"{who}: {key} is {found.get(key)!r} ({str(error).splitlines()[0]})") from None


def _located(pool: str | Path) -> Path:
    if (path := Path(pool)).is_file():
        return path
    if (preset := PRESETS / f"{pool}.yaml").is_file():
        return preset
    known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml"))) or "none"
    raise ConfigError(f"pool={pool} is neither a file nor a preset (presets: {known}): write one, see conf/pools")
