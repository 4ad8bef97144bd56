"""Who is to be asked about a request, and whether anything is promised for it."""

import asyncio
from dataclasses import dataclass

import numpy as np

from racer.calibrations import Online
from racer.config import ServeConfig
from racer.consult import NONE_CERTIFIED, Consultation, Form, form_of
from racer.decision import Decision, decide, without_size
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.pool import Pool
from racer.serve import certified
from racer.serve.forward import Forward
from racer.serve.guard import late
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


class Planner:
    """Makes the plans of one server. Raises `ConfigError` if router, pool and settings do not fit each other.

    `certificate` is that of the policy that is served, None where the calibrated sets are. `uncertified` says why
    nothing is promised for any query, None if it is not so.
    """

    def __init__(self, router, pool: Pool, settings: ServeConfig):
        self.router, self.pool, self.settings = router, pool, settings
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
        self.forward = Forward(router.estimate, settings.batch)

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

    def close(self) -> None:
        self.forward.close()

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
