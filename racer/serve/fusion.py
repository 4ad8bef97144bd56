"""The aggregator `fusion`: a model reads what the members answered and writes one answer.

What it writes need not be any member's answer: it may be right where all of them are wrong, and wrong where all are
right. No vote and no certificate covers it, and its confidence is not known.
"""

from racer import prompts
from racer.pool.panel import Panel

PLACES = ("{query}", "{answers}")


def prompt_of(path: str | None) -> str:
    """Return the prompt in a file, by default conf/fusion.txt; raise `ConfigError` if a place is missing in it."""
    return prompts.read("fusion_prompt", path, "fusion.txt", PLACES)


def request(prompt: str, query: str, panel: Panel) -> dict:
    """Return the request body for the model that fuses: the prompt, filled; parameters are those of its pool entry.

    Members are numbered, not named, so that no name tips the scale.
    """
    texts = [panel.replies[name].text for name in panel.called if name in panel.replies]
    answers = "\n\n".join(f"<answer {i}>\n{text}\n</answer {i}>" for i, text in enumerate(texts, 1))
    return prompts.request(prompt, {"{query}": query, "{answers}": answers})
