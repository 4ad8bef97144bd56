"""A cut per query where the new traffic differs from the calibration queries: weighted conformal prediction.

Covariate shift: the traffic holds other queries than the calibration set did, and a query of given features is as hard
as ever. w(x) = dP_traffic / dP_calibration (x), known up to a common factor, or estimated (`density_ratio`).
Tibshirani, Barber, Candès, Ramdas, "Conformal Prediction Under Covariate Shift", NeurIPS 2019, arXiv 1904.06019.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from racer.errors import ConfigError, Infeasible

REGULARISATION = tuple(10.0**k for k in range(-4, 2))  # inverse strengths C that cross-validation chooses from
FOLDS = 5


@dataclass(frozen=True)
class WeightedCalibration:
    """What is needed to find the cut of a query from its weight: S (n,) ascending, beside it `weights` (n,), `alpha`.

    With weights that are exact up to a common factor, the loss of a new query at its own cut has
    E <= alpha on average over calibration sets and the new traffic (arXiv 1904.06019, Corollary 1). Unit weights give
    `crc`. It holds for the mixture of the traffic, not given x.
    """

    served: np.ndarray
    weights: np.ndarray
    alpha: float

    def cut_of(self, w: np.ndarray) -> np.ndarray:
        """Return the cut (m,) of queries with weights `w` (m,): smallest with unserved weight + w <= alpha * (all + w).

        +inf where even the largest S leaves more than that. Only all models, those past hard limits too, then keep the
        promise; the caller may refuse the query instead.
        """
        w, n = _checked_weights(w), len(self.served)
        above, total = self._above
        p = np.searchsorted(above, self.alpha * (total + w) - w, side="right")  # (m,) how many of `above` are allowed
        # The division is what `crc` compares: unit weights must give its cut to the last query.
        while (more := (p < n) & self._within(above[np.minimum(p, n - 1)], w)).any():
            p += more
        while (fewer := (p > 0) & ~self._within(above[np.maximum(p - 1, 0)], w)).any():
            p -= fewer
        return np.where(p > 0, self.served[np.minimum(n - p, n - 1)], np.inf)

    def bounded(self, w_max: float) -> float:
        """Return one cut that serves all queries with weight <= `w_max`; raise `Infeasible` if there is none.

        (u + w) / (all + w) never falls in w, as u <= all: what is allowed at `w_max` is allowed at every smaller w, so
        this cut is at least the query's own.
        """
        cut = float(self.cut_of(np.array([w_max]))[0])
        if cut == np.inf:
            raise self.infeasible(w_max)
        return cut

    @property
    def n_eff(self) -> float:
        """Kish's effective sample size: (sum w)^2 / sum w^2, n for equal weights."""
        return float(self.weights.sum() ** 2 / np.square(self.weights).sum())

    @property
    def largest_weight(self) -> float:
        """The largest weight whose cut is finite, up to rounding; negative if there is none."""
        return (self.alpha * self._above[1] - self._lost) / (1 - self.alpha)

    def infeasible(self, w: float) -> Infeasible:
        """Return the error that says why a query of weight `w` has no cut, what is reachable, and what would help."""
        n, total = len(self.served), self._above[1]
        reachable = float((self._lost + w) / (total + w))
        spare = self.alpha * total - self._lost  # per n queries; one query adds as much as the mean of them
        needed = int(np.ceil(n * w * (1 - self.alpha) / spare - 1e-9)) if spare > 0 else None
        help_ = (f"calibrate on about {needed} queries" if needed else
                 f"{self._lost / total:.4f} of the weight cannot be served within the hard limits: loosen them")
        return Infeasible(f"alpha={self.alpha:g} is out of reach for a query of weight {w:g}: the {n} calibration "
                          f"queries weigh {total:g} (effective size {self.n_eff:.1f}): {help_}, or raise risk.alpha "
                          f"above {reachable:.4f}", n=n, needed=needed, reachable=reachable)

    @cached_property
    def _above(self) -> tuple[np.ndarray, float]:
        """Weight strictly after each place of S, from the largest S down (n,), and the weight of all."""
        down = np.cumsum(self.weights[::-1])
        return np.concatenate([[0.0], down[:-1]]), float(down[-1])

    @cached_property
    def _lost(self) -> float:
        return float(self.weights[self.served == np.inf].sum())

    def _within(self, unserved: np.ndarray, w: np.ndarray) -> np.ndarray:
        return (unserved + w) / (self._above[1] + w) <= self.alpha


