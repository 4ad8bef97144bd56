"""From the answers of a set of models to one answer and how sure it is: the aggregators behind one interface.

`majority`: the answer of most. `weighted`: votes weigh by router probability. `bayes`: the posterior under the router's
joint, wrong answers being uniform. `learned`: a log-linear vote fitted to validation rows. `best`: the answer of the
member that the router trusts most. All but `majority` have a twin, `weighted+confidence` and so on, that also hears
how sure the models themselves are, where that is recorded (`racer.confident`). Each takes any set of models, so the
same one serves a set that is called at once and one that is called model by model (`racer.sequential`).

Confidence is a share of votes under `majority`, else a probability that the answer is right. No promise rests on it:
promises are certified on calibration rows, however wrong it is.
"""

import numpy as np

from racer.ballots import Sample, Vote
from racer.confident import SUFFIX, Confident, Evidence
from racer.errors import ConfigError
from racer.estimate import Estimate
from racer.learned import Learned
from racer.votes import Aggregator, Bayes, Best, Majority, Outlook, Weighted

__all__ = ["AGGREGATORS", "CONFIDENT", "Aggregator", "Outlook", "Vote", "fit", "from_json"]

KINDS = {kind.name: kind for kind in (Majority, Weighted, Bayes, Learned, Best)}
AGGREGATORS = tuple(KINDS)
CONFIDENT = tuple(name + SUFFIX for name in AGGREGATORS if name != Majority.name)  # to count heads needs no odds


def fit(name: str, codes: np.ndarray, options: np.ndarray, outcomes: np.ndarray, estimate: Estimate,
        seed: int = 0) -> Aggregator:
    """Return the aggregator `name`, one of AGGREGATORS or CONFIDENT, fitted to n validation queries.

    `codes` (n, M) and `options` (n,) as in `racer.answers.Answers`, `outcomes` (n, M) bool, `estimate` of them.
    `seed` draws the sets of models it is fitted to. Raises `ConfigError` if there is nothing to fit to.
    """
    if name in CONFIDENT:
        evidence = Evidence.fit(codes, outcomes, estimate)
        return Confident(fit(name.removesuffix(SUFFIX), codes, options, outcomes, evidence.heard(codes >= 0, estimate),
                             seed), evidence)
    kind = _kind(name)
    if kind in (Majority, Best):
        return kind()
    rng = np.random.default_rng(seed)
    sample = Sample.draw(codes, options, outcomes, estimate, rng)
    if not len(sample.query):
        raise ConfigError(f"the vote {name} is fitted on validation rows with answers, and there are none among "
                          f"{len(codes)}: add validation rows, or take majority or best")
    return kind.fit(sample, rng) if kind is Learned else kind.fit(sample)


def from_json(record: dict) -> Aggregator:
    """Return the aggregator that `to_json` wrote."""
    if record.get("name") in CONFIDENT:
        return Confident(from_json(record["inner"]), Evidence(**{k: _tuple(v) for k, v in record["evidence"].items()}))
    parameters = {name: _tuple(value) for name, value in record.items() if name != "name"}
    try:
        return _kind(record.get("name"))(**parameters)
    except TypeError as error:
        raise ConfigError(f"not an aggregator ({error}): fit it again") from None


def _kind(name: str | None) -> type[Aggregator]:
    if name not in KINDS:
        raise ConfigError(f"the aggregator is {name!r}, expected one of {', '.join(AGGREGATORS + CONFIDENT)}")
    return KINDS[name]


def _tuple(value):
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value
