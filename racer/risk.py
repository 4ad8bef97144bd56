"""What is promised and by which method: everything about a promise but the data."""

from dataclasses import dataclass
from typing import Any

from racer.bounds import BOUNDS
from racer.errors import ConfigError
from racer.losses import SERVED, check_name
from racer.online import ESTIMATED
from racer.testing import PROCEDURES

METHODS = ("pac", "crc", "dkw", "ltt", "group", "weighted", "online")
WITHOUT_DELTA = ("crc", "weighted", "online")
ONE_NUMBER = ("dkw", "group", "weighted", "online")  # methods for losses of 0 or 1 only
TESTING = (*PROCEDURES, "pareto")


def one_of(name: str, value: Any, allowed: tuple) -> None:
    """Raise `ConfigError` unless a setting has one of the values it may have."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}, expected one of {', '.join(map(str, allowed))}")


def _level(name: str, value: float, why: str = "") -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{name} is {value}, expected {'a probability' if why else 'a risk level'} between 0 and 1, "
                          f"both excluded{why}")


@dataclass(frozen=True)
class Also:
    """One more risk that `ltt` must keep."""

    loss: str
    alpha: float

    def __post_init__(self):
        check_name(self.loss)
        _level(f"risk.also alpha of {self.loss}", self.alpha)


@dataclass(frozen=True)
class Risk:
    """A promise: the risk `loss` is at most `alpha`, by `method`; raises `ConfigError` on values that contradict.

    `bound` is an upper bound of `racer.bounds.BOUNDS`, or `auto`: binomial for losses of 0 or 1, `wsr` for others.
    `cuts` is the size of the grid where a method needs one. The rest belongs to one method each: see `RiskConfig`.
    """

    loss: str = "misrouting"
    method: str = "pac"
    alpha: float = 0.1
    delta: float = 0.1
    bound: str = "auto"
    cuts: int = 200
    also: tuple[Also, ...] = ()
    testing: str = "fixed_sequence"
    sizes: tuple[int, ...] | None = None
    by: str = "task"
    within: str = "pac"
    least: int | None = None
    floor: bool = False
    weights: str = "ood"
    step: float = 0.005
    decay: float = 0.0
    explore: float = 1.0

    def __post_init__(self):
        check_name(self.loss)
        for name, allowed in (("method", METHODS), ("bound", ("auto", *BOUNDS)), ("testing", TESTING),
                              ("by", ("task", "group")), ("within", ("pac", "crc"))):
            one_of(f"risk.{name}", getattr(self, name), allowed)
        _level("risk.alpha", self.alpha)
        if self.uses_delta:
            _level("risk.delta", self.delta, f", for {self.method}")
        if self.method == "dkw" and self.delta > 0.5:
            raise ConfigError(f"risk.delta is {self.delta}, expected at most 0.5 for dkw")
        if self.bound == "binomial" and (other := [loss for loss, _ in self.promises if loss not in SERVED]):
            raise ConfigError(f"risk.bound=binomial is for losses of 0 or 1 ({', '.join(SERVED)}), got {other[0]}: "
                              "set risk.bound=auto")
        if self.method in ONE_NUMBER and self.loss not in SERVED:
            raise ConfigError(f"risk.method={self.method} is for losses of 0 or 1 ({', '.join(SERVED)}), got risk.loss="
                              f"{self.loss}: set risk.method=crc, pac or ltt, or another risk.loss")
        if self.also and self.method != "ltt":
            raise ConfigError(f"risk.also is for risk.method=ltt, got {self.method}: several risks at once need "
                              "ltt; set risk.also=[] for one")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.cuts < 2:
            raise ConfigError(f"risk.cuts is {self.cuts}, expected at least 2 cuts in the grid")
        if self.sizes is not None and (not self.sizes or min(self.sizes) < 1):
            raise ConfigError(f"risk.sizes is {list(self.sizes)}, expected numbers of models of at least 1")
        if not self.step > 0 or not 0 <= self.decay < 1:
            raise ConfigError(f"risk.step={self.step}, risk.decay={self.decay}: expected a step above 0 and a decay of "
                              "at least 0 and below 1")
        if not 0 < self.explore <= 1:
            raise ConfigError(f"risk.explore is {self.explore}, expected a probability above 0, at most 1")
        if self.explore < 1 and self.method == "online" and self.loss not in ESTIMATED:
            raise ConfigError(f"risk.explore={self.explore} is for losses that members alone do not say "
                              f"({', '.join(ESTIMATED)}), got risk.loss={self.loss}: set risk.explore=1")

    @classmethod
    def of(cls, settings: dict) -> "Risk":
        """Return the promise in a dictionary of settings, as a configuration or a JSON file has it."""
        also = tuple(Also(**dict(one)) for one in settings["also"])
        sizes = None if settings["sizes"] is None else tuple(settings["sizes"])
        return cls(**settings | {"also": also, "sizes": sizes})

    @property
    def uses_delta(self) -> bool:
        return self.method not in WITHOUT_DELTA and not (self.method == "group" and self.within == "crc")

    @property
    def promises(self) -> tuple[tuple[str, float], ...]:
        """Every (loss, alpha) that is promised."""
        return ((self.loss, self.alpha), *((one.loss, one.alpha) for one in self.also))

    def bound_used(self, loss: str | None = None) -> str:
        """Return the bound that `auto` stands for, for this loss or the promised one."""
        return self.bound if self.bound != "auto" else "binomial" if (loss or self.loss) in SERVED else "wsr"
