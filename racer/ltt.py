"""Learn then test: of many configurations, the cheapest among those that are certified to keep all promised risks.

A configuration is a cut, and perhaps a most number of models. Its p-value on the calibration rows is the largest of its
risks' ("some risk is above its alpha"), and a procedure of `racer.testing` keeps the chance that any bad configuration
is certified below delta. The grid of configurations, their order and the choice among the certified come from other
rows. No loss need be monotone. Angelopoulos et al., arXiv 2110.01052; Pareto testing: Laufer-Goldshtein et al., ICLR
2023, arXiv 2210.07913.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from racer import bounded, testing
from racer.bounded import shown
from racer.bounds import chernoff_n, upper
from racer.context import OneCut
from racer.errors import Infeasible
from racer.losses import Truth
from racer.problem import Problem, reference_of, truth_of
from racer.risk import Risk
from racer.rule import SetRule
from racer.scores import Scores
from racer.steps import Steps, steps


@dataclass(frozen=True)
class CertifiedCalibration(OneCut):
    """The deployed configuration: `cut`, and at most `size` models (None: any number), one of `certified` of `tested`.

    `risks` holds, for each promised risk, its loss, alpha, the mean loss on `n` calibration rows and its own
    level-delta upper bound; `alpha` and `bound` are those of the first. All are kept at once with probability
    1 - delta.
    `objective` is what the deployed configuration costs on the rows it was chosen on: USD, or models where unpriced.
    """

    kind: ClassVar[str] = "certified"
    method: str
    alpha: float
    delta: float
    cut: float
    size: int | None
    n: int
    bound: float
    risks: tuple[dict, ...]
    testing: str
    tested: int
    certified: int
    objective: float

    def expected(self, m: int) -> None:
        """The cut is chosen among many: no law of its observed risk is known."""

    def lines(self) -> list[str]:
        most = "" if self.size is None else f", at most {self.size} models"
        return [f"cut {shown(self.cut)}{most}: the cheapest of {self.certified} certified configurations, "
                f"{self.tested} tested ({self.testing})",
                *(f"{r['loss']}: mean {r['observed']:.4f} on {self.n} calibration queries, bound {r['bound']:.4f}, "
                  f"promised {r['alpha']:g}" for r in self.risks)]


def order_of(risks: np.ndarray, p: np.ndarray, cost: np.ndarray, procedure: str) -> np.ndarray:
    """Return the configurations to test, in order: (F,) of K, from validation `risks` (K, R), `p` (K,), `cost` (K,).

    `pareto`: the Pareto front of risks and cost, by p. Otherwise all of them, by p; ties go to the cheaper.
    """
    if procedure == "pareto":
        return testing.pareto_order(np.column_stack([risks, cost]), p)
    return np.lexsort([cost, p])


def choose(p: np.ndarray, order: np.ndarray, cost: np.ndarray, delta: float, procedure: str) -> tuple[int | None, int]:
    """Return the cheapest certified configuration (None if there is none) and how many are certified.

    `p` (K,) from calibration rows; `order` (F,) and `cost` (K,) must not depend on them.
    """
    passed = testing.rejected(p[order], delta, "fixed_sequence" if procedure == "pareto" else procedure)
    certified = order[passed]
    return (int(certified[np.argmin(cost[certified])]) if certified.size else None), int(certified.size)


def nothing_certified(first: list[dict], n: int, tested: int, delta: float, level: float) -> Infeasible:
    """Return the error that says what the most promising configuration reaches, and about what n it would need.

    `first` are its risks; `level` is that of its own test, `delta` that of all.
    """
    reached = ", ".join(f"{r['loss']} {r['bound']:.4f} (wanted {r['alpha']:g})" for r in first)
    above = [r["loss"] for r in first if r["observed"] >= r["alpha"]]
    needed = None if above else max(n + 1, *(chernoff_n(r["observed"], r["alpha"], level) for r in first))
    help_ = (f"Calibrate on about {needed} queries, or raise these levels" if needed else
             f"More queries would hardly help: its mean {' and '.join(above)} is above the wanted. Raise the levels")
    return Infeasible(f"none of {tested} configurations keeps the promised risks on {n} calibration queries at "
                      f"delta={delta:g}; bounds of the most promising one: {reached}. {help_}",
                      n=n, needed=needed, reachable=first[0]["bound"])


@dataclass(frozen=True)
class _Grid:
    """The configurations, K = sizes x cuts, on some rows: losses at every cut, per size and promised risk."""

    cuts: np.ndarray  # (L,)
    paths: list[list[Steps]]  # sizes x risks
    truth: Truth

    @classmethod
    def of(cls, rows: Scores, rules: list[SetRule], risk: Risk, cuts: np.ndarray, reference: int | None) -> "_Grid":
        truth = truth_of(rows, reference)
        distances = [rule.of_scores(rows) for rule in rules]
        return cls(cuts, [[steps(s, truth, loss) for loss, _ in risk.promises] for s in distances], truth)

    def p_values(self, risk: Risk) -> np.ndarray:
        """Return (K,), of "some promised risk is above its alpha"."""
        p = [[bounded.p_values(path, self.cuts, alpha, risk.bound_used(loss))
              for path, (loss, alpha) in zip(paths, risk.promises, strict=True)] for paths in self.paths]
        return testing.all_risks(np.concatenate([np.column_stack(columns) for columns in p]))

    def means(self) -> np.ndarray:
        """Return the mean losses (K, R)."""
        return np.array([[path.at(cut).mean() for path in paths] for paths in self.paths for cut in self.cuts])

    def losses(self, k: int) -> list[np.ndarray]:
        """Return the losses (n,) of each promised risk in configuration `k`."""
        size, cut = divmod(k, len(self.cuts))
        return [path.at(self.cuts[cut]) for path in self.paths[size]]


def _spend(rows: Scores, rules: list[SetRule], cuts: np.ndarray) -> np.ndarray:
    """Return what each configuration costs on average on `rows` (K,): USD, or models asked where that is unknown."""
    price = np.ones(rows.outcomes.shape) if rows.cost is None else rows.cost  # (n, M)
    spend = []
    for rule in rules:
        s = rule.of_scores(rows)[:, :-1]
        order = np.argsort(s, axis=1)
        events = np.take_along_axis(s, order, axis=1)
        bill = np.cumsum(np.take_along_axis(price, order, axis=1), axis=1)
        bill = Steps(events, np.column_stack([np.zeros(len(s)), bill]))
        spend += [bill.at(cut).mean() for cut in cuts]
    return np.array(spend)


def learn_then_test(problem: Problem) -> CertifiedCalibration:
    """Return the cheapest certified configuration of cut and `risk.sizes`; raise `Infeasible` if none is certified."""
    risk, cuts, reference = problem.risk, problem.grid, reference_of(problem.scores)
    sizes = risk.sizes or (problem.rule.max_size,)
    rules = [replace(problem.rule, max_size=size) for size in sizes]
    before = _Grid.of(problem.design, rules, risk, cuts, reference)
    cost = _spend(problem.design, rules, cuts)
    order = order_of(before.means(), before.p_values(risk), cost, risk.testing)
    now = _Grid.of(problem.rows, rules, risk, cuts, reference)
    best, certified = choose(now.p_values(risk), order, cost, risk.delta, risk.testing)
    n, k = len(problem.rows.ids), int(order[0]) if best is None else best
    risks = tuple(_kept(losses, loss, alpha, risk) for losses, (loss, alpha) in
                  zip(now.losses(k), risk.promises, strict=True))
    if best is None:
        raise nothing_certified(list(risks), n, len(order), risk.delta,
                                testing.first_level(risk.delta, len(order), risk.testing))
    size, cut = divmod(best, len(cuts))
    return CertifiedCalibration("ltt", risk.alpha, risk.delta, float(cuts[cut]), sizes[size], n, risks[0]["bound"],
                                risks, risk.testing, len(order), certified, float(cost[best]))


def _kept(losses: np.ndarray, loss: str, alpha: float, risk: Risk) -> dict:
    return {"loss": loss, "alpha": alpha, "observed": float(losses.mean()),
            "bound": float(upper(losses[:, None], risk.delta, risk.bound_used(loss))[0])}
