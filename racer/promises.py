"""What can be promised of answers, and the p-values of the promises.

`error_among_answered`: of the answers returned, the share that is wrong.
`over_abstention`: abstained although some model of the pool is right, over all queries.
`cost`: spend over the cost of asking all, mean over queries.
`harm`: the best single model on train is right and we are not, abstentions counted as not right, over all queries. So
        accuracy over all queries >= its accuracy - harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from racer.bounds import beta_binomial_cdf, p_value
from racer.errors import ConfigError
from racer.policy import Played
from racer.recorded import Recorded

ERROR = "error_among_answered"
PROMISES = (ERROR, "over_abstention", "cost", "harm")
BROKEN_BY_SILENCE = ("over_abstention", "harm")  # who never answers keeps the others


def check(promises: dict[str, float], rows: Recorded) -> None:
    """Raise `ConfigError` unless there is a promise, each a level in (0, 1) that these rows can speak of."""
    if not promises:
        raise ConfigError(f"nothing is promised: give at least one of promises.{', promises.'.join(PROMISES)}")
    for name, level in promises.items():
        if name not in PROMISES:
            raise ConfigError(f"promises.{name} is unknown, expected one of {', '.join(PROMISES)}")
        if not 0 < level < 1:
            raise ConfigError(f"promises.{name} is {level}, expected a level between 0 and 1, both excluded")
    if "cost" in promises and rows.scores.cost is None:
        raise ConfigError("promises.cost needs the cost of every call, and this run does not know them: leave it out")
    if "harm" in promises and rows.reference is None:
        raise ConfigError("promises.harm needs the best single model on train, and there is no train row: leave it out")


@dataclass(frozen=True)
class Tally:
    """What K policies did on the same `n` queries: counts, and means where losses are fractions; every array is (K,).

    `harm` is None where there is no reference. `cost` and `cost_sd` are of spend over the cost of asking all; `spend`
    is USD (calls where costs are unknown) per query. `shares` (n, K) are the costs of each query, where they are kept.
    """

    n: int
    answered: np.ndarray
    wrong: np.ndarray
    over_abstention: np.ndarray
    harm: np.ndarray | None
    cost: np.ndarray
    cost_sd: np.ndarray
    spend: np.ndarray
    calls: np.ndarray
    shares: np.ndarray | None = None

    @classmethod
    def of(cls, played: Played, rows: Recorded, keep_shares: bool = False) -> "Tally":
        """Return the tally of the policies played."""
        losses, n = played.losses(rows), len(played.calls)
        harm = losses["harm"].sum(axis=0) if "harm" in losses else None
        return cls(n, played.answered.sum(axis=0), losses["wrong"].sum(axis=0), losses["over_abstention"].sum(axis=0),
                   harm, _mean(played.share), played.share.std(axis=0) if n else _mean(played.share),
                   _mean(played.spend), _mean(played.calls), played.share if keep_shares else None)

    @classmethod
    def together(cls, parts: list["Tally"]) -> "Tally":
        """Return one tally of all policies, in order."""
        columns = {name: None if getattr(parts[0], name) is None else
                   np.concatenate([getattr(part, name) for part in parts], axis=-1)
                   for name in cls.__dataclass_fields__ if name != "n"}
        return cls(parts[0].n, **columns)

    def take(self, which: Sequence[int]) -> "Tally":
        """Return the tally of these policies, in this order."""
        columns = {name: None if (v := getattr(self, name)) is None else v[..., which]
                   for name in self.__dataclass_fields__ if name != "n"}
        return Tally(self.n, **columns)

    def count(self, name: str) -> tuple[np.ndarray, np.ndarray | int]:
        """Return the errors of a promise of 0 or 1 (K,), and of how many queries."""
        if name == ERROR:
            return self.wrong, self.answered
        return getattr(self, name), self.n

    def observed(self, name: str) -> np.ndarray:
        """Return the observed risk (K,); NaN where it is of no query."""
        if name == "cost":
            return self.cost
        errors, n = self.count(name)
        return np.divide(errors, n, out=np.full(len(errors), np.nan), where=np.asarray(n) > 0)


def _mean(table: np.ndarray) -> np.ndarray:
    return table.mean(axis=0) if len(table) else np.zeros(table.shape[1])


def p_values(tally: Tally, promises: dict[str, float]) -> np.ndarray:
    """Return p-values (K, R) of "this risk is above its level", one column per promise, 1 where no query speaks of it.

    Of m answered queries e are wrong: BinCDF(e; m, level), given m; so are over-abstention and harm, of all n. The
    cost lies in [0, 1]: the bound `wsr`. Each is super-uniform if the queries are i.i.d. and had no part in the policy.
    """
    columns = [p_value(tally.shares, level, "wsr") if name == "cost" else _binomial(*tally.count(name), level)
               for name, level in promises.items()]
    return np.column_stack(columns)


def rough_p_values(tally: Tally, promises: dict[str, float]) -> np.ndarray:
    """Return (K, R) as `p_values`, from the tally's moments alone: by the normal law for the cost. For orders only."""
    return np.column_stack([_normal(tally, level) if name == "cost" else _binomial(*tally.count(name), level)
                            for name, level in promises.items()])


def _binomial(errors: np.ndarray, n: np.ndarray | int, level: float) -> np.ndarray:
    return special.bdtr(errors.astype(float), np.broadcast_to(n, errors.shape).astype(int), level)


def _normal(tally: Tally, level: float) -> np.ndarray:
    deviation = np.maximum(tally.cost_sd / np.sqrt(max(tally.n, 1)), 1e-9)  # one of 0 is no certainty of more
    return special.ndtr((tally.cost - level) / deviation)


def above_by_chance(tally: Tally, name: str, level: float, delta: float, m: int) -> float | None:
    """Return the chance that a promise of 0 or 1 shows more than its level on `m` new queries, if just certified.

    The errors on the new queries are then Beta-Binomial(m; j + 1, n - j), with j the most errors of n calibration
    queries with a p-value <= `delta`; a policy that is certified by more than that shows it less often. None
    for the cost, whose law is unknown, and where not even j = 0 would do. `tally` is that of one policy.
    """
    if name == "cost" or not m:
        return None
    n = int(np.broadcast_to(tally.count(name)[1], 1)[0])
    j = int(np.count_nonzero(special.bdtr(np.arange(n, dtype=float), n, level) <= delta)) - 1
    if j < 0:
        return None
    cdf = beta_binomial_cdf(m, j + 1, n - j)
    return float(max(1 - cdf[np.arange(m + 1) / m <= level][-1], 0.0))
