"""What an experiment found: one record per ground, variant, method, calibration size and alpha."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What one variant does on one ground: by one method, at one calibration size and alpha."""

    ground: str
    variant: str
    method: str
    calibration: int  # rows
    test: int  # rows
    alpha: float
    numbers: dict[str, dict | None]  # measure: value, low, high over splits; None where alpha cannot be promised
    above_alpha: float | None  # share of splits whose observed risk exceeds alpha

    def row(self) -> dict:
        """Return the finding as a row of a table."""
        flat = {f"{name}/{end}": "" if found is None else found[end] for name, found in self.numbers.items()
                for end in ("value", "low", "high")}
        return {"ground": self.ground, "variant": self.variant, "method": self.method, "calibration": self.calibration,
                "test": self.test, "alpha": self.alpha, **flat, "above_alpha": self.above_alpha}
