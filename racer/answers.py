"""What the models answered, and which answers are the same.

Votes only ask which answers of one query are equal, so each answer becomes a code. Texts are compared after
normalisation, by the kind of the task: a wrong "not equal" costs a vote some agreement, a wrong "equal" lets a wrong
answer speak for a right one, so normalisation removes only what never tells two answers of one query apart.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from racer import numerals
from racer.errors import TableError
from racer.letters import LETTER, letter_in, opening, options_in
from racer.table import OutcomeTable

ANSWER_KINDS = ("choice", "number", "text", "code")
MOSTLY = 0.9  # share of a task's answers that must look like a kind for the task to be of it
STRAY = 0.01  # share of letters past the options that a choice task may have

WRAPPED = re.compile(r"([\"'`*])(?P<q>.+)\1|\u201c(?P<r>.+)\u201d|\u2018(?P<s>.+)\u2019", re.DOTALL)
ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)", re.IGNORECASE)
FENCE = re.compile(r"\s*```[^\n]*\n(.*?)\n?```\s*", re.DOTALL)
CODE = re.compile(r"```|^\s*(?:def|class|import|from|return|function|#include|public|int|void)\b[^\n]*[(:;<{]",
                  re.MULTILINE)
CLOSING = ".,;: "


@dataclass(frozen=True)
class Answers:
    """What M models answered to n queries."""

    texts: np.ndarray  # (n, M) object: verbatim, None where a model gave none
    codes: np.ndarray  # (n, M) int64: the first column of the query with an equal answer; -1: none
    options: np.ndarray  # (n,) int64: how many answers are possible, 0 where that is open
    confidence: np.ndarray | None = None  # (n, M) float64 in [0, 1]: of each model in its own; NaN: unknown

    @classmethod
    def of_table(cls, table: OutcomeTable) -> "Answers | None":
        """Return the answers of a table, None if it has none.

        Kinds are those of `kinds_of`. A choice query has as many options as its text lists, or where it lists none,
        as many as the task's answers on train rows span.
        """
        if table.answers is None:
            return None
        kinds = kinds_of(table)
        of_row = np.array([kinds[task] for task in table.task], dtype=object)
        options = np.zeros(len(table.ids), dtype=np.int64)
        for task in (task for task, kind in kinds.items() if kind == "choice"):
            rows = np.flatnonzero(table.task == task)
            listed = np.array([options_in(query) for query in table.queries[rows]], dtype=np.int64)
            spanned = _span(table.answers[rows[table.split[rows] == "train"]])
            options[rows] = np.where(listed > 0, listed, spanned)
        return cls(table.answers, codes_of(table.answers, of_row), options, table.confidence)

    def take(self, rows: np.ndarray) -> "Answers":
        """Return the answers of these rows (numbers or a mask), in their order."""
        confidence = None if self.confidence is None else self.confidence[rows]
        return Answers(self.texts[rows], self.codes[rows], self.options[rows], confidence)


def codes_of(texts: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Return codes (n, M) int64 of `texts` (n, M): the first column whose answer is equal by the row's kind; -1: none.

    A blank text is no answer. Rows know nothing of each other.
    """
    n, m = texts.shape
    cells = list(zip(np.repeat(np.asarray(kinds, dtype=object), m), texts.ravel(), strict=True))
    normal = {cell: None if cell[1] is None or not cell[1].strip() else normalise(cell[1], cell[0])
              for cell in dict.fromkeys(cells)}
    numbers = {form: i for i, form in enumerate(dict.fromkeys(form for form in normal.values() if form is not None))}
    numbers[None] = -1
    code = np.array([numbers[normal[cell]] for cell in cells], dtype=np.int64).reshape(n, m)
    first = (code[:, :, None] == code[:, None, :]).argmax(axis=2)
    return np.where(code < 0, -1, first)


