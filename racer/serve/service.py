"""From a plan to the outcome of a request: models are called, one reply is returned or none."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

from racer.answers import ANSWER_KINDS
from racer.config import ServeConfig
from racer.pool import CallFailed, Pool
from racer.pool.panel import Panel
from racer.serve import certified, fusion
from racer.serve.elect import elect
from racer.serve.outcome import Outcome
from racer.serve.plan import Plan, Planner
from racer.serve.request import Ask, Refused


class Service:
    """Carries out the plans of one server. Raises `ConfigError` if router, pool and settings do not fit each other.

    `count` is told of the calls of each query once they are over, however they ended.
    """

    def __init__(self, router, pool: Pool, settings: ServeConfig, count: Callable[[Panel], None]):
        self.router, self.pool, self.settings, self.count = router, pool, settings, count
        self.planner = Planner(router, pool, settings)
        self.certificate, self.prompt = self.planner.certificate, fusion.prompt_of(settings.fusion_prompt)

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

    @contextmanager
    def _panel(self, body: dict, end: float, spares: tuple[str, ...] = (), ours: bool = False) -> Iterator[Panel]:
        panel = Panel(self.pool, body, end, list(spares), ours)
        try:
            yield panel
        finally:
            self.count(panel)

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
