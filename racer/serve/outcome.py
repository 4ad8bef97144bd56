"""What came of one query: whose reply is returned and why, or that none is."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from racer.pool.member import Reply
from racer.pool.panel import Panel


@dataclass
class Outcome:
    """The reply that is returned, None if abstained, and all that is told beside it.

    `model` gave the reply. `confidence` in [0, 1] that it is right, None where nobody knows (fusion, fallback).
    `promise_stands`: the calls were those that the promise is about, none failed, and the reply is no fallback's.
    `answer` is what was compared with other answers. `beside` are calls for other purposes than the set's: fusion,
    fallback. `uncertified` says why the run promises nothing for this query, None if it does.
    """

    panel: Panel
    reply: Reply | None
    model: str | None
    confidence: float | None
    promise_stands: bool
    certificate: dict | None = None
    answer: str | None = None
    abstained: bool = False
    notes: dict = field(default_factory=dict)
    beside: list[Panel] = field(default_factory=list)
    forward: float = 0.0  # seconds
    uncertified: str | None = None
    show_replies: bool = False
    show_logprobs: bool = False

    def stands_no_more(self) -> None:
        """Say of promise and certificate that they do not stand."""
        self.promise_stands = False
        if self.certificate is not None:
            self.certificate = self.certificate | {"stands": False}

    @property
    def logprobs(self):
        """The log-probabilities of the reply's tokens, if the client asked for them."""
        return self.reply.logprobs if self.show_logprobs and self.reply is not None else None

    @property
    def upstream(self) -> float:
        """Seconds with calls under way."""
        return self.panel.seconds + sum(panel.seconds for panel in self.beside)

    @property
    def usd(self) -> float:
        return self.panel.bill.usd + sum(panel.bill.usd for panel in self.beside)

    def all_replies(self) -> Iterator[Reply]:
        for panel in (self.panel, *self.beside):
            yield from panel.replies.values()
            yield from panel.remarks

    def record(self) -> dict:
        """Return the object `racer` of a completion."""
        shown = {} if self.uncertified is None else {"uncertified": self.uncertified}
        if self.show_replies:
            shown["replies"] = {name: reply.text for name, reply in self.panel.replies.items()}
        return {"members": list(self.panel.called), "abstained": self.abstained, "confidence": self.confidence,
                "certificate": self.certificate, "cost_usd": self.usd, "promise_stands": self.promise_stands,
                "answered_by": self.model, "answer": self.answer, "replaced": replaced(self.panel), **self.notes,
                **shown}


def replaced(panel: Panel) -> list[dict]:
    """Return who failed, or could not be asked how sure it is, why, and who took the place."""
    return [{"model": f.model, "by": panel.took_over(f), "reason": f.error.reason} for f in panel.failed]
