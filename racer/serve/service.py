"""From a request to its outcome: the router reads, models are called, one reply is returned or none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

import numpy as np

from racer.answers import ANSWER_KINDS
from racer.calibrations import Online
from racer.config import ServeConfig
from racer.consult import Consultation, Form, form_of
from racer.decision import Decision, decide, without_size
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.pool import CallFailed, Pool
from racer.pool.panel import Panel
from racer.serve import certified, fusion
from racer.serve.elect import elect
from racer.serve.forward import Forward
from racer.serve.guard import late
from racer.serve.outcome import Outcome, replaced
from racer.serve.request import Ask, Refused


@dataclass(frozen=True)
class Plan:
    """Who is to be asked: by the calibrated set (`decision`), or by the certified policy (`consultation`).

    `estimate` is what sets are made from, `spares` take the places of those who fail, `forward` are seconds.
    """

    estimate: Estimate
    spares: tuple[str, ...]
    forward: float
    decision: Decision | None = None
    consultation: Consultation | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """Who may be called, best first."""
        if self.decision is not None:
            return self.decision.members
        return tuple(self.consultation.certificate.models[m] for m in self.consultation.order)

    def record(self) -> dict:
        """Return the response of /v1/route."""
        if self.decision is not None:
            d = self.decision
            return {"members": list(d.members), "abstain": d.abstain, "probabilities": d.probabilities.tolist(),
                    "expected_cost": d.expected_cost, "certified": d.certified, "certificate": None}
        c, p = self.consultation, self.estimate.models[0]
        null = [] if c.certificate.policy is None else self.estimate.probabilities(
            c.certificate.policy.track.rule.null)[0, -1:].tolist()
        return {"members": list(self.members), "abstain": not self.members, "probabilities": [*p.tolist(), *null],
                "expected_cost": None, "certified": c.certified,
                "certificate": certified.told(c.certificate, c.certified)}


class Service:
    """A router, its pool, and what the settings say of them. Raises `ConfigError` if they do not fit each other.

    `count` is told of the calls of each query once they are over, however they ended.
    """

    def __init__(self, router, pool: Pool, settings: ServeConfig, count: Callable[[Panel], None]):
        self.router, self.pool, self.settings, self.count = router, pool, settings, count
        self.certificate = router.certificate if settings.policy == "auto" else None
        if self.certificate is not None and settings.aggregator != "best":
            raise ConfigError(f"aggregator={settings.aggregator}, but this run has a certificate, whose policy says "
                              "how answers are combined: add policy=sets to serve the calibrated sets, without it")
        if self.certificate is None and router.artifact is None:
            raise ConfigError("this run is not calibrated: run `python scripts/calibrate.py run=DIR` first")
        pool.check(router.models, tuple(filter(None, (settings.fallback, settings.fusion))))
        self.otherwise = None if self.certificate is None else self._check_confidence()
        self.prompt = fusion.prompt_of(settings.fusion_prompt)
        self.forward = Forward(router.estimate, settings.batch)

    def _check_confidence(self) -> str | None:
        """Return who is asked how sure it is in another way than was certified; raise `ConfigError` unless allowed."""
        heard = self.certificate.hears
        self.pool.check_confidence(heard)
        otherwise = self.pool.heard_otherwise(heard, self.certificate.ways)
        if otherwise and not self.settings.allow_uncertified:
            raise ConfigError("the certified vote hears how sure models are, and the pool file asks in another way "
                              f"({otherwise}): mend its key `confidence`, or set allow_uncertified=true, under which "
                              "no promise stands")
        return otherwise

    async def plan(self, ask: Ask, end: float) -> Plan:
        """Return who is to be asked; raise `Refused` if the query cannot be routed as it is."""
        try:
            async with asyncio.timeout_at(end):
                own, seconds = await self.forward.estimate(ask.text)
        except TimeoutError:
            raise late() from None
        try:
            return self._set(ask, own, seconds) if self.certificate is None else self._policy(ask, own, seconds)
        except ConfigError as error:  # the query lacks what the calibration asks for
            raise Refused(400, str(error), param="racer") from None

    async def complete(self, ask: Ask, plan: Plan, end: float) -> Outcome:
        """Return what came of the query; raise `Refused` where every model failed that was to be asked."""
        if self.settings.aggregator == "majority":
            self.kind_of(ask)  # before anything is paid for
        with self._panel(ask.body, end, plan.spares) as panel:
            if plan.consultation is not None:
                outcome = await self._consulted(ask, plan, panel)
            elif plan.decision.abstain:
                outcome = Outcome(panel, None, None, None, self._certified)
            else:
                await panel.ask_set(plan.members)
                outcome = await self._elected(ask, plan, panel)
        if outcome.reply is None:
            outcome.abstained = True
            if self.settings.fallback is not None:
                await self._fall_back(outcome, ask, end)
        outcome.forward, outcome.show_replies = plan.forward, ask.replies
        outcome.show_logprobs = bool(ask.body.get("logprobs"))
        return outcome

    def passes_through(self, ask: Ask, plan: Plan) -> bool:
        """Return whether the reply is streamed as it comes: one model is asked, and nothing is done with its answer."""
        compared = self.settings.aggregator == "majority"
        return ask.stream and plan.decision is not None and len(plan.members) == 1 and not compared

    @asynccontextmanager
    async def stream(self, ask: Ask, plan: Plan, end: float) -> AsyncIterator[tuple[Outcome, AsyncIterator[dict]]]:
        """Give the outcome, which is whole when the stream has ended, and its chunks; raise `Refused` like `complete`.

        Chunks raise `CallFailed` if the stream breaks. On leaving, the call ends, however far it is.
        """
        with self._panel(ask.body, end, plan.spares) as panel:
            async with aclosing(panel.stream(plan.members[0])) as chunks:
                try:
                    first = await anext(chunks)
                except CallFailed:
                    raise failed(panel) from None
                model = panel.called[-1]
                confidence = float(plan.estimate.models[0, self.router.models.index(model)])
                yield Outcome(panel, None, model, confidence, self._stands(panel),
                              forward=plan.forward), _after(first, chunks)

    def kind_of(self, ask: Ask) -> str:
        """Return the kind of answers that a majority compares; raise `Refused` if nobody said it."""
        if (kind := ask.kind or self.settings.kind) is None:
            raise Refused(400, "a majority compares final answers, and free texts are hardly ever equal: say "
                          "racer.kind, one of " + ", ".join(ANSWER_KINDS), param="racer.kind")
        return kind

    def close(self) -> None:
        self.forward.close()

    @contextmanager
    def _panel(self, body: dict, end: float, spares: tuple[str, ...] = (), ours: bool = False) -> Iterator[Panel]:
        panel = Panel(self.pool, body, end, list(spares), ours)
        try:
            yield panel
        finally:
            self.count(panel)

    @property
    def _certified(self) -> bool:
        """Whether the run promises anything here: a cut that must move with the losses seen (`online`) stands still."""
        moves = self.certificate is None and isinstance(self.router.artifact.calibration, Online)
        return self.router.uncertified is None and self.otherwise is None and not moves

    def _stands(self, panel: Panel) -> bool:
        return self._certified and not panel.failed

    def _set(self, ask: Ask, own: Estimate, seconds: float) -> Plan:
        artifact, known = self.router.artifact, {"task": self.settings.task} | ask.known
        known = {name: [value] for name, value in known.items() if value is not None}
        [decision] = decide(own, artifact, known, self._certified)
        return Plan(artifact.rule.estimate(own), decision.spares, seconds, decision=decision)

    def _policy(self, ask: Ask, own: Estimate, seconds: float) -> Plan:
        found = Consultation(self.certificate, own, self._form(ask), self._certified)
        spares = ()
        if (policy := self.certificate.policy) is not None:
            s = without_size(policy.track.rule, found.estimate)[0, :-1]
            spares = tuple(self.router.models[m] for m in np.argsort(s, kind="stable")
                           if s[m] < np.inf and m not in found.order)
        return Plan(found.estimate, spares, seconds, consultation=found)

    def _form(self, ask: Ask) -> Form:
        """Return the form of the answers: as the request says, else the settings, else by a guess."""
        said = ask.known.get("task")
        kind = ask.kind or (self.settings.kind if said is None else None)
        return form_of(self.certificate, ask.text, said or self.settings.task, kind, ask.options, guess=True)

    async def _consulted(self, ask: Ask, plan: Plan, panel: Panel) -> Outcome:
        consultation = plan.consultation
        sure = await certified.consult(consultation, panel, ask.text)
        if panel.called and not panel.replies:
            raise failed(panel)
        answer, stands = consultation.answer, consultation.certified and not panel.failed
        model = None if answer.abstain else self.router.models[int(consultation.vote.model[0])]
        form, notes = consultation.form, {} if sure is None else {"confidences": sure}
        notes |= {"guessed_kind": form.kind} if form.guessed else {}
        notes |= {} if form.other is None else {"uncertified": form.other}
        return Outcome(panel, panel.replies.get(model), model, answer.confidence, stands,
                       certified.told(self.certificate, stands), answer.answer, notes=notes)

    async def _elected(self, ask: Ask, plan: Plan, panel: Panel) -> Outcome:
        if not panel.replies:
            raise failed(panel)
        beside = []
        if self.settings.aggregator == "fusion" and len(panel.replies) > 1:
            request = fusion.request(self.prompt, ask.text, panel)
            side = await self._aside(self.settings.fusion, request, panel.end, ours=True)
            reason = side.failed[0].error.reason if side.failed else None
            beside, notes = [side], {"fusion": {"model": self.settings.fusion, "failed": reason}}
            if reply := side.replies.get(self.settings.fusion):
                return Outcome(panel, reply, reply.model, None, self._stands(panel), notes=notes, beside=beside)
        else:
            notes = {}
        majority = self.settings.aggregator == "majority"
        model, confidence, answer = elect("majority" if majority else "best", panel, self.router.models, plan.estimate,
                                          self.kind_of(ask) if majority else None, ask.options or 0)
        return Outcome(panel, panel.replies.get(model), model, confidence, self._stands(panel), answer=answer,
                       notes=notes, beside=beside)

    async def _aside(self, name: str, body: dict, end: float, ours: bool = False) -> Panel:
        """Return the panel of one call that is not the set's."""
        with self._panel(body, end, ours=ours) as side:
            await side.ask_set([name])
        return side

    async def _fall_back(self, outcome: Outcome, ask: Ask, end: float) -> None:
        name = self.settings.fallback
        side = await self._aside(name, ask.body, end)
        outcome.beside.append(side)
        outcome.stands_no_more()
        if not side.replies:
            raise failed(side, outcome)
        outcome.reply, outcome.model, outcome.confidence, outcome.answer = side.replies[name], name, None, None
        outcome.notes = outcome.notes | {"fallback": name}


async def _after(first: dict, rest: AsyncIterator[dict]) -> AsyncIterator[dict]:
    yield first
    async for chunk in rest:
        yield chunk


def failed(panel: Panel, outcome: Outcome | None = None) -> Refused:
    """Return what to tell where no model of a panel replied; `outcome` is what there was before a fallback."""
    errors = [one.error for one in panel.failed]
    words = "; ".join(f"{one.model}: {one.error.reason}" for one in panel.failed)
    beside = {"racer": outcome.record() if outcome is not None else {
        "members": panel.called, "abstained": False, "confidence": None, "certificate": None,
        "cost_usd": panel.bill.usd, "promise_stands": False, "replaced": replaced(panel)}}
    status, kind = 502, "upstream_error"
    if all(error.refused for error in errors):
        status, kind = 400, "invalid_request_error"
    elif all(error.capped for error in errors):
        status, kind = 402, "spend_cap_reached"
    elif panel.left <= 0:
        status, kind = 504, "timeout_error"
    return Refused(status, f"no model replied ({words})", kind, beside=beside)
