"""The certified policy at work on live models."""

from racer.certificate import Certificate
from racer.consult import Consultation
from racer.pool.final import final_answer
from racer.pool.panel import Panel


async def consult(consultation: Consultation, panel: Panel, query: str) -> dict[str, float | None] | None:
    """Call whom the policy wants to hear, until it has its answer or abstains.

    Return how sure each called model is of its own answer, as far as the policy's vote hears that, None if it hears
    nobody: models are asked about their final answers to the `query`. One that cannot be asked is heard without it, and
    the promise no longer stands.
    A reply without a final answer of the kind in question is a lost answer, as in the records that the policy was
    certified on. A call that fails is not: the next model takes its place, and the promise no longer stands.
    """
    sure = {}
    while names := consultation.next:
        failed = await panel.ask_each(names)
        said = {name: _answer(panel, name, consultation.form.kind) for name in names}
        heard = [name for name in names if name in consultation.hears]
        answers = {name: said[name] for name in heard if said[name] is not None}
        sure |= dict.fromkeys(heard) | await panel.ask_how_sure(query, answers)
        consultation.tell(said, {name: sure[name] for name in heard})
        for name, error in failed.items():
            if (by := panel.fail(name, error)) is not None:
                consultation.substitute(name, by)
    return sure if consultation.hears else None


def _answer(panel: Panel, name: str, kind: str) -> str | None:
    if (reply := panel.replies.get(name)) is None:
        return None
    return final_answer(reply.text, kind, panel.pool.members[name].endpoint.extract, reply.finish_reason)


def told(certificate: Certificate, stands: bool) -> dict:
    """Return what a response says of the certificate."""
    policy = certificate.policy
    return {"promises": certificate.promises, "confidence": 1 - certificate.delta, "stands": stands,
            "policy": None if policy is None else policy.text(certificate.models)}
