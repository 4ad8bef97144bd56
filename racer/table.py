"""What is an outcome table: who answered which query, how well, and at what price.

`n` queries by `M` models. Texts and names are object arrays of `str`; a cell that
may be absent holds `None` (texts) or NaN (numbers), and a column that no cell of the
table has is `None` altogether. On disk a table is a folder with `queries.parquet`,
`outcomes.parquet` and `card.json` (`save` here, `racer.formats.read` to load).
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from racer.errors import TableError

SPLITS = ("train", "validation", "calibration", "test")
OOD = "ood"  # out-of-distribution test queries: reported apart, under no promise
KINDS = ("binary", "fraction", "probability")
CELLS = ("scores", "answers", "cost", "output_tokens", "confidence")  # columns (n, M)


@dataclass(frozen=True)
class OutcomeTable:
    """Recorded outcomes of `M` models on `n` queries.

    `scores` (n, M) lie in [0, 1]; what they mean is the task's kind, `kinds[task]`:
    `binary` (the default), `fraction` (share of repeated attempts that were right) or
    `probability` (probability of the right option, zero when the model was wrong).
    `cost` is USD per call. `confidence` is how sure a model is of its own answer, however it was asked.
    `split` is one of SPLITS or "ood", or "" where unknown.
    `notes` are sentences for the user about what reading did (rows dropped, say).
    """

    ids: np.ndarray  # (n,) str
    queries: np.ndarray  # (n,) str
    task: np.ndarray  # (n,) str
    split: np.ndarray  # (n,) str
    models: tuple[str, ...]  # M names, in column order
    scores: np.ndarray  # (n, M) float64
    answers: np.ndarray | None = None  # (n, M) str or None
    reference: np.ndarray | None = None  # (n,) str or None
    cost: np.ndarray | None = None  # (n, M) float64, NaN where unknown
    output_tokens: np.ndarray | None = None  # (n, M) float64, NaN where unknown
    confidence: np.ndarray | None = None  # (n, M) float64 in [0, 1], NaN where a model says nothing of its answer
    kinds: dict[str, str] = field(default_factory=dict)  # task -> one of KINDS
    card: dict = field(default_factory=dict)  # name, description, simulated, prices, ...
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        n, m = len(self.ids), len(self.models)
        shapes = dict(queries=(n,), task=(n,), split=(n,), scores=(n, m), answers=(n, m), reference=(n,),
                      cost=(n, m), output_tokens=(n, m), confidence=(n, m))
        for name, shape in shapes.items():
            column = getattr(self, name)
            if column is not None and column.shape != shape:
                raise TableError(f"{name} has shape {column.shape}, expected {shape} for {n} queries and {m} models: "
                                 "rebuild the table with `python scripts/prepare.py`")

    @property
    def name(self) -> str:
        return self.card.get("name", "unnamed")

    @property
    def simulated(self) -> bool:
        return bool(self.card.get("simulated", False))

    @property
    def listed(self) -> dict[str, dict]:
        """What the card says of models, by their names; of some, or of others, perhaps of none."""
        return {one["name"]: one for one in self.card.get("models", [])}

    @property
    def title(self) -> str:
        """The name as it is shown: a simulated table says so wherever it appears."""
        return f"{self.name} (simulated)" if self.simulated else self.name

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of one split, ascending."""
        return np.flatnonzero(self.split == split)

    def take(self, rows: np.ndarray) -> "OutcomeTable":
        """Return the table of these rows (numbers or a mask), in their order."""
        columns = ("ids", "queries", "task", "split", "reference", *CELLS)
        return replace(self, **{c: v[rows] for c in columns if (v := getattr(self, c)) is not None})

    def of_models(self, names: Sequence[str]) -> "OutcomeTable":
        """Return the table of these models, in this order; raise `TableError` if one is not in it, or named twice."""
        unknown = [name for name in names if name not in self.models]
        if unknown or len(set(names)) < max(len(names), 2):
            raise TableError(f"data.models is {', '.join(names)}; expected at least two different names of the table "
                             f"{self.name!r}: {', '.join(self.models)}")
        columns = [self.models.index(name) for name in names]
        return replace(self, models=tuple(names),
                       **{c: v[:, columns] for c in CELLS if (v := getattr(self, c)) is not None})

    def outcomes(self, right_at: float = 0.5) -> np.ndarray:
        """Return which models are right, (n, M) bool: the score, read by the kind of its task.

        `probability`: score > 0. `fraction`: score >= `right_at`, in (0, 1]. Else score >= .5.
        """
        kind = self._kind()
        least = np.where(kind == "fraction", right_at, 0.5)
        return np.where(kind == "probability", self.scores > 0, self.scores >= least)

    def complete_cost(self) -> np.ndarray | None:
        """Return the costs (n, M) if every cell has one, else None: a sum with holes is no cost."""
        return None if self.cost is None or np.isnan(self.cost).any() else self.cost

    def soft_targets(self, right_at: float = 0.5) -> np.ndarray:
        """Return training targets (n, M) in [0, 1]: the score itself for `fraction` tasks, else the outcome."""
        return np.where(self._kind() == "fraction", self.scores, self.outcomes(right_at))

    def graded(self, right_at: float = 0.5) -> np.ndarray | None:
        """Return the outcomes between 0 and 1 (n, M), as far as tasks have such (`fraction`); None if none has."""
        return self.soft_targets(right_at) if "fraction" in self.kinds.values() else None

    def _kind(self) -> np.ndarray:  # (n, 1)
        return np.array([self.kinds.get(t, "binary") for t in self.task], dtype=object)[:, None]

    def fingerprint(self) -> str:
        """Return a hash of everything that training, calibration or evaluation can see of the table."""
        digest = hashlib.sha256(json.dumps([self.models, sorted(self.kinds.items())]).encode())
        for column in (self.ids, self.queries, self.task, self.split):
            digest.update(json.dumps(column.tolist()).encode())
        for numbers in (self.scores, self.cost):
            digest.update(b"-" if numbers is None else np.ascontiguousarray(numbers, dtype=np.float64).tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: str | os.PathLike) -> Path:
        """Write `queries.parquet`, `outcomes.parquet` and `card.json`; return the folder."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        n, m = self.scores.shape

        def cells(column, dtype):  # (n, M) or None -> one long arrow column, NaN and None as null
            if column is None:
                return pa.nulls(n * m, dtype)
            return pa.array(column.reshape(-1), type=dtype, from_pandas=True)

        reference = pa.nulls(n, pa.string()) if self.reference is None else pa.array(self.reference, pa.string())
        queries = {"id": pa.array(self.ids, pa.string()), "task": pa.array(self.task, pa.string()),
                   "split": pa.array([s or None for s in self.split], pa.string()),
                   "query": pa.array(self.queries, pa.string()), "reference": reference}
        outcomes = {"id": pa.array(np.repeat(self.ids, m), pa.string()),
                    "model": pa.array(np.tile(np.array(self.models, dtype=object), n), pa.string()),
                    "score": cells(self.scores, pa.float64()), "answer": cells(self.answers, pa.string()),
                    "cost": cells(self.cost, pa.float64()), "output_tokens": cells(self.output_tokens, pa.int32()),
                    "confidence": cells(self.confidence, pa.float64())}
        pq.write_table(pa.table(queries), folder / "queries.parquet", compression="zstd")
        pq.write_table(pa.table(outcomes), folder / "outcomes.parquet", compression="zstd")
        models = [self.listed.get(name, {"name": name}) for name in self.models]
        card = {**self.card, "name": self.name, "models": models,
                "score_kinds": dict(self.kinds)}
        (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder
