"""Answering one query by a certified policy: whom to call next and, from what they said, the answer or an abstention.

Nothing here calls a model: the caller does, and tells what came back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from racer.answers import codes_of
from racer.ballots import Vote
from racer.certificate import Certificate
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.letters import options_in
from racer.sequential import call

NONE_CERTIFIED = "no policy was certified for this run"
Told = str | None | tuple[str | None, float | None]  # what a model answered; or that, and how sure it is


@dataclass(frozen=True)
class Answer:
    """What is returned for one query.

    `answer` is verbatim one of the called models' answers, None if `abstain`. `confidence` in [0, 1] is the vote's.
    `called` are the models that were called, first to last. `expected_cost` is in USD: what these were expected to cost
    for this query, or their mean cost on the train split under `sets.costs=mean`; None where prices are unknown.
    `certified`: the promises of the certificate hold for this router and an answer of this form.
    """

    answer: str | None
    confidence: float
    abstain: bool
    called: tuple[str, ...]
    expected_cost: float | None
    certified: bool = True


@dataclass(frozen=True)
class Form:
    """What the answers to a query are: their `kind`, and the number of possible ones (`options`, 0 where that is open).

    `guessed`: nobody said the kind. `other` says why the certificate promises nothing for it, None if it does.
    """

    kind: str
    options: int
    guessed: bool = False
    other: str | None = None


class Consultation:
    """One query under way: `next` says whom to call, `tell` takes what they said, `answer` comes when nobody is next.

    `hears` names the models that are also to be asked how sure they are of their answers: the vote counts it.
    `estimate` is what the router says of this one query, `form` what its answers are; `certified` as in `Answer`,
    `other` why the certificate promises nothing for this query, None if it does.
    """

    def __init__(self, certificate: Certificate, estimate: Estimate, form: Form, certified: bool = True):
        self.certificate, self.estimate, self.form = certificate, estimate, form
        self.other = form.other if certificate.policy is not None else NONE_CERTIFIED
        self.certified, m = certified and self.other is None, len(certificate.models)
        self.order, self.members = np.zeros(0, dtype=int), np.zeros((1, m), dtype=bool)
        self.texts, self.told = np.full((1, m), None, dtype=object), np.zeros((1, m), dtype=bool)
        self.sure, self.hears = np.full((1, m), np.nan), certificate.hears
        if (policy := certificate.policy) is not None:
            self.estimate = policy.track.rule.estimate(estimate)
            self.s = policy.track.of_estimate(self.estimate)
            self.order = np.argsort(self.s[0, :-1], kind="stable")[:policy.limits(self.s)[0]]
            self.members[0, self.order] = True
        self._judge()

    def tell(self, said: Mapping[str, str | None], confidence: Mapping[str, float | None] | None = None) -> None:
        """Take the answers of models that are `next`, verbatim, by name; None where a call gave none.

        `confidence`: how sure those of `hears` are themselves, in [0, 1]; None where one does not say. Raises
        `ConfigError` for a model that is not next, for a confidence outside [0, 1], or if one that is heard is missing.
        """
        confidence = confidence or {}
        if strange := [name for name in confidence if name not in said]:
            raise ConfigError(f"a confidence of {', '.join(strange)} came without an answer: tell both at once")
        for name, text in said.items():
            if name not in self.next:
                raise ConfigError(f"{name} is not to be called now; next: {', '.join(self.next) or 'nobody'}")
            if text is not None and name in self.hears and name not in confidence:
                raise ConfigError(f"the certified vote hears how sure {name} is of its answer: give that too, a number "
                                  "in [0, 1] obtained as for the recorded answers, or None if it does not say")
            sure, column = confidence.get(name), self.certificate.models.index(name)
            if sure is not None and not 0 <= sure <= 1:
                raise ConfigError(f"the confidence of {name} is {sure}, expected a number in [0, 1], or None")
            self.texts[0, column], self.told[0, column] = text, True
            self.sure[0, column] = np.nan if sure is None else sure
        self._judge()

    def substitute(self, failed: str, by: str) -> None:
        """Let a model that is not of the policy's choice take the place of a member that failed, last in order.

        The vote is then not about the member that failed, and what the policy promises no longer known. Raises
        `ConfigError` if the one is a member already, or the other is none.
        """
        out, column = (self.certificate.models.index(name) for name in (failed, by))
        if self.members[0, column] or not self.members[0, out]:
            raise ConfigError(f"{by} cannot take the place of {failed}: that must be a member, it must not")
        self.s[0, column] = np.nextafter(self.s[0, :-1][self.members[0]].max(), np.inf)
        self.order = np.append(self.order, column)
        self.members[0, out], self.members[0, column] = False, True
        self._judge()

    @property
    def answer(self) -> Answer | None:
        """The outcome, None while models are yet to be called."""
        if self.next:
            return None
        models, policy = self.certificate.models, self.certificate.policy
        called = [m for m in self.order.tolist() if self.told[0, m]]
        prices = None if policy is None else policy.track.rule.prices_of(self.estimate.cost)
        cost = None if prices is None else float(np.broadcast_to(prices, self.told.shape)[0, called].sum())
        model, confidence = int(self.vote.model[0]), float(self.vote.confidence[0])
        given = policy is not None and model >= 0 and confidence >= policy.threshold
        return Answer(self.texts[0, model] if given else None, confidence, not given,
                      tuple(models[m] for m in called), cost, self.certified)

    def _judge(self) -> None:
        """Find out who is next, and if nobody is, the vote."""
        policy, who = self.certificate.policy, self.members
        self.vote = Vote(np.array([-1]), np.zeros(1))
        if self.members.any():
            votes, estimate = self.certificate.aggregator, replace(self.estimate, own_confidence=self.sure)
            known = codes_of(self.texts, [self.form.kind]), np.array([self.form.options]), estimate
            if policy.calling == "parallel":
                self.vote = votes.vote(self.members, *known)
            else:  # those who have said nothing yet are not read before they are called
                bet = policy.threshold if policy.calling == "sequential" else np.inf
                found = call(self.s, self.members, votes, *known, policy.threshold, bet)
                who, self.vote = found.called, found.vote
        waiting = [m for m in self.order.tolist() if who[0, m] and not self.told[0, m]]
        waiting = waiting if policy is None or policy.calling == "parallel" else waiting[:1]
        self.next = tuple(self.certificate.models[m] for m in waiting)


def form_of(certificate: Certificate, text: str, task: str | None = None, kind: str | None = None,
            options: int | None = None, guess: bool = False) -> Form:
    """Return the form of the answers to a query, from its text, its task, and what who asks says of them.

    A choice has as many options as the text lists, else as most queries of its task. Where the kind or the options said
    are not those, or the task was not certified, nothing is promised. Where nobody says the kind and tasks differ, it
    may be guessed, without a promise: a query that lists options is a choice, if some task is one, else it is taken for
    `text`, under which two answers are most rarely equal: agreement is missed rather than imagined.
    Raises `ConfigError` if the kind is not said and the task unknown, or several kinds possible and no `guess` wanted.
    """
    tasks = _on_record(certificate, task, kind)
    kinds = sorted({one["kind"] for one in tasks})
    guessed = kind is None and len(kinds) > 1
    if guessed and not guess:
        raise ConfigError(f"the tasks of this run have answers of several kinds ({', '.join(kinds)}): say which, by "
                          "task= or kind=")
    if kind is None:
        kind = _guess(kinds, text) if guessed else kinds[0]
    usual = [one["options"] for one in tasks if one["kind"] == kind]
    listed = options_in(text) if kind == "choice" else 0
    known = {listed} if listed else set(usual)
    found = options if options is not None else listed or max(known, key=usual.count, default=0)
    other = None
    if guessed:
        other = "nobody said what kind of answer it has"
    elif task is not None and not tasks:
        other = f"the task {task!r} was not certified"
    elif not usual:
        other = f"answers of kind {kind} were not certified for it"
    elif found not in known:
        other = f"{' or '.join(map(str, sorted(known)))} options were expected, not {found}"
    elif options is None and len(known) > 1:
        other = "it lists no options, and neither their number was said nor the task"
    return Form(kind, found, guessed, other)


def _on_record(certificate: Certificate, task: str | None, kind: str | None) -> list[dict]:
    """Return kind and options of the task, or of all tasks that it may be."""
    if task is None:
        return list(certificate.tasks.values())
    if task not in certificate.tasks and kind is None:
        raise ConfigError(f"task {task!r} was not certified, known are {', '.join(certificate.tasks)}: give one of "
                          "these, or kind= and options=")
    return [certificate.tasks[task]] if task in certificate.tasks else []


def _guess(kinds: list[str], text: str) -> str:
    return "choice" if "choice" in kinds and options_in(text) else "text"


def carry_out(consultation: Consultation, ask: Callable[[str], Told]) -> Answer:
    """Return the answer, calling `ask(model)` for each model whose turn it is.

    It returns what the model answered, or a pair of that and of how sure it is, which the models in `hears` must give.
    """
    while consultation.next:
        name = consultation.next[0]
        told = ask(name)
        if isinstance(told, tuple):
            consultation.tell({name: told[0]}, {name: told[1]})
        else:
            consultation.tell({name: told})
    return consultation.answer
