"""The certified policy at work on live models."""

from racer.certificate import Certificate
from racer.consult import Consultation
from racer.pool.final import final_answer
from racer.pool.panel import Panel


async def consult(consultation: Consultation, panel: Panel) -> None:
    """Call whom the policy wants to hear, until it has its answer or abstains.

    A reply without a final answer of the kind in question is a lost answer, as in the records that the policy was
    certified on. A call that fails is not: the next model takes its place, and the promise no longer stands.
    """
    while consultation.next:
        failed = await panel.ask_each(consultation.next)
        consultation.tell({name: _answer(panel, name, consultation.kind) for name in consultation.next})
        for name, error in failed.items():
            if (by := panel.fail(name, error)) is not None:
                consultation.admit(by)


def _answer(panel: Panel, name: str, kind: str) -> str | None:
    if name not in panel.replies:
        return None
    return final_answer(panel.replies[name].text, kind, panel.pool.members[name].endpoint.extract)


def told(certificate: Certificate, stands: bool) -> dict:
    """Return what a response says of the certificate."""
    policy = certificate.policy
    return {"promises": certificate.promises, "confidence": 1 - certificate.delta, "stands": stands,
            "policy": None if policy is None else policy.text(certificate.models)}
