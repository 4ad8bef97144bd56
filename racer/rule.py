"""How sets are made from what a router says: the family, the null, prices and hard limits, in one record."""

from dataclasses import dataclass

import numpy as np

from racer.coupling import Coupling
from racer.errors import ConfigError
from racer.estimate import Estimate, Joint
from racer.scores import Scores
from racer.sets import capped, coverage, distance


@dataclass(frozen=True)
class SetRule:
    """Everything but the cut. Fixed before calibration, stored with it, and the same when serving.

    `prices` (M,) are USD per call, the mean on the train split; None: unknown, then costs are uniform. Only `coverage`
    uses `cost_power` (0: uniform, 1: proportional) and `null_cost` (0: the null is in every set). `max_size` models and
    `max_cost` USD are the most that any set may hold or spend, by those prices. With `query_costs` the price of a call
    is what the router expects it to cost for the query at hand. `coupling` gives a router without a
    joint one; it is applied to what the router says before all else (`estimate`). `independent`: sets are made as if
    the models' errors had nothing in common, whatever joint there is.
    """

    family: str
    null: str
    prices: tuple[float, ...] | None = None
    cost_power: float = 0.75
    null_cost: float = 1.0
    max_size: int | None = None
    max_cost: float | None = None
    coupling: Coupling | None = None
    independent: bool = False
    query_costs: bool = False

    def estimate(self, own: Estimate) -> Estimate:
        """Return what the sets are made from, of what the router says."""
        return own if self.coupling is None else self.coupling.estimate(own)

    def of_scores(self, rows: Scores) -> np.ndarray:
        """Return `s` (n, M+1) of rows whose null is the rule's."""
        return self.distance(rows.probabilities, rows.joint, rows.expected_cost)

    def distance(self, p: np.ndarray, joint: Joint | None = None,
                 expected_cost: np.ndarray | None = None) -> np.ndarray:
        """Return `s` (n, M+1) from probabilities `p` (n, M+1), whose null is the rule's, and the joint, if any.

        `expected_cost` (n, M) USD is needed, and read, with `query_costs` only.
        """
        prices = self.prices_of(expected_cost)
        if self.family != "coverage":
            s = distance(p, self.family, self.null)
        else:
            unknown = joint is None or self.independent
            blocks = [(slice(None), p[:, :-1, None])] if unknown else joint.blocks()
            weights = np.ones(1) if unknown else joint.weights
            s = coverage(blocks, weights, self.relative_costs(prices, p.shape[1] - 1), p[:, -1], self._null_cost())
        return capped(s, self.max_size, prices, self.max_cost)

    def prices_of(self, expected_cost: np.ndarray | None) -> np.ndarray | None:
        """Return the price of each call in USD, (M,), or (n, M) with `query_costs`; None where prices are unknown."""
        if self.query_costs:
            if expected_cost is None:
                raise ConfigError("these sets were made by each query's expected costs, and the router here expects "
                                  "none: set sets.costs=mean and calibrate again, or train a router on costs")
            return expected_cost
        if self.max_cost is not None and self.prices is None:
            raise ConfigError("sets.max_cost needs prices, and this table has no complete costs on its train split: "
                              "leave sets.max_cost out, or use sets.max_size")
        return None if self.prices is None else np.array(self.prices)

    def relative_costs(self, prices: np.ndarray | None, m: int) -> np.ndarray:
        """Return (M,) or (n, M): price over the pool's mean price, to the power `cost_power`; ones without prices."""
        if prices is None or not any(self.prices):
            return np.ones(m)
        return (prices / np.mean(self.prices)) ** self.cost_power

    def _null_cost(self) -> float:
        return 0.0 if self.null == "free" else self.null_cost