def calibrate_weighted(served: np.ndarray, weights: np.ndarray, alpha: float) -> WeightedCalibration:
    """Return the calibration of `served` (n,), S as in `racer.conformal.calibrate`, with `weights` (n,) >= 0.

    Raises `Infeasible` if not even a new query as light as the lightest calibration query has a cut. Heavier
    ones may still have none: see `largest_weight`.
    """
    served, weights = np.asarray(served, dtype=np.float64), _checked_weights(weights)
    if served.ndim != 1 or weights.shape != served.shape:
        raise ConfigError(f"weights have shape {weights.shape}, S has {served.shape}: give one weight per query")
    if np.isnan(served).any():
        raise ConfigError("a calibration query has S = NaN: probabilities must be numbers in [0, 1]")
    if not 0 < alpha < 1:
        raise ConfigError(f"risk.alpha is {alpha}, expected a risk level between 0 and 1, both excluded")
    if not 0 < weights.sum() < np.inf:
        raise ConfigError(f"the {len(weights)} calibration weights sum to {weights.sum():g}, expected a positive "
                          "number: some calibration queries must be of a kind that the traffic holds")
    order = np.argsort(served, kind="stable")
    calibration = WeightedCalibration(served[order], weights[order], alpha)
    lightest = float(weights.min())
    if calibration.cut_of(np.array([lightest]))[0] == np.inf:
        raise calibration.infeasible(lightest)
    return calibration


@dataclass(frozen=True)
class DensityRatio:
    """An estimate of w(x) = dP_traffic / dP_calibration (x): exp of a linear function of the features, clipped.

    Features are standardised by `mean` and `scale` before `coefficients` (all (d,)) and `intercept`; `clip` = (least,
    most) weight; `strength` is the inverse regularisation C that was chosen.
    """

    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    intercept: float
    clip: tuple[float, float]
    strength: float

    def weights(self, features: np.ndarray) -> np.ndarray:
        """Return the weights (m,) of queries with `features` (m, d)."""
        features = _checked_features(features, "features", len(self.mean))
        logit = (features - self.mean) / self.scale @ self.coefficients + self.intercept
        return np.exp(np.clip(logit, *np.log(self.clip)))

    def to_dict(self) -> dict:
        """Return numbers and lists only, for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "scale", "coefficients")}
        return dict(**arrays, intercept=self.intercept, clip=list(self.clip), strength=self.strength)

    @classmethod
    def from_dict(cls, record: dict) -> "DensityRatio":
        """Return what `to_dict` was called on, bit for bit."""
        arrays = {name: np.array(record[name], dtype=np.float64) for name in ("mean", "scale", "coefficients")}
        return cls(**arrays, intercept=record["intercept"], clip=tuple(record["clip"]), strength=record["strength"])


def density_ratio(calibration_features: np.ndarray, traffic_features: np.ndarray,
                  clip: tuple[float, float] = (0.05, 20.0), seed: int = 0) -> DensityRatio:
    """Return w(x) = P(traffic | x) / P(calibration | x) * n / k by a logistic classifier between two samples.

    `calibration_features` (n, d) come from the distribution of the calibration queries, `traffic_features` (k, d) from
    the new traffic; no outcomes are needed. The L2 regularisation has the least cross-validated log loss.

    The loss of validity: given an estimate `v` made without the rows that calibrate and the queries that are routed,
    scaled to mean 1 under calibration, the risk is at most alpha + 1/2 E_calibration |v(x) - w(x)|. For with `v` the
    promise is exact for traffic of density v dP_calibration, and that is no further than this, in total variation, from
    the real traffic. Lei, Candès, "Conformal inference of counterfactuals and individual treatment effects", JRSSB
    2021, arXiv 2006.06138. Clipping is part of `v`. So fit on *other* rows of the calibration distribution than those
    given to `calibrate_weighted`, and on past traffic: a classifier that has seen the calibration rows has weights
    that depend on them, and the bound no longer holds. The bound cannot be computed, as w is not known.
    """
    from sklearn.linear_model import LogisticRegression  # heavy: only fitting needs it
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    old = _checked_features(calibration_features, "calibration_features")
    new = _checked_features(traffic_features, "traffic_features", old.shape[1])
    n, k = len(old), len(new)
    if min(n, k) < FOLDS:
        raise ConfigError(f"density_ratio got {n} calibration and {k} traffic queries, expected at least {FOLDS} each")
    if not 0 < clip[0] < clip[1] < np.inf:
        raise ConfigError(f"clip is {clip}, expected the least and the most weight: 0 < least < most")
    features, is_new = np.concatenate([old, new]), np.repeat([0, 1], [n, k])
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-10 * np.abs(mean), scale, 1.0)  # less is the rounding of a constant
    features = (features - mean) / scale
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    fits = [LogisticRegression(C=c, max_iter=1000) for c in REGULARISATION]
    gains = [cross_val_score(fit, features, is_new, scoring="neg_log_loss", cv=folds).mean() for fit in fits]
    best = fits[int(np.argmax(gains))].fit(features, is_new)  # a tie goes to the stronger regularisation
    return DensityRatio(mean, scale, best.coef_[0], float(best.intercept_[0] + np.log(n / k)),
                        (float(clip[0]), float(clip[1])), best.C)


def _checked_weights(w: np.ndarray) -> np.ndarray:
    w = np.asarray(w, dtype=np.float64)
    if w.ndim != 1 or not (np.isfinite(w) & (w >= 0)).all():
        raise ConfigError(f"weights of shape {w.shape}: expected finite numbers >= 0, one per query")
    return w


def _checked_features(features: np.ndarray, name: str, d: int | None = None) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or not np.isfinite(features).all() or d not in (None, features.shape[1]):
        raise ConfigError(f"{name} has shape {features.shape}, expected finite numbers (n, {d or 'd'})")
    return features
