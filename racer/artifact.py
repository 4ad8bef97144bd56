"""What a calibration is, on file: `calibration.json`, and whom it was made for.

It is sealed (`racer.sealed`): a cut or a level that was edited by hand promises nothing to anybody.
"""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from racer import __version__, calibrations, sealed
from racer.calibrations import Calibration
from racer.coupling import Coupling
from racer.errors import ConfigError
from racer.fingerprints import differing
from racer.risk import Risk
from racer.rule import SetRule

FILE = "calibration.json"
AGAIN = "calibrate again where its scores are, in seconds: run `python scripts/calibrate.py run=DIR`"
ALWAYS_A_CUT = ("weighted", "online")  # methods that serve every query, within the limits where no cut would do
BEYOND = "queries that sets.max_size or sets.max_cost leave unserved at every cut may come on top of this promise"


@dataclass(frozen=True)
class Artifact:
    """Everything that turns probabilities into sets, with the promise it was made under.

    `fingerprint` names what it was calibrated for, part by part (`racer.fingerprints`). A cut means nothing beside any
    other router. `reference` is the column of the best single
    model on train, which `harm` compares with; None where there were no train rows.
    """

    rule: SetRule
    risk: Risk
    calibration: Calibration
    models: tuple[str, ...]
    fingerprint: dict
    reference: int | None = None

    @property
    def loss(self) -> str:
        return self.risk.loss

    def lines(self) -> list[str]:
        """Return what a person should know of the cut."""
        limited = self.rule.max_size is not None or self.rule.max_cost is not None
        return [*self.calibration.lines(), *[BEYOND] * (limited and self.calibration.method in ALWAYS_A_CUT)]

    def observe(self, loss: float) -> "Artifact":
        """Return the artifact after one more query was served and its loss, or `racer.online.loss_estimate`, was seen.

        Raises `ConfigError` unless it is online: no other cut may move after calibration.
        """
        if not isinstance(self.calibration, calibrations.Online):
            raise ConfigError(f"this calibration is by {self.calibration.method}, whose cut must not move: calibrate "
                              "with risk.method=online to feed losses back")
        return replace(self, calibration=self.calibration.observe(loss))

    def save(self, path: str | os.PathLike) -> None:
        """Write the artifact; numbers keep every bit, and a cut of -inf is the string "-inf"."""
        sealed.write(path, self.record())

    def record(self) -> dict:
        """Return the artifact as it is written but for the seal: all of it, JSON-able."""
        reference = None if self.reference is None else self.models[self.reference]
        return dict(**asdict(self.rule), loss=self.loss, **calibrations.to_record(self.calibration),
                    reference=reference, models=list(self.models), risk=asdict(self.risk),
                    fingerprint=self.fingerprint, racer=__version__)

    def check(self, found: dict, models: tuple[str, ...]) -> None:
        """Raise `ConfigError` unless it was calibrated for this pool, in this order, and for what was found.

        `found` holds fingerprints by part, `router` at least; parts that one side does not know are not compared.
        """
        self.check_pool(models)
        if difference := self.difference(found):
            raise ConfigError(difference)

    def check_pool(self, models: tuple[str, ...]) -> None:
        """Raise `ConfigError` unless it was calibrated for this pool, in this order."""
        if self.models != models:
            raise ConfigError(f"calibration.json was made for the models {', '.join(self.models)}, the router has "
                              f"{', '.join(models)}: run `python scripts/calibrate.py run=DIR`")

    def difference(self, found: dict) -> str | None:
        """Return in what this router, table or splits are not those it was calibrated for, None if they are."""
        made_for, router = self.fingerprint.get("router"), found.get("router")
        parts = differing(self.fingerprint, found)
        if made_for != router:
            which = f" (other {', '.join(parts)})" if parts else ""
            return (f"calibration.json was made for router {made_for}, this router is {router}{which}: its cut "
                    "promises nothing here. Score and calibrate this router: python scripts/train.py")
        if parts:
            return (f"calibration.json was made for other {', '.join(parts)} than these: its cut promises nothing "
                    "here. Calibrate again: python scripts/calibrate.py run=DIR")
        return None


def load(path: str | os.PathLike) -> Artifact:
    """Return the artifact in a file; raise `ConfigError` if there is none, or if it is not what was written."""
    if not Path(path).is_file():
        raise ConfigError(f"no calibration at {path}: run `python scripts/calibrate.py run=DIR` first")
    record = sealed.read(path, "calibration", AGAIN)
    try:
        rule = {name: record[name] for name in SetRule.__dataclass_fields__}
        rule["prices"] = None if rule["prices"] is None else tuple(rule["prices"])
        if rule["coupling"] is not None:
            rule["coupling"] = Coupling(**{name: tuple(values) for name, values in rule["coupling"].items()})
        models, reference = tuple(record["models"]), record["reference"]
        return Artifact(SetRule(**rule), Risk.of(record["risk"]), calibrations.from_record(record), models,
                        record["fingerprint"], models.index(reference) if reference in models else None)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a calibration ({type(error).__name__}: {error}): {AGAIN}") from None
