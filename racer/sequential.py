"""Calling the members of a set one after the other, and stopping when more calls would buy nothing."""

from dataclasses import dataclass

import numpy as np

from racer.ballots import Vote
from racer.estimate import Estimate
from racer.votes import Aggregator


@dataclass(frozen=True)
class Calls:
    """Who was called, and the vote of these alone."""

    called: np.ndarray  # (n, M) bool
    vote: Vote


def call(s: np.ndarray, members: np.ndarray, aggregator: Aggregator, codes: np.ndarray, options: np.ndarray,
         estimate: Estimate, tau: float = 0.0, stop_at: float = np.inf) -> Calls:
    """Return the calls and the vote when `members` (n, M) bool are called in the order of `s` (n, M+1), lowest first.

    An answer counts if its confidence is >= `tau`. A query is finished
    - when its decision is settled: whatever the others say, the same answer wins with confidence >= `tau`, or none
      reaches it. The decision is then that of a call of all members at once, and the confidence told the least that
      this could have come to. `majority`, `weighted` and `best` know when they are settled, the others do not;
    - when the confidence so far is >= `stop_at` (of a majority: the share of all members, called or not). This is a
      bet that the others would not change the answer.
    Nobody is called where no answer could reach `tau`. `codes`, `options` and `estimate` are as in `Aggregator.vote`;
    the codes of members that are not called have no effect.
    """
    order = np.argsort(np.where(members, s[:, :-1], np.inf), axis=1, kind="stable")
    size, called = members.sum(axis=1), np.zeros(members.shape, dtype=bool)
    model, confidence = np.full(len(s), -1), np.zeros(len(s))
    going = np.flatnonzero(size > 0)
    for step in range(members.shape[1] + 1):
        state = (called[going], members[going], codes[going], options[going], estimate.take(going))
        vote, done = _judge(aggregator, *state, tau, stop_at)
        model[going], confidence[going] = vote.model, vote.confidence
        going = going[~done & (size[going] > step)]
        if not going.size:
            break
        called[going, order[going, step]] = True
    return Calls(called, Vote(model, confidence))


def _judge(aggregator: Aggregator, called: np.ndarray, members: np.ndarray, codes: np.ndarray, options: np.ndarray,
           estimate: Estimate, tau: float, stop_at: float) -> tuple[Vote, np.ndarray]:
    """Return the vote so far, with the confidence to be told should it end here, and whether it does (n,)."""
    vote = aggregator.so_far(called, members, codes, options, estimate)
    sure = (vote.confidence >= stop_at) & (vote.model >= 0)
    outlook = aggregator.outlook(called, members, codes, options, estimate)
    if outlook is None:
        return vote, sure
    settled = (outlook.settled & (outlook.low >= tau)) | (outlook.high < tau)
    early = settled & ~sure & (members & ~called).any(axis=1)
    return Vote(vote.model, np.where(early, np.maximum(outlook.low, 0.0), vote.confidence)), sure | settled
