"""A base LLM on this machine that completes a prompt with solved examples, one line at a time."""

import threading
from pathlib import Path

import numpy as np

from racer.errors import ConfigError
from racer.serve.endpoint import Said

QUERY = "{query}"
INSTALL = "pip install -r requirements-local.lock (or racer[local]); llama-cpp-python is built for some minutes"


class TooLong(ValueError):
    """The prompt with the query does not fit the model's context."""


class LanguageModel:
    """A GGUF model with a prompt, the most likely token at each step, up to `stop`.

    What stands before {query} is read once: its keys and values stay, and each query costs its own tokens only. They
    count as read all the same, as they do where prompts are paid for.
    """

    def __init__(self, weights: Path, prompt: str, stop: str = "\n", threads: int = 1, context: int = 512):
        Llama = _library()
        if prompt.count(QUERY) != 1 or not stop:
            raise ConfigError(f"the prompt has {prompt.count(QUERY)} times {QUERY} and stop is {stop!r}: one place for "
                              "the question and a text that ends an answer are needed")
        try:
            self._llama = Llama(model_path=str(weights), n_ctx=context, n_threads=threads, n_threads_batch=threads,
                                verbose=False)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"{weights} cannot be loaded ({error}): is it a GGUF file of a text generator?") from None
        self._prompt, self._stop, self._context, self._lock = prompt, stop, context, threading.Lock()
        self._prefix = self._tokens(prompt.split(QUERY)[0].rstrip())  # a blank belongs to the token after it
        if len(self._prefix) >= context:
            raise ConfigError(f"the prompt takes {len(self._prefix)} tokens and context={context} leaves no room for a "
                              "query: raise context or shorten the prompt")
        self._read_prefix()

    def say(self, query: str, max_tokens: int, logprobs: bool = False) -> Said:
        """Return the line that the model adds; raise `TooLong` if prompt, query and `max_tokens` exceed the context.

        With `logprobs` those of all tokens written are told, of the one that ended the line too: that takes time, a
        sum over the vocabulary for each.
        """
        tokens = self._tokens(self._prompt.replace(QUERY, query))
        if len(tokens) + max_tokens > self._context:
            raise TooLong(f"{len(tokens)} tokens of prompt and query and {max_tokens} of an answer are more than the "
                          f"context of {self._context}")
        with self._lock:
            self._read(tokens)
            return self._write(len(tokens), max_tokens, logprobs)

    def close(self) -> None:
        self._llama.close()

    def _tokens(self, text: str) -> list[int]:
        return self._llama.tokenize(text.encode())

    def _read_prefix(self) -> None:
        self._llama.reset()
        self._llama.eval(self._prefix)
        self._prefix_is_read = True

    def _read(self, tokens: list[int]) -> None:
        """Evaluate a prompt, from the end of the prefix on where it begins so: always in the same pieces."""
        n = len(self._prefix)
        if tokens[:n] != self._prefix or len(tokens) == n:  # the query changed how the end of the prefix is cut up
            self._prefix_is_read, n = False, 0
            self._llama.reset()
        elif not self._prefix_is_read:
            self._read_prefix()
        self._llama.n_tokens = n  # forget the last query; eval clears what lies behind it
        self._llama.eval(tokens[n:])

    def _write(self, tokens_in: int, max_tokens: int, logprobs: bool) -> Said:
        written: list[int] = []
        text, stop, told = b"", self._stop.encode(), []
        while len(written) < max_tokens:
            token = self._llama.sample(temp=0.0)
            ends = token == self._llama.token_eos()
            piece = b"" if ends else self._llama.detokenize([token], prev_tokens=written)
            written.append(token)
            if logprobs:
                told.append((piece.decode(errors="replace"), self._logprob(token)))
            if ends:
                break
            text += piece
            if stop in text.lstrip():  # an answer does not begin with its end
                break
            self._llama.eval([token])
        said, ended, _ = text.lstrip().partition(stop)
        cut = not ended and written[-1] != self._llama.token_eos()
        told = tuple(told) if logprobs else None
        return Said(said.decode(errors="ignore").strip(), tokens_in, len(written), cut, told)

    def _logprob(self, token: int) -> float:
        """Return the log-probability that the model gave to a token in the next place."""
        logits = np.ctypeslib.as_array(self._llama._ctx.get_logits_ith(-1), shape=(self._llama.n_vocab(),))  # (V,)
        over = logits.astype(np.float64) - logits.max()
        return float(over[token] - np.log(np.exp(over).sum()))


def _library() -> type:
    try:
        from llama_cpp import Llama
    except ImportError:
        raise ConfigError(f"llama-cpp-python, which runs the LLM, is not installed: {INSTALL}") from None
    return Llama
