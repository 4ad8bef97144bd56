"""Which kinds of calibration there are, what they share, and how each is kept in a JSON file.

Every kind is a frozen record with `kind, method, alpha, delta, n, bound`, and says: `cut_of(context)`, the cut of each
query (n,); `promised(context)`, for which of them it promises anything (n,) bool, and `only`, whom that leaves out, in
words ("" where nobody); `expected(m)`, where the observed risk on m new queries should lie, or None where no law is
known; `lines()`, what a person should know of it. Those whose cut depends on the query wrap the modules of the method.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from racer.band import BandCalibration
from racer.bounded import EVERYTHING, BoundedCalibration, shown
from racer.conformal import Calibration as CountCalibration
from racer.context import Context
from racer.errors import ConfigError
from racer.group import GroupCalibration
from racer.ltt import CertifiedCalibration
from racer.online import OnlineCut, OnlineLevel
from racer.weighted import DensityRatio, WeightedCalibration, calibrate_weighted


@dataclass(frozen=True)
class ByGroup:
    """A cut per group: each of `own` keeps the promise of `within` by itself; the others fall back to `pooled`.

    `by` names the column that says the group of a query. `fell_back` counts the calibration queries of each group that
    had too few for a cut of its own. `bound` is the largest of the groups' own bounds.
    """

    kind: ClassVar[str] = "group"
    method: str
    within: str
    by: str
    alpha: float
    delta: float | None
    n: int
    bound: float
    own: dict[str, CountCalibration]
    pooled: CountCalibration
    fell_back: dict[str, int]
    floor: bool

    @classmethod
    def of(cls, found: GroupCalibration, by: str) -> "ByGroup":
        pooled = found.pooled
        bound = max([c.bound for c in found.own.values()], default=pooled.bound)
        return cls("group", pooled.method, by, pooled.alpha, pooled.delta, pooled.n, bound, found.own, pooled,
                   found.fell_back, found.floor)

    @classmethod
    def from_fields(cls, **record) -> "ByGroup":
        own = {name: _of_fields(CountCalibration, c) for name, c in record["own"].items()}
        return cls(**record | {"own": own, "pooled": _of_fields(CountCalibration, record["pooled"])})

    def cut_of(self, context: Context) -> np.ndarray:
        """Return the cut (n,) of each query's group; the pooled one where the group is unseen or unknown (None)."""
        named = np.array(["" if name is None else str(name) for name in self._names(context)], dtype=str)
        return GroupCalibration(self.own, self.pooled, self.fell_back, self.floor).cut_of(named)

    def promised(self, context: Context) -> np.ndarray:
        """Return which queries are of a group with a cut of its own (n,) bool; the pooled cut promises none anything.

        With `floor` too: the promise for the mixture that it keeps is not one for a query whose group is unknown.
        """
        return np.array([name is not None and str(name) in self.own for name in self._names(context)], dtype=bool)

    @property
    def only(self) -> str:
        return f"there is a promise only for {self.by} {', '.join(self.own)}" if self.own else "there is none at all"

    def _names(self, context: Context) -> Sequence:
        if (names := context.known.get(self.by)) is None:
            raise ConfigError(f"this calibration has a cut per {self.by}: say the {self.by} of every query, or null "
                              "where it is unknown")
        return names

    def expected(self, m: int) -> None:
        """A law is known within each group, not for the mixture of them."""

    def lines(self) -> list[str]:
        said = [f"{name}: {c.lines()[0]}" for name, c in self.own.items()]
        small = ", ".join(f"{name} ({n})" for name, n in self.fell_back.items())
        rest = f"too few queries: {small}; these and" if small else "there is a cut for every group;"
        return [*said, f"{rest} unseen groups take the pooled cut, which promises nothing for a group: "
                       f"{self.pooled.lines()[0]}"]


