"""The aggregator `fusion`: a model reads what the members answered and writes one answer.

What it writes need not be any member's answer: it may be right where all of them are wrong, and wrong where all are
right. No vote and no certificate covers it, and its confidence is not known.
"""

import re
from pathlib import Path

from racer.errors import ConfigError
from racer.pool.panel import Panel

PROMPT = Path(__file__).parents[2] / "conf" / "fusion.txt"
PLACES = ("{query}", "{answers}")


def prompt_of(path: str | None) -> str:
    """Return the prompt in a file, by default conf/fusion.txt; raise `ConfigError` if a place is missing in it."""
    path = Path(path) if path else PROMPT
    if not path.is_file():
        raise ConfigError(f"fusion_prompt={path} is no file: give a text file with {' and '.join(PLACES)} in it")
    text = path.read_text(encoding="utf-8")
    if lacking := [place for place in PLACES if place not in text]:
        raise ConfigError(f"the fusion prompt {path} has no {' and no '.join(lacking)}: say where they go")
    return text


def request(prompt: str, query: str, panel: Panel) -> dict:
    """Return the request body for the model that fuses: the prompt, filled; parameters are those of its pool entry.

    Members are numbered, not named, so that no name tips the scale.
    """
    texts = [panel.replies[name].text for name in panel.called if name in panel.replies]
    answers = "\n\n".join(f"<answer {i}>\n{text}\n</answer {i}>" for i, text in enumerate(texts, 1))
    parts = {"{query}": query, "{answers}": answers}
    filled = re.sub("|".join(map(re.escape, parts)), lambda place: parts[place[0]], prompt)  # once: texts stay as is
    return {"messages": [{"role": "user", "content": filled}]}
