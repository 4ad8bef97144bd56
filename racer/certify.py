"""A certificate for the answers: of many policies the cheapest that is certified to keep every promise, or none.

Learn then test (Angelopoulos et al., arXiv 2110.01052) with the order of Pareto testing (Laufer-Goldshtein et al.,
ICLR 2023, arXiv 2210.07913). Validation rows fix the policies and their order; calibration rows only test them.

On validation rows aggregators vote out of fold: each row by one that was fitted without it, or their confidence would
look too good there. What is tested and deployed is the aggregator fitted on all validation rows.

The order is the Pareto front of two numbers: the validation p-value, the largest of the promises', and the price, or
where no promise limits abstention, how much is left unanswered. So each policy tested is surer to fail, and cheaper,
than those before it, and the last certified one is the cheapest.
Policies too strict to answer enough queries for any rejection have large p-values and come late by themselves. Of
thousands of policies some look good on validation rows by luck and fail early in the order. So, where an error among
answered is promised, the first is led in by its stricter twins (`Design.lead_in`), and the procedure
(`racer.testing.fallback`) goes on after a failure, at a stricter level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from racer import promises as promised
from racer.aggregate import AGGREGATORS, CONFIDENT, Aggregator
from racer.bounded import EVERYTHING
from racer.errors import ConfigError
from racer.policy import CALLING, Ladder, Played, Policy, Track, climb, play
from racer.promises import ERROR, Tally
from racer.recorded import Recorded
from racer.rule import SetRule
from racer.testing import all_risks, fallback, pareto_order
from racer.voters import Voter, fitted

POWERS = (0.0, 0.5, 1.0)  # of prices in the order of calls
FOLDS = 4
HOPELESS = 0.95  # a validation p-value above which a policy is not tested, if any has less
ENOUGH = 3  # times the answers that could be certified without any error: so many for a twin that leads in
LEADER, SUREST = 0.4, 0.5  # of delta: what the first that leads in, and the surest policy, are tested at by themselves
PREFERENCES = ("auto", "cost", "answered")
TIER = 0.02  # shares of answered queries that differ by less count as equal
STEP = 0.001  # in which reachable levels are found


@dataclass(frozen=True)
class Grid:
    """Which policies are tried: `cuts` per order, `thresholds` per vote, at quantiles of validation rows."""

    aggregators: tuple[str, ...] | None = None  # None: all that the records allow
    calling: tuple[str, ...] = CALLING  # where one model is called at most, all are the same
    cuts: int = 8
    thresholds: int = 20
    prefer: str = "auto"  # among the certified: the least `cost`, or the most `answered`; see `Design.preferred`


# ---------------------------------------------------------------- from validation rows: policies, votes, order


@dataclass(frozen=True)
class Design:
    """Everything fixed before calibration rows are seen: K policies, what they did on validation rows, who votes."""

    policies: tuple[Policy, ...]
    tally: Tally
    aggregators: dict[str, Aggregator]
    prefer: str

    @classmethod
    def of(cls, rows: Recorded, rule: SetRule, grid: Grid) -> "Design":
        """Return the design by `grid` on the validation rows of `rows`; raise `ConfigError` without two of them."""
        validation = rows.of_split("validation")
        if (n := len(validation.scores.ids)) < 2:
            raise ConfigError(f"a certificate needs validation rows, on which policies and their order are fixed, and "
                              f"there are {n}: give a table with validation or train rows")
        folds = np.random.default_rng(0).permutation(n) % min(FOLDS, n)
        found: list[tuple[list[Policy], Tally]] = []
        aggregators = {}
        for name in grid.aggregators or votes_on(rows):
            voter = Voter.out_of_fold(name, validation, folds)
            for track in tracks(rule, rows.reference):
                ladder = climb(track, validation, voter)
                for cut, size in limits(track, ladder, grid.cuts):
                    found += twins(Policy(track, cut, size, name, "parallel", 0.0), ladder, validation, grid)
            aggregators[name] = fitted(name, validation)
        policies = tuple(policy for twins, _ in found for policy in twins)
        return cls(policies, Tally.together([tally for _, tally in found]), aggregators, grid.prefer)

    def preferred(self, promises: dict[str, float]) -> str:
        """Return which of the certified policies is deployed, the cheapest (`cost`) or who answers most (`answered`).

        `auto` is the former where a promise limits abstention. Where none does, the cheapest answers next to nobody.
        """
        if self.prefer != "auto":
            return self.prefer
        return "cost" if any(name in promises for name in promised.BROKEN_BY_SILENCE) else "answered"

    def order(self, promises: dict[str, float], n: int, delta: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the policies to test (F,) on `n` rows, and the level (F,) of each by itself, `delta` in all.

        After its `lead_in` the surest, then each preferred to those before it. What LEADER and SUREST leave of delta,
        the latter alone where nobody leads in, is shared out among the others.
        """
        each = promised.rough_p_values(self.tally, promises)
        p = all_risks(each)
        front = pareto_order(np.column_stack([p, self.rank(promises)]), p)
        front = front[np.concatenate([[True], np.diff(p[front]) > 0])]  # of equals the first
        front = front[p[front] <= max(HOPELESS, p[front[0]])]
        leading = self.lead_in(front[0], promises, each, n, delta)
        leading = leading[~np.isin(leading, front)]  # of stricter and cheaper ones the turn comes later
        shares = {0: LEADER} if len(leading) else {}
        shares[len(leading)] = SUREST
        order = np.concatenate([leading, front])
        own = np.full(len(order), (1 - sum(shares.values())) / max(len(order) - len(shares), 1))
        for place, share in shares.items():
            own[place] = share
        return order, own * delta / own.sum()

    def lead_in(self, first: int, promises: dict[str, float], each: np.ndarray, n: int, delta: float) -> np.ndarray:
        """Return stricter twins of policy `first`, with higher thresholds, the strictest first; none without ERROR.

        Which of thousands looks surest on few validation rows was also lucky: its error is larger than it looks. A twin
        that answers less errs less whatever the luck, and costs nothing where it passes: it hands its whole level on.
        None leads in where the `n` rows of the test are no more than the validation rows. Left out are those that would
        answer too few of them (ENOUGH), and those of which another promise is less sure, by the validation p-values
        `each` (K, R), than all promises are of `first`.
        """
        if ERROR not in promises or n <= self.tally.n:
            return np.zeros(0, dtype=int)
        least = ENOUGH * np.log(delta) / np.log1p(-promises[ERROR])
        others = np.array([name != ERROR for name in promises])
        able = (self.tally.answered * n >= least * self.tally.n) & (each[:, others] <= each[first].max()).all(axis=1)
        twins = [k for k in np.flatnonzero(able).tolist() if self.policies[k].is_stricter_twin_of(self.policies[first])]
        return np.array(sorted(twins, key=lambda k: -self.policies[k].threshold), dtype=int)

    def rank(self, promises: dict[str, float]) -> np.ndarray:
        """Return the place (K,) of each policy, the most preferred first; equals share it.

        By spend, then by unanswered queries; or by unanswered queries in steps of TIER, then by spend: a dearer policy
        must answer more.
        """
        spend, unanswered = self.tally.spend, self.tally.n - self.tally.answered
        tier = np.floor(unanswered / (TIER * self.tally.n))
        keys = [spend, unanswered] if self.preferred(promises) == "cost" else [tier, spend]
        return np.unique(np.column_stack(keys), axis=0, return_inverse=True)[1].ravel()


