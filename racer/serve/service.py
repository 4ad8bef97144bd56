"""From a request to its outcome: the router reads, models are called, one reply is returned or none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass

import numpy as np

from racer.answers import ANSWER_KINDS
from racer.calibrations import Online
from racer.config import ServeConfig
from racer.consult import NONE_CERTIFIED, Consultation, Form, form_of
from racer.decision import Decision, decide, without_size
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.pool import CallFailed, Pool
from racer.pool.panel import Panel
from racer.serve import certified, fusion
from racer.serve.elect import elect
from racer.serve.forward import Forward
from racer.serve.guard import late
from racer.serve.outcome import Outcome
from racer.serve.request import Ask, Refused


@dataclass(frozen=True)
class Plan:
    """Who is to be asked: by the calibrated set (`decision`), or by the certified policy (`consultation`).

    `estimate` is what sets are made from, `spares` take the places of those who fail, `forward` are seconds.
    `null` is that of the sets. `uncertified` says why the run promises nothing for this query, None if it does.
    """

    estimate: Estimate
    null: str
    spares: tuple[str, ...]
    forward: float
    uncertified: str | None
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
        why = {} if self.uncertified is None else {"uncertified": self.uncertified}
        if self.decision is not None:
            d = self.decision
            return {"members": list(d.members), "abstain": d.abstain, "probabilities": d.probabilities.tolist(),
                    "expected_cost": d.expected_cost, "certified": d.certified, "certificate": None, **why}
        c, stands = self.consultation, self.uncertified is None
        return {"members": list(self.members), "abstain": not self.members,
                "probabilities": self.estimate.probabilities(self.null)[0].tolist(), "expected_cost": None,
                "certified": stands, "certificate": certified.told(c.certificate, stands), **why}


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
        if settings.task is not None and self.certificate is not None:
            form_of(self.certificate, "", settings.task, settings.kind)
        self.uncertified = router.uncertified or self._check_confidence() or self._check_cut()
        self.prompt = fusion.prompt_of(settings.fusion_prompt)
        self.forward = Forward(router.estimate, settings.batch)

    def _check_confidence(self) -> str | None:
        """Return who is asked how sure it is in another way than was certified; raise `ConfigError` unless allowed."""
        if self.certificate is None:
            return None
        heard = self.certificate.hears
        self.pool.check_confidence(heard)
        otherwise = self.pool.heard_otherwise(heard, self.certificate.ways)
        if otherwise and not self.settings.allow_uncertified:
            raise ConfigError("the certified vote hears how sure models are, and the pool file asks in another way "
                              f"({otherwise}): mend its key `confidence`, or set allow_uncertified=true, under which "
                              "no promise stands")
        return otherwise and f"models are asked how sure they are in another way than was certified: {otherwise}"

    def _check_cut(self) -> str | None:
        if self.certificate is None and isinstance(self.router.artifact.calibration, Online):
            return "the cut of risk.method=online must move with every loss seen, and none is fed back here"
        return None

    def remarks(self) -> list[str]:
        """Return what who serves should know: why nothing, or not everything, that is asked is under a promise."""
        if self.uncertified is not None:
            return [f"nothing is promised: {self.uncertified}"]
        if self.certificate is None:
            return []
        if self.certificate.policy is None:
            return [f"{NONE_CERTIFIED}: every query is abstained on. Certify with promises that can be kept, or serve "
                    "the calibrated sets by policy=sets"]
        kinds = sorted({one["kind"] for one in self.certificate.tasks.values()})
        if len(kinds) > 1 and self.settings.kind is None and self.settings.task is None:
            return [f"answers are of several kinds ({', '.join(kinds)}): requests that say neither racer.task nor "
                    "racer.kind are under no promise; task= or kind= say it for all"]
        return []

    async def plan(self, ask: Ask, end: float) -> Plan:
        """Return who is to be asked; raise `Refused` if the query cannot be routed as it is."""
        try:
            async with asyncio.timeout_at(end):
                own, seconds = await self.forward.estimate(ask.text)
        except TimeoutError:
            raise late() from None
        uncertified = self.uncertified
        if uncertified is None and (changed := self.pool.changed_by(ask.body, self.router.models)):
            uncertified = f"the request sets {', '.join(changed)} otherwise than the pool file"
        make = self._set if self.certificate is None else self._policy
        try:
            return make(ask, own, seconds, uncertified)
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
                outcome = Outcome(panel, None, None, None, plan.uncertified is None)
            else:
                await panel.ask_set(plan.members)
                outcome = await self._elected(ask, plan, panel)
        if outcome.reply is None:
            outcome.abstained = True
            if self.settings.fallback is not None:
                await self._fall_back(outcome, ask, end)
        outcome.forward, outcome.uncertified, outcome.show_replies = plan.forward, plan.uncertified, ask.replies
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
                    raise self._failed(panel) from None
                model = panel.called[-1]
                confidence = float(plan.estimate.models[0, self.router.models.index(model)])
                yield Outcome(panel, None, model, confidence, _stands(plan, panel), forward=plan.forward,
                              uncertified=plan.uncertified), _after(first, chunks)

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

    def _set(self, ask: Ask, own: Estimate, seconds: float, uncertified: str | None) -> Plan:
        artifact, known = self.router.artifact, {"task": self.settings.task} | ask.known
        known = {name: [value] for name, value in known.items() if value is not None}
        [decision] = decide(own, artifact, known, uncertified is None)
        if uncertified is None and not decision.certified:
            uncertified = artifact.calibration.only
        return Plan(artifact.rule.estimate(own), artifact.rule.null, decision.spares, seconds, uncertified, decision)

    def _policy(self, ask: Ask, own: Estimate, seconds: float, uncertified: str | None) -> Plan:
        found = Consultation(self.certificate, own, self._form(ask), uncertified is None)
        null, spares = "free" if self.router.artifact is None else self.router.artifact.rule.null, ()
        if (policy := self.certificate.policy) is not None:
            null, s = policy.track.rule.null, without_size(policy.track.rule, found.estimate)[0, :-1]
            spares = tuple(self.router.models[m] for m in np.argsort(s, kind="stable")
                           if s[m] < np.inf and m not in found.order)
        return Plan(found.estimate, null, spares, seconds, uncertified or found.other, consultation=found)

    def _form(self, ask: Ask) -> Form:
        """Return the form of the answers: as the request says, else the settings, else by a guess."""
        said = ask.known.get("task")
        kind = ask.kind or (self.settings.kind if said is None else None)
        return form_of(self.certificate, ask.text, said or self.settings.task, kind, ask.options, guess=True)

    async def _consulted(self, ask: Ask, plan: Plan, panel: Panel) -> Outcome:
        consultation = plan.consultation
        sure = await certified.consult(consultation, panel, ask.text)
        if panel.called and not panel.replies:
            raise self._failed(panel)
        answer, stands = consultation.answer, _stands(plan, panel)
        model = None if answer.abstain else self.router.models[int(consultation.vote.model[0])]
        form, notes = consultation.form, {} if sure is None else {"confidences": sure}
        notes |= {"guessed_kind": form.kind} if form.guessed else {}
        return Outcome(panel, panel.replies.get(model), model, answer.confidence, stands,
                       certified.told(self.certificate, stands), answer.answer, notes=notes)

    async def _elected(self, ask: Ask, plan: Plan, panel: Panel) -> Outcome:
        if not panel.replies:
            raise self._failed(panel)
        beside = []
        if self.settings.aggregator == "fusion" and len(panel.replies) > 1:
            request = fusion.request(self.prompt, ask.text, panel)
            side = await self._aside(self.settings.fusion, request, panel.end, ours=True)
            reason = side.failed[0].error.reason if side.failed else None
            beside, notes = [side], {"fusion": {"model": self.settings.fusion, "failed": reason}}
            if reply := side.replies.get(self.settings.fusion):
                return Outcome(panel, reply, reply.model, None, _stands(plan, panel), notes=notes, beside=beside)
        else:
            notes = {}
        majority = self.settings.aggregator == "majority"
        model, confidence, answer = elect("majority" if majority else "best", panel, self.router.models, plan.estimate,
                                          self.kind_of(ask) if majority else None, ask.options or 0)
        return Outcome(panel, panel.replies.get(model), model, confidence, _stands(plan, panel), answer=answer,
                       notes=notes, beside=beside)

    async def _aside(self, name: str, body: dict, end: float, ours: bool = False) -> Panel:
        """Return the panel of one call that is not the set's."""
        with self._panel(body, end, ours=ours) as side:
            await side.ask_set([name])
        return side

    async def _fall_back(self, outcome: Outcome, ask: Ask, end: float) -> None:
        name = self.settings.fallback
        outcome.stands_no_more()
        if (reply := outcome.panel.replies.get(name)) is None:  # else it was asked already: once is enough
            side = await self._aside(name, ask.body, end)
            outcome.beside.append(side)
            if (reply := side.replies.get(name)) is None:
                raise self._failed(side, outcome)
        outcome.reply, outcome.model, outcome.confidence, outcome.answer = reply, name, None, None
        outcome.notes = outcome.notes | {"fallback": name}

    def _failed(self, panel: Panel, outcome: Outcome | None = None) -> Refused:
        """Return what to tell where no model of a panel replied; `outcome` is what there was before a fallback."""
        if outcome is None:
            certificate = None if self.certificate is None else certified.told(self.certificate, stands=False)
            outcome = Outcome(panel, None, None, None, False, certificate)
        errors = [one.error for one in panel.failed]
        words = "; ".join(f"{one.model}: {one.error.reason}" for one in panel.failed)
        status, kind = 502, "upstream_error"
        if all(error.refused for error in errors):
            status, kind = 400, "invalid_request_error"
        elif all(error.capped for error in errors):
            status, kind = 402, "spend_cap_reached"
        elif panel.left <= 0:
            status, kind = 504, "timeout_error"
        return Refused(status, f"no model replied ({words})", kind, beside={"racer": outcome.record()})


def _stands(plan: Plan, panel: Panel) -> bool:
    return plan.uncertified is None and not panel.failed


async def _after(first: dict, rest: AsyncIterator[dict]) -> AsyncIterator[dict]:
    yield first
    async for chunk in rest:
        yield chunk
