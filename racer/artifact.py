"""What a calibration is, on file: `calibration.json`, and whom it was made for."""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from racer import __version__
from racer.conformal import Calibration
from racer.coupling import Coupling
from racer.errors import ConfigError
from racer.files import write_json
from racer.rule import SetRule


@dataclass(frozen=True)
class Artifact:
    """Everything that turns probabilities into sets, with the promise it was made under.

    `fingerprint` is that of the scores it was calibrated on: `router` (weights, tokenizer, settings and
    model order) and `table`. A cut means nothing beside any other router.
    """

    rule: SetRule
    loss: str
    calibration: Calibration
    models: tuple[str, ...]
    fingerprint: dict

    def save(self, path: str | os.PathLike) -> None:
        """Write the artifact; `cut` keeps every bit, and -inf is the string "-inf"."""
        numbers = asdict(self.calibration)
        numbers["cut"] = "-inf" if numbers["cut"] == -math.inf else numbers["cut"]
        write_json(path, dict(**asdict(self.rule), loss=self.loss, **numbers, models=list(self.models),
                              fingerprint=self.fingerprint, racer=__version__))

    def check(self, fingerprint: str | None, models: tuple[str, ...]) -> None:
        """Raise `ConfigError` unless it was calibrated for this router and this pool, in this order."""
        if self.models != models:
            raise ConfigError(f"calibration.json was made for the models {', '.join(self.models)}, the router has "
                              f"{', '.join(models)}: run `python scripts/calibrate.py run=DIR`")
        made_for = self.fingerprint.get("router")
        if made_for != fingerprint:
            raise ConfigError(f"calibration.json was made for router {made_for}, this router is {fingerprint}: its cut "
                              "promises nothing here. Score and calibrate this router: python scripts/train.py")


def load(path: str | os.PathLike) -> Artifact:
    """Return the artifact in a file; raise `ConfigError` if there is none."""
    if not Path(path).is_file():
        raise ConfigError(f"no calibration at {path}: run `python scripts/calibrate.py run=DIR` first")
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        numbers = {name: record[name] for name in Calibration.__dataclass_fields__}
        numbers["cut"] = float(numbers["cut"])  # "-inf" too
        rule = {name: record[name] for name in SetRule.__dataclass_fields__}
        rule["prices"] = None if rule["prices"] is None else tuple(rule["prices"])
        if rule["coupling"] is not None:
            rule["coupling"] = Coupling(**{name: tuple(values) for name, values in rule["coupling"].items()})
        return Artifact(SetRule(**rule), record["loss"], Calibration(**numbers), tuple(record["models"]),
                        record["fingerprint"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a calibration ({type(error).__name__}: {error}): run "
                          "`python scripts/calibrate.py run=DIR` again") from None
