"""The answers that a run's table recorded, kept beside its scores: `recorded.parquet`, so that a run folder is whole.

One row per query: `id`, `task`, `kind` (what its answers are, `racer.answers.ANSWER_KINDS`), `options` (how many
answers are possible, 0 where that is open) and `answers`, verbatim, one per model in the order that the file's metadata
names, null where a model gave none. With `confidence`, one per model likewise, where some model said how sure it was;
how each was asked stands in the metadata (`ways`), as far as the table's card knows.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from racer.answers import Answers, codes_of, kinds_of
from racer.baselines import best_single
from racer.errors import TableError
from racer.estimate import Estimate
from racer.files import whole
from racer.scores import Scores
from racer.table import OutcomeTable

FILE = "recorded.parquet"
ABSENT = ("answers are absent: a certificate of the answer needs what every model answered. The sets of this run and "
          "their promises stand without (scripts/calibrate.py). With a table that has a column `answer` for the same "
          "ids and models, give answers=TABLE")


@dataclass(frozen=True)
class Recorded:
    """Scores beside the answers that were recorded for the same queries; `reference` is the best single on train."""

    scores: Scores
    answers: Answers
    reference: int | None

    @classmethod
    def of(cls, scores: Scores, answers: Answers) -> "Recorded":
        return cls(scores, answers, best_single(scores.of_split("train")))

    def take(self, rows: np.ndarray) -> "Recorded":
        return Recorded(self.scores.take(rows), self.answers.take(rows), self.reference)

    def of_split(self, split: str) -> "Recorded":
        return self.take(np.flatnonzero(self.scores.split == split))

    @property
    def estimate(self) -> Estimate:
        """What the router says of these rows, its null left out, and the models of their own answers."""
        return Estimate(self.scores.probabilities[:, :-1], self.scores.learned_null, self.scores.joint,
                        own_confidence=self.answers.confidence)

    @property
    def prices(self) -> np.ndarray:
        """What each call is worth (n, M): USD, or 1 where costs are unknown."""
        return np.ones(self.scores.outcomes.shape) if self.scores.cost is None else self.scores.cost


@dataclass(frozen=True)
class AnswerLog:
    """Answers by query id, with what is needed to read a new answer of the same tasks."""

    ids: np.ndarray  # (n,) str
    task: np.ndarray  # (n,) str
    kind: np.ndarray  # (n,) str
    models: tuple[str, ...]
    answers: Answers
    ways: tuple[str | None, ...] = ()  # (M,) how each was asked how sure it is, as a pool file's `confidence`; ()

    @classmethod
    def of_table(cls, table: OutcomeTable) -> "AnswerLog | None":
        """Return the answers of a table, None if it has none."""
        answers = Answers.of_table(table)
        if answers is None:
            return None
        kinds = kinds_of(table)
        return cls(table.ids.astype(str), table.task.astype(str), np.array([kinds[t] for t in table.task], dtype=str),
                   table.models, answers, _ways(table) if answers.confidence is not None else ())

    def aligned(self, ids: np.ndarray, models: tuple[str, ...]) -> "AnswerLog":
        """Return the rows `ids` and the columns `models`, in this order; raise `TableError` if one is not there."""
        place = {name: i for i, name in enumerate(self.ids.tolist())}
        lost = [name for name in ids.tolist() if name not in place]
        away = [name for name in models if name not in self.models]
        if lost or away:
            what = f"{len(lost)} of {len(ids)} queries, the first is {lost[0]!r}" if lost else \
                f"the model {', '.join(away)}"
            raise TableError(f"the recorded answers lack {what}: give answers=TABLE, the table that the scores are of")
        rows, columns = [place[name] for name in ids.tolist()], [self.models.index(name) for name in models]
        cells, kind, sure = np.ix_(rows, columns), self.kind[rows], self.answers.confidence
        texts = self.answers.texts[cells]
        return AnswerLog(ids, self.task[rows], kind, models,
                         Answers(texts, codes_of(texts, kind.tolist()), self.answers.options[rows],
                                 None if sure is None else sure[cells]),
                         tuple(self.ways[m] for m in columns) if self.ways else ())

    def tasks(self) -> dict[str, dict]:
        """Return the kind of each task's answers and the number of options that most of its queries have."""
        found = {}
        for task in np.unique(self.task).tolist():
            rows = self.task == task
            options, counts = np.unique(self.answers.options[rows], return_counts=True)
            found[task] = {"kind": str(self.kind[rows][0]), "options": int(options[counts.argmax()])}
        return found

    def save(self, path: str | os.PathLike) -> None:
        """Write the file whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"id": pa.array(self.ids.tolist(), pa.string()), "task": pa.array(self.task.tolist(), pa.string()),
                   "kind": pa.array(self.kind.tolist(), pa.string()),
                   "options": pa.array(self.answers.options, pa.int64()),
                   "answers": pa.array(self.answers.texts.tolist(), pa.list_(pa.string()))}
        if (sure := self.answers.confidence) is not None:
            columns["confidence"] = pa.array([pa.array(row, from_pandas=True) for row in sure], pa.list_(pa.float64()))
        known = {"models": json.dumps(self.models), "ways": json.dumps(self.ways)}
        table = pa.table(columns).replace_schema_metadata(known)
        with whole(path) as partial:
            pq.write_table(table, partial, compression="zstd")


def load(path: str | os.PathLike) -> AnswerLog:
    """Return what `AnswerLog.save` wrote; raise `TableError` if it is not there or not such a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise TableError(f"no {path}: {ABSENT}")
    try:
        table = pq.read_table(path)
        models = tuple(json.loads(table.schema.metadata[b"models"]))
        ways = tuple(json.loads(table.schema.metadata.get(b"ways", b"[]")))
        ids, task, kind, options, rows = (table[name].to_pylist() for name in
                                          ("id", "task", "kind", "options", "answers"))
        texts = np.empty((len(ids), len(models)), dtype=object)
        texts[:] = np.array(rows, dtype=object).reshape(texts.shape)
        sure = table["confidence"].to_pylist() if "confidence" in table.column_names else None
        sure = None if sure is None else np.array(sure, dtype=np.float64).reshape(texts.shape)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path} does not hold recorded answers ({type(error).__name__}: {error}): train again, or "
                         "give answers=TABLE") from None
    answers = Answers(texts, codes_of(texts, kind), np.array(options, dtype=np.int64), sure)
    return AnswerLog(*(np.array(texts, dtype=str) for texts in (ids, task, kind)), models, answers, ways)


def _ways(table: OutcomeTable) -> tuple[str | None, ...]:
    """Return how each model was asked how sure it is, None where the card does not say."""
    said = [table.listed.get(name, {}).get("confidence") for name in table.models]
    return tuple(way if isinstance(way, str) else None for way in said)
