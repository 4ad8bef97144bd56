"""What is kept of every test: the promised level, what came, and how far off that is."""

import math
from dataclasses import dataclass, field

import numpy as np
from document import markdown
from tqdm import tqdm

DELTA = 0.1  # 1 - confidence, where nothing else is said


@dataclass(frozen=True)
class Cell:
    """One promise put to the test: `realised` may exceed `promised` by chance, with standard error `se`."""

    method: str
    promised: float
    realised: float
    se: float

    @property
    def excess(self) -> float:
        """How far realised lies above promised, in standard errors."""
        over = self.realised - self.promised
        return over / self.se if self.se > 0 else (math.inf if over > 1e-12 else -math.inf)

    def __str__(self) -> str:
        return f"{self.realised:.{3 if self.promised >= 0.05 else 4}f}" + (" !" if self.excess > 3 else "")


@dataclass
class Report:
    """The sections of the document, every promise that was tested, and what the figures need."""

    draws: int
    bar: tqdm
    parts: list[str] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    curves: dict = field(default_factory=dict)

    def test(self, method: str, promised: float, realised: np.ndarray) -> Cell:
        """Keep and return the cell of `realised` (T,), one per calibration set: bool for a share, else a mean."""
        share = realised.dtype == bool
        spread = math.sqrt(promised * (1 - promised)) if share else float(realised.std(ddof=1))
        cell = Cell(method, promised, float(realised.mean()), spread / math.sqrt(len(realised)))
        self.cells.append(cell)
        return cell

    def say(self, *lines: str) -> None:
        self.parts += [*lines, ""]

    def table(self, columns: list[str], rows: list[list]) -> None:
        self.say(*markdown(columns, rows))