def votes_on(rows: Recorded) -> tuple[str, ...]:
    """Return the votes that can be held on these rows: those that hear confidences only where some are recorded."""
    return AGGREGATORS if rows.answers.confidence is None else AGGREGATORS + CONFIDENT


def tracks(rule: SetRule, reference: int | None) -> list[Track]:
    """Return the orders of calls to try: the best single model alone first, the policy to beat; then the run's own.

    Under `max_cost` that of the best single model is left out where it is dearer by mean prices on train.
    """
    powers = POWERS if rule.prices is not None else POWERS[:1]
    coverage = [replace(rule, family="coverage", cost_power=power) for power in powers]
    by_score = replace(rule, family="probability")
    dear = rule.max_cost is not None and rule.prices is not None and rule.prices[reference or 0] > rule.max_cost
    alone = [Track(replace(by_score, max_size=None, max_cost=None), reference)]
    alone = [] if reference is None or dear else alone
    return list(dict.fromkeys([*alone, *map(Track, [rule, by_score, *coverage])]))


def limits(track: Track, ladder: Ladder, cuts: int) -> list[tuple[float, int | None]]:
    """Return the limits (cut, size) to try: every size without a cut, and cuts at quantiles of s without a size."""
    models = ladder.s[:, :-1]
    finite = models[np.isfinite(models)]
    levels = np.linspace(0, 1, cuts + 2)[1:-1]
    inner = np.unique(np.quantile(finite, levels, method="inverted_cdf")) if finite.size else []
    return [(EVERYTHING, size) for size in range(1, ladder.depth + 1)] + \
        [(float(cut), None if track.only is None else 1) for cut in inner]