def kinds_of(table: OutcomeTable) -> dict[str, str]:
    """Return the kind of answer of each task, one of ANSWER_KINDS.

    The card's `answer_kinds` (task -> kind) goes first. Else a task is of the kind that MOSTLY all of its answers on
    train rows look like; `text`, which fits anything, if there is none.
    """
    said = table.card.get("answer_kinds") or {}
    tasks = np.unique(table.task.astype(str)).tolist()
    if not isinstance(said, dict) or (wrong := {task: kind for task, kind in said.items()
                                                if kind not in ANSWER_KINDS}):
        raise TableError(f"card.json, answer_kinds: {wrong if isinstance(said, dict) else said!r}, expected tasks "
                         f"with one of {', '.join(ANSWER_KINDS)} each: mend the card")
    train = table.split == "train"
    return {task: said.get(task) or _looks_like(table.answers[train & (table.task == task)]) for task in tasks}


def normalise(text: str, kind: str) -> str:
    """Return the normal form of an answer: equal forms are equal answers. It is empty only for an empty text.

    `choice`: the letter, if the text says one ("(b)", "B. Paris", "The answer is B"), else as `text`.
    `number`: the number exactly, without currency, thousands separators and percent sign ("$1,200.50" is 2401/2, as is
    "\\frac{2401}{2}"; what follows it stays: "5 km" is not "5 m"), else as `text`.
    `text`: without case, outer quotes, closing punctuation and a leading article that something follows: "A" stays.
    `code`: without a surrounding fence, trailing blanks and empty lines. Programs that differ in a name count as
    different. To compare programs by what they do, let the table's answer be their output on tests that are known
    when the query comes; the hidden tests are the score itself.
    """
    forms = {"choice": _choice, "number": _number, "text": _text, "code": _code}
    if kind not in forms:
        raise TableError(f"the kind of an answer is {kind!r}, expected one of {', '.join(ANSWER_KINDS)}")
    text = unicodedata.normalize("NFC", text)
    return forms[kind](text) or text


def number_in(text: str) -> tuple[Fraction, str] | None:
    """Return the number that a text is, and its unit in lower case ("" for none); None if it is no single number."""
    return numerals.read(_text(numerals.plain(numerals.BOXED.sub(r"\1", text))))


def _choice(text: str) -> str:
    return letter_in(text) or _text(text)


def _text(text: str) -> str:
    bare = " ".join(text.split()).rstrip(CLOSING)
    while wrapped := WRAPPED.fullmatch(bare):
        bare = wrapped[wrapped.lastgroup].strip().rstrip(CLOSING)
    return ARTICLE.sub("", bare, count=1).casefold() if ARTICLE.match(bare) else bare.casefold()


def _number(text: str) -> str:
    found = number_in(text)
    return _text(text) if found is None else f"{found[0]} {found[1]}".strip()


def _code(text: str) -> str:
    inside = FENCE.fullmatch(text)
    lines = (inside[1] if inside else text).split("\n")
    return "\n".join(stripped for line in lines if (stripped := line.rstrip()))


def _looks_like(answers: np.ndarray) -> str:
    texts = [text for text in answers.ravel() if text is not None and text.strip()]
    looks = {"choice": lambda t: LETTER.fullmatch(t) or opening(t), "number": number_in, "code": CODE.search}
    for kind, fits in looks.items():
        if texts and sum(map(bool, map(fits, texts))) >= MOSTLY * len(texts):
            return kind
    return "text"


def _span(answers: np.ndarray) -> int:
    """Return how many letters from A on all but a STRAY share of the answers span; 0 without letters."""
    normal = [normalise(text, "choice") for text in answers.ravel() if text is not None]
    counts = np.bincount([ord(t) - ord("A") for t in normal if re.fullmatch("[A-Z]", t)], minlength=26)
    if not counts.any():
        return 0
    return int(np.searchsorted(np.cumsum(counts), (1 - STRAY) * counts.sum()) + 1)
