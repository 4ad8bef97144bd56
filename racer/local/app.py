"""The local pool behind the OpenAI protocol."""

from starlette.applications import Starlette

from racer.local.language_model import TooLong
from racer.local.member import Member
from racer.serve import endpoint
from racer.serve.endpoint import Said
from racer.serve.request import Refused


def build(members: dict[str, Member]) -> Starlette:
    """Return the application in which each member answers under its name; a query that is too long is a 400."""
    def say(model: str, query: str, max_tokens: int, logprobs: bool) -> Said:
        try:
            return members[model].say(query, max_tokens, logprobs)
        except TooLong as error:
            raise Refused(400, str(error), param="messages") from None
    return endpoint.build(say, list(members))