def twins(policy: Policy, ladder: Ladder, rows: Recorded, grid: Grid) -> list[tuple[list[Policy], Tally]]:
    """Return the policy in each way of calling, with each threshold worth trying, and what they do on these rows."""
    whole = play(policy, ladder, rows)
    confidence = whole.confidence[whole.model >= 0]
    levels = np.linspace(0, 1, grid.thresholds)[1:]
    inner = np.quantile(confidence, levels, method="inverted_cdf") if confidence.size else []
    thresholds = np.unique(np.concatenate([[0.0], inner]))
    ways = [way for way in grid.calling if way == "parallel" or policy.size != 1] or list(grid.calling)
    found = [replace(policy, calling=way) for way in ways]
    return [([replace(one, threshold=float(t)) for t in thresholds],
             Tally.of(play(one, ladder, rows, thresholds), rows)) for one in found]


# ---------------------------------------------------------------- on other rows: what the policies do


@dataclass(frozen=True)
class Trial:
    """Rows on which policies of a design are played, each once."""

    design: Design
    rows: Recorded
    ladders: dict[tuple[Track, str], Ladder] = field(default_factory=dict)
    played: dict[int, Played] = field(default_factory=dict)

    def play(self, k: int) -> Played:
        """Return what policy `k` of the design does on these rows."""
        if k not in self.played:
            self.played[k] = play(self.design.policies[k], self.ladder(k), self.rows)
        return self.played[k]

    def ladder(self, k: int) -> Ladder:
        """Return the votes after each call in the order of policy `k`."""
        policy = self.design.policies[k]
        key = policy.track, policy.aggregator
        if key not in self.ladders:
            voter = Voter.of(self.design.aggregators[policy.aggregator], self.rows)
            self.ladders[key] = climb(policy.track, self.rows, voter)
        return self.ladders[key]

    def tally(self, which: Sequence[int]) -> Tally:
        """Return what these policies did, with the cost of every query."""
        return Tally.together([Tally.of(self.play(int(k)), self.rows, keep_shares=True) for k in which])


# ---------------------------------------------------------------- the test


@dataclass(frozen=True)
class Verdict:
    """The outcome of one test: policies in `order` (F,), their p-values (F, R), and which are certified.

    `chosen` is the number of the preferred certified policy in the design, None if none is certified.
    """

    promises: dict[str, float]
    order: np.ndarray
    tally: Tally
    p: np.ndarray
    certified: np.ndarray
    chosen: int | None


def certify(design: Design, trial: Trial, promises: dict[str, float], delta: float) -> Verdict:
    """Return which policies keep all promises at confidence 1 - delta, by the rows of `trial`.

    With probability 1 - delta over these rows, if they are i.i.d. and had no part in the design, no certified policy
    has a risk above its level (`racer.testing.fallback`).
    """
    order, own = design.order(promises, len(trial.rows.scores.ids), delta)
    tally = trial.tally(order)
    p = promised.p_values(tally, promises)
    certified = fallback(all_risks(p), own)
    passed = order[certified]
    chosen = int(passed[design.rank(promises)[passed].argmin()]) if passed.size else None
    return Verdict(promises, order, tally, p, certified, chosen)


def reachable(design: Design, trial: Trial, promises: dict[str, float], delta: float) -> dict[str, float] | None:
    """Return levels at or above those of `promises` at which `certify` succeeds on the same rows; None if none are.

    All are raised together, by the same share of the way to 1, until it does; then each in turn is lowered while it
    still does, in steps of STEP. So none of them can be lowered by a step alone. They have seen the
    calibration rows: a promise chosen by them needs new ones to be kept with confidence 1 - delta.
    """
    def certifies(levels: dict[str, float]) -> bool:
        return certify(design, trial, levels, delta).chosen is not None

    top, steps = 1 - STEP, round(1 / STEP)
    raised = [{name: _up(level + (top - level) * t / steps, level) for name, level in promises.items()}
              for t in range(steps + 1)]
    first = _least(lambda t: certifies(raised[t]), steps)
    if first is None:
        return None
    levels = raised[first]
    for name, asked in promises.items():
        lower = [asked] + [k * STEP for k in range(1, steps) if asked < k * STEP <= levels[name]]
        best = _least(lambda t: certifies(levels | {name: lower[t]}), len(lower) - 1)  # noqa: B023  (called at once)
        levels = levels if best is None else levels | {name: round(lower[best], 12)}
    return levels


def _up(value: float, asked: float) -> float:
    """Return the value rounded up to a whole STEP, but as asked where it is that."""
    return value if value == asked else min(np.ceil(round(value / STEP, 6)) * STEP, 1 - STEP)


def _least(holds: Callable[[int], bool], last: int) -> int | None:
    """Return a number in 0..last at which `holds`, and not at the one before it; None if not at `last`."""
    if holds(0):
        return 0
    if not last or not holds(last):
        return None
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
