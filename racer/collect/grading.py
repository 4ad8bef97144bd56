"""The grade of a reply by any grader: at once, by tests in a sandbox, or by a model that judges."""

import asyncio
import os

from racer.collect.asking import Asked
from racer.collect.graders import Grade, answer_in, grade
from racer.collect.journal import Journal, Said
from racer.collect.judge import Judge, verdict
from racer.collect.queries import Query
from racer.collect.sandbox import Sandbox
from racer.pool import CallFailed

NO_VERDICT = "the judge gave no verdict, or was cut off before it"
TOO_SLOW = "the regular expression of its reference takes too long on the reply"


class Graders:
    """All graders of a collection; what takes long or costs money is kept in the journal."""

    def __init__(self, journal: Journal, sandbox: Sandbox, judge: Judge | None, judging: Asked | None):
        self.journal, self.sandbox, self.judge, self.judging = journal, sandbox, judge, judging
        self._programs = asyncio.Semaphore(os.cpu_count() or 1)

    async def grade(self, query: Query, said: Said, pattern: str | None) -> Grade | None:
        """Return the grade of a reply, None if the judge gave no verdict; raise `CallFailed` if it cannot be had.

        A reply that says nothing is wrong: it was asked for, and paid.
        """
        answer = answer_in(said.reply, query.grader, pattern, said.finish_reason)
        if answer is None:
            return Grade(0.0, None, "no answer in the reply")
        if query.grader == "python":
            passed, why = await self._tested(answer, query.reference)
            return Grade(float(passed), answer, why)
        if query.grader == "judge":
            right = await self._judged(query, said.reply)
            return None if right is None else Grade(float(right), answer)
        try:
            return grade(said.reply, query.reference, query.grader, pattern, said.finish_reason)
        except TimeoutError:
            raise CallFailed(TOO_SLOW, billed=False) from None

    async def _judged(self, query: Query, reply: str) -> bool | None:
        try:
            said = await self.judging.say("verdict", query.id, self.judge.request(query, reply), _is_verdict)
        except CallFailed as failed:
            raise CallFailed(f"the judge: {failed.reason}", capped=failed.capped) from None
        return verdict(said)

    async def _tested(self, program: str, tests: str) -> tuple[bool, str]:
        key = self.sandbox.key(program, tests)
        if key not in self.journal.tested:
            async with self._programs:
                passed, why = await asyncio.to_thread(self.sandbox.run, program, tests)
            self.journal.test(key, passed, why)
        return self.journal.tested[key]


def _is_verdict(said: Said) -> bool:
    return verdict(said) is not None
