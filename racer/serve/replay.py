"""Recorded answers behind the OpenAI protocol: a pool that costs nothing, to try a server and its policies on."""

import math

from starlette.applications import Starlette

from racer.errors import TableError
from racer.serve import endpoint
from racer.serve.endpoint import Said
from racer.serve.request import Refused
from racer.table import OutcomeTable

CHARACTERS = 4  # per token, where a table does not say
IMPOSSIBLE = -9999.0  # the logarithm of 0, as the protocol writes it


def build(table: OutcomeTable) -> Starlette:
    """Return an application that answers as each model of the table did, to queries of the table and to no others.

    The last message of the user is the query. A lost answer is an empty reply. Where the table has a confidence, the
    log-probabilities of a reply make it: a pool file with `confidence: likelihood` reads it back, however it was got.
    Raises `TableError` without answers.
    """
    if table.answers is None:
        raise TableError(f"{table.name} has no answers to replay: give a table with a column `answer`")
    row_of = {query: i for i, query in enumerate(table.queries)}

    def say(model: str, query: str, *_) -> Said:
        if (row := row_of.get(query)) is None:
            raise Refused(404, "the query is not in the table: only recorded answers are known", param="messages")
        column = table.models.index(model)
        text = table.answers[row, column] or ""
        tokens = 0 if table.output_tokens is None else table.output_tokens[row, column]
        tokens = len(text) / CHARACTERS if math.isnan(tokens) or not tokens else tokens
        sure = math.nan if table.confidence is None else table.confidence[row, column]
        logprobs = None if math.isnan(sure) else ((text, math.log(sure) if sure else IMPOSSIBLE),)
        return Said(text, math.ceil(len(query) / CHARACTERS), math.ceil(tokens), logprobs=logprobs)
    return endpoint.build(say, table.models)