@dataclass(frozen=True)
class ByWeight:
    """A cut for each query by its weight, the density of new traffic over that of the calibration queries.

    `ratio` estimates the weight from the router's probabilities; None: weights are known, column `weight`. `served`
    (n,) ascending and `weights` (n,) are those of the calibration queries. Without a ratio the promise is exact (on
    average, under covariate shift); with one it is loosened by half the mean error of the weights, which is unknown.
    """

    kind: ClassVar[str] = "weight"
    only: ClassVar[str] = ""
    method: str
    alpha: float
    delta: None
    n: int
    bound: float  # for a query of mean weight
    n_eff: float
    largest_weight: float  # heavier queries get every model
    ratio: dict | None
    served: tuple[float, ...] = field(repr=False)
    weights: tuple[float, ...] = field(repr=False)

    @classmethod
    def of(cls, found: WeightedCalibration, ratio: DensityRatio | None) -> "ByWeight":
        mean = float(found.weights.mean())
        unserved = float(found.weights[found.served > found.cut_of(np.array([mean]))[0]].sum())
        bound = (unserved + mean) / (float(found.weights.sum()) + mean)
        return cls("weighted", found.alpha, None, len(found.served), bound, found.n_eff, found.largest_weight,
                   None if ratio is None else ratio.to_dict(), tuple(found.served.tolist()),
                   tuple(found.weights.tolist()))

    @classmethod
    def from_fields(cls, **record) -> "ByWeight":
        served = tuple(float(x) for x in record["served"])
        return cls(**record | {"served": served, "weights": tuple(record["weights"])})

    def at(self, alpha: float) -> "ByWeight":
        """Return the calibration of the same queries and weights at another level."""
        found = calibrate_weighted(np.array(self.served), np.array(self.weights), alpha)
        return self.of(found, None if self.ratio is None else DensityRatio.from_dict(self.ratio))

    def weights_of(self, context: Context) -> np.ndarray:
        """Return the weights (n,) of queries: estimated from their features, or given."""
        if self.ratio is not None:
            return DensityRatio.from_dict(self.ratio).weights(context.features)
        if (given := context.known.get("weight")) is None or any(w is None for w in given):
            raise ConfigError("this calibration has known weights: say the `weight` of every query")
        return np.asarray(given, dtype=np.float64)

    def cut_of(self, context: Context) -> np.ndarray:
        """Return the cut (n,) of each query; all models within the hard limits where it is too heavy for any.

        Where the limits leave such a query unserved, its loss comes on top of the promise.
        """
        found = WeightedCalibration(np.array(self.served), np.array(self.weights), self.alpha)
        return np.minimum(found.cut_of(self.weights_of(context)), EVERYTHING)

    def promised(self, context: Context) -> np.ndarray:
        """Return for which queries anything is promised (n,) bool: for all, on average over the new traffic."""
        return np.ones(context.n, dtype=bool)

    def expected(self, m: int) -> None:
        """The observed risk on test rows is that of the old traffic: the promise is for the new."""

    def lines(self) -> list[str]:
        said = [f"a cut for each query by its weight, from {self.n} calibration queries of effective size "
                f"{self.n_eff:.1f}; a query heavier than {self.largest_weight:.4g} gets every model"]
        if self.ratio is None:
            return said
        return [*said, "the weights are estimated: the promise is loosened by half the mean absolute error of the "
                       "weights, which cannot be measured"]


@dataclass(frozen=True)
class Online:
    """A cut that moves with the losses seen (`observe`): adaptive conformal inference over `sample` (n,), ascending.

    The mean loss of the first T queries of any stream is at most alpha + `tracker.bound(T)`; `bound` is that at T = n.
    With `tracker.explore` < 1 it is the expected mean loss.
    """

    kind: ClassVar[str] = "online"
    only: ClassVar[str] = "there is a promise only for a query decided alone, once the loss of the one before is seen"
    method: str
    alpha: float
    delta: None
    n: int
    bound: float
    cut: float
    tracker: OnlineCut
    sample: tuple[float, ...] = field(repr=False)

    @classmethod
    def of(cls, level: OnlineLevel) -> "Online":
        n, tracker = len(level.sample), level.tracker
        return cls("online", tracker.alpha, None, n, tracker.alpha + tracker.bound(n), level.cut, tracker,
                   tuple(level.sample.tolist()))

    @classmethod
    def from_fields(cls, **record) -> "Online":
        sample = tuple(float(x) for x in record["sample"])
        return cls(**record | {"sample": sample, "tracker": OnlineCut(**record["tracker"])})

    @property
    def level(self) -> OnlineLevel:
        return OnlineLevel(np.array(self.sample), self.tracker)

    def cut_of(self, context: Context) -> np.ndarray:
        """Return the cut of the next query, for each (n,): it moves only by `observe`."""
        return np.full(context.n, self.cut)

    def promised(self, context: Context) -> np.ndarray:
        """Return whether a query is the next of the stream (n,) bool: it is if it is decided alone.

        Of several decided together none is: the cut must move with the loss of each before the next is served.
        """
        return np.full(context.n, context.n == 1)

    def observe(self, loss: float) -> "Online":
        """Return the calibration after a query was served at `cut` with this loss, or `racer.online.loss_estimate`."""
        after = self.level.update(loss)
        return replace(self, tracker=after.tracker, cut=after.cut)

    def expected(self, m: int) -> None:
        """The promise is for the mean over a stream with moving cuts, not for the cut in hand."""

    def lines(self) -> list[str]:
        return [f"cut {shown(self.cut)} for the next query, after {self.tracker.count}; it moves with the losses seen",
                f"the {'' if self.tracker.explore == 1 else 'expected '}mean loss of the first {self.n} queries of any "
                f"stream is at most {self.bound:.4f}"]


Calibration = (CountCalibration | BoundedCalibration | BandCalibration | CertifiedCalibration | ByGroup | ByWeight
               | Online)
KINDS = {kind.kind: kind for kind in Calibration.__args__}


def to_record(calibration: Calibration) -> dict:
    """Return the calibration as a JSON-able dictionary; numbers keep every bit, infinities are "inf" and "-inf"."""
    return {"kind": calibration.kind, **_finite(asdict(calibration))}


def from_record(record: dict) -> Calibration:
    """Return the calibration in a record, which may hold more; KeyError, TypeError or ValueError if it is none."""
    return _of_fields(KINDS[record["kind"]], record)


def _of_fields(kind: type, record: dict) -> Calibration:
    values = {f.name: _typed(record[f.name], f.type) for f in fields(kind)}
    return getattr(kind, "from_fields", kind)(**values)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _typed(value, declared):
    if declared is float:
        return float(value)
    return tuple(value) if isinstance(value, list) else value
