"""From long columns to a table: every format goes through here, so all get the same checks.

A reader hands over two `Entries`, which may be the same one. `queries` has columns `id` and
`query` (optional: `task`, `split`, `reference`); an id may come again as long as it says the
same. `outcomes` has `id`, `model` and `score` (optional: `answer`, `cost`, `output_tokens`,
`confidence`), one entry per (query, model); a null score is an outcome that was not recorded.
`k` is the number of entries, `n` of queries, `M` of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from racer.errors import TableError
from racer.table import OOD, SPLITS, OutcomeTable

SHOWN = 3  # offending entries named in an error; the rest are counted
SPLIT_NAMES = {name: name for name in (*SPLITS, OOD, "")} | {"calib": "calibration"}
NO_TASK = "all"  # the task of rows that name none
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Entries:
    """Columns of `k` entries, and where each stands in which file, as the file's reader counts."""

    table: pa.Table  # k rows
    files: tuple[str, ...]
    file: np.ndarray  # (k,) index into files
    row: np.ndarray  # (k,) lines count from 1, rows and records from 0
    unit: str  # "line", "row" or "record"

    @classmethod
    def of(cls, columns: dict | pa.Table, file: str, rows: Sequence[int], unit: str) -> "Entries":
        """Return the entries of one file, `rows` (k,) saying where each stands."""
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        return cls(table, (file,), np.zeros(len(table), dtype=np.int64), np.asarray(rows, dtype=np.int64), unit)

    @classmethod
    def join(cls, parts: Sequence["Entries"]) -> "Entries":
        """Return the entries of several files, one after the other."""
        table = pa.concat_tables([p.table for p in parts], promote_options="permissive")
        file = np.repeat(np.arange(len(parts)), [len(p.row) for p in parts])
        return cls(table, tuple(p.files[0] for p in parts), file, np.concatenate([p.row for p in parts]), parts[0].unit)

    def at(self, i: int) -> str:
        """Return where entry `i` stands, in words."""
        counting = "" if self.unit == "line" else " (counting from 0)"
        return f"{self.files[self.file[i]]}, {self.unit} {self.row[i]}{counting}"

    def require(self, columns: Sequence[str]) -> None:
        """Raise a TableError unless all these columns are there."""
        absent = [c for c in columns if c not in self.table.column_names]
        if absent:
            raise TableError(f"{self.files[0]}: column {', '.join(absent)} is missing; expected {', '.join(columns)}, "
                             f"found {', '.join(self.table.column_names) or 'none'}: rename or add the columns "
                             "(one row per query and model; README, 'Your own data')")

    def refuse(self, bad: np.ndarray, column: str, remedy: str) -> None:
        """Raise a TableError that shows the first entries flagged in `bad` (k,) bool, if any is."""
        rows = np.flatnonzero(bad)
        if rows.size:
            values = [repr(v) for v in self.table[column].take(pa.array(rows[:SHOWN])).to_pylist()]
            shown = [f"{self.at(i)}, column {column}: got {_short(v)}" for i, v in zip(rows, values, strict=False)]
            raise TableError(f"{listing(shown, rows.size, '; ')}: {remedy}")

    def coded(self, column: str) -> tuple[np.ndarray, list[str]]:
        """Return a text column as codes (k,), -1 where null or blank, into its values in order of first appearance."""
        if column not in self.table.column_names:
            return np.full(len(self.table), -1), []
        encoded = self._cast(column, pa.large_string()).dictionary_encode().unify_dictionaries()
        values = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
        codes = [pc.fill_null(chunk.indices, -1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
        blank = np.array([not value.strip() for value in values] + [True])
        codes = np.concatenate([np.zeros(0, dtype=np.int64), *codes])
        return np.where(blank[codes], -1, codes), values

    def text(self, column: str, null: str | None = None) -> np.ndarray:
        """Return a text column as an object array (k,), equal texts sharing one object, `null` where blank."""
        codes, values = self.coded(column)
        return np.array([*values, null], dtype=object)[codes]

    def numbers(self, column: str) -> np.ndarray:
        """Return a column as float64, (k,), NaN where null; text that is no number is refused.

        32-bit scores are rounded to 7 decimals, so that a stored 0.7 is no less than 0.7.
        """
        if column not in self.table.column_names:
            return np.full(len(self.table), np.nan)
        if not _numeric(self.table[column].type):
            return self._parsed(column)
        narrow = self.table[column].type in (pa.float32(), pa.float16())
        wide = self._cast(column, pa.float64()).to_numpy()
        return np.round(wide, 7) if narrow and column == "score" else wide

    def _parsed(self, column: str) -> np.ndarray:
        text = pc.utf8_trim_whitespace(self._cast(column, pa.large_string()))
        for word, number in (("true", "1"), ("false", "0")):  # as pandas writes them
            text = pc.replace_substring_regex(text, f"^(?i:{word})$", number)
        blank = pc.fill_null(pc.equal(text, ""), True)
        good = pc.or_(blank, pc.fill_null(pc.match_substring_regex(text, NUMBER), True))
        self.refuse(~good.to_numpy(), column, "expected a number, or nothing where it is unknown; mend these cells")
        return pc.cast(pc.if_else(blank, pa.scalar(None, pa.large_string()), text), pa.float64()).to_numpy()

    def _cast(self, column: str, kind: pa.DataType) -> pa.ChunkedArray:
        try:
            return pc.cast(self.table[column], kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise TableError(f"{self.files[0]}, column {column}: got values of type {self.table[column].type}, "
                             f"expected {kind}: write the column as text or numbers") from None


def assemble(queries: Entries, outcomes: Entries, *, models: Sequence[str] = (), kinds: dict[str, str] | None = None,
             card: dict, missing: str = "error") -> OutcomeTable:
    """Return the table of these entries, or raise a TableError that names file, row, column and remedy.

    Queries keep the order of first appearance; models have the order of `models` where given (any other
    name is then refused), else of first appearance. `missing="drop"` leaves out, and counts in the notes,
    every query that lacks an outcome of some model; a missing outcome is never counted as wrong. `missing="keep"` has
    NaN in its place, for who picks some of the models first.
    """
    if missing not in ("error", "drop", "keep"):
        raise TableError(f"missing is {missing!r}, expected 'error', 'drop' or 'keep'")
    queries.require(("id", "query"))
    outcomes.require(("id", "model", "score"))
    ids, first = _queries(queries)
    names, row, column = _pairs(outcomes, ids, models)
    scores = _scores(outcomes)
    cell = _grid(outcomes, row, column, (len(ids), len(names)), ~np.isnan(scores))  # (n, M) entry, -1 where missing
    keep, notes = _complete(queries, first, ids, names, cell, missing)
    cell, first = cell[keep], first[keep]
    cost = _amounts(outcomes, "cost", cell)
    if cost is not None and (unknown := int(np.isnan(cost[cell >= 0]).sum())):
        notes += (f"cost is missing in {unknown} of {(cell >= 0).sum()} cells: cost figures are left out",)
    task = queries.text("task", NO_TASK)[first]
    return OutcomeTable(
        ids=np.array(ids, dtype=object)[keep], queries=queries.text("query")[first], task=task,
        split=_split(queries)[first], models=tuple(names), scores=_at(scores, cell),
        answers=_optional(outcomes.text("answer"), cell), reference=_optional(queries.text("reference"), first),
        cost=cost, output_tokens=_amounts(outcomes, "output_tokens", cell), confidence=_confidence(outcomes, cell),
        kinds={t: kind for t, kind in (kinds or {}).items() if t in set(task)}, card=card, notes=notes)


def listing(shown: Sequence[str], total: int, between: str = ", ") -> str:
    """Return the first few of `total` things as text, and how many more there are."""
    more = f" (and {total - SHOWN} more)" if total > SHOWN else ""
    return between.join(shown[:SHOWN]) + more


def first_of(codes: np.ndarray, n: int) -> np.ndarray:
    """Return the first position of each code 0..n-1 in `codes` (k,), -1 where it does not occur."""
    first = np.full(n, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the first position is written last, and stays
    return first


def _short(value: str) -> str:
    return value if len(value) <= 60 else value[:60] + "..."


def _numeric(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    return any(test(kind) for test in tests)


def _queries(queries: Entries) -> tuple[list[str], np.ndarray]:
    """Return the distinct ids (n,) and the entry that introduces each, (n,)."""
    if not len(queries.table):
        raise TableError(f"{queries.files[0]}: no queries, expected at least one: is the file complete?")
    for column in ("id", "query"):
        queries.refuse(queries.coded(column)[0] < 0, column, "expected a text; fill it in or leave the query out")
    codes, ids = queries.coded("id")
    first = first_of(codes, len(ids))
    for column in ("query", "task", "split", "reference"):
        said, _ = queries.coded(column)
        clash = np.flatnonzero(said != said[first[codes]])
        if clash.size:
            i = clash[0]
            raise TableError(f"{queries.at(i)}, column {column}: id {ids[codes[i]]!r} has another {column} than at "
                             f"{queries.at(first[codes[i]])}{_more(clash)}: give different queries different ids")
    return ids, first


def _more(rows: np.ndarray) -> str:
    return f" (and {rows.size - 1} more)" if rows.size > 1 else ""


def _pairs(outcomes: Entries, ids: list[str], models: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the model names (M,) and, per outcome, its query (k,) and its model (k,)."""
    row = _numbered(outcomes, "id", ids)
    outcomes.refuse(row < 0, "id", "no query has this id; add it to the queries or remove the outcome")
    blank, said = outcomes.coded("model")
    outcomes.refuse(blank < 0, "model", "expected the name of a model; fill it in")
    names = list(models) or said
    column = _numbered(outcomes, "model", names)
    outcomes.refuse(column < 0, "model", f"not among the models that the card names ({', '.join(names)}); "
                    "add it to the card's models or remove its outcomes")
    if len(names) < 2:
        raise TableError(f"{outcomes.files[0]}, column model: only one model ({names[0]}), expected at least two: "
                         "with one there is nothing to route; add the outcomes of another")
    return names, row, column


def _numbered(outcomes: Entries, column: str, names: Sequence[str]) -> np.ndarray:
    """Return the place in `names` of every entry's text, (k,), -1 where it is not among them."""
    codes, said = outcomes.coded(column)
    place = {name: i for i, name in enumerate(names)}
    return np.array([place.get(name, -1) for name in said] + [-1], dtype=np.int64)[codes]


def _scores(outcomes: Entries) -> np.ndarray:
    """Return the scores (k,), in [0, 1] or NaN where the entry has none."""
    scores = outcomes.numbers("score")
    if pa.types.is_floating(outcomes.table["score"].type):
        literal = np.isnan(scores) & outcomes.table["score"].is_valid().to_numpy()
        outcomes.refuse(literal, "score", "expected a number in [0, 1]; leave the cell empty where it is unknown")
    outcomes.refuse((scores < 0) | (scores > 1), "score", "expected a number in [0, 1]; rescale the scores")
    return scores


def _grid(outcomes: Entries, row: np.ndarray, column: np.ndarray, shape: tuple, recorded: np.ndarray) -> np.ndarray:
    """Return the entry of every (query, model), (n, M), -1 where none is; two for one pair are refused."""
    entries = np.flatnonzero(recorded)
    pair = row[entries] * shape[1] + column[entries]
    first = first_of(pair, shape[0] * shape[1])
    cell = np.where(first < 0, -1, entries[first]) if entries.size else first
    twice = entries[cell[pair] != entries]
    if twice.size:
        i, earlier = twice[0], cell[row[twice[0]] * shape[1] + column[twice[0]]]
        query, name = (outcomes.table[c][int(i)].as_py() for c in ("id", "model"))
        raise TableError(f"{outcomes.at(i)}, columns id and model: query {query!r} already has one of {name!r} at "
                         f"{outcomes.at(earlier)}{_more(twice)}: remove one, or give different queries different ids")
    return cell.reshape(shape)


def _complete(queries: Entries, first: np.ndarray, ids: list[str], names: list[str], cell: np.ndarray,
              missing: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return which queries have every model, (n,) bool, and a note on those dropped."""
    lacking = cell < 0  # (n, M)
    keep = ~lacking.any(axis=1)
    gone = np.flatnonzero(~keep)
    if not gone.size or missing == "keep":
        return np.full(len(keep), True), ()
    per_model = [f"{count} lack {name}" for name, count in zip(names, lacking.sum(axis=0), strict=True) if count]
    if missing == "drop" and keep.any():
        return keep, (f"{gone.size} of {len(keep)} queries dropped for missing outcomes "
                      f"({listing(per_model, len(per_model))})",)
    shown = [f"{queries.at(first[i])}: query {ids[i]!r} has no score of "
             f"{listing([names[m] for m in np.flatnonzero(lacking[i])], int(lacking[i].sum()))}" for i in gone[:SHOWN]]
    remedy = ("complete them, or set data.missing=drop to leave these queries out whole" if keep.any() else
              "no query would be left; the models must have answered the same queries")
    raise TableError(f"{gone.size} of {len(keep)} queries lack the score of a model ({', '.join(per_model)}). "
                     f"{listing(shown, gone.size, '; ')}: {remedy}")


def _split(queries: Entries) -> np.ndarray:
    """Return the split of every entry by its name in the code, (k,), "" where unknown."""
    split = np.array([SPLIT_NAMES.get(name.strip()) for name in queries.text("split", "")], dtype=object)
    accepted = ", ".join(name for name in SPLIT_NAMES if name)
    queries.refuse(np.equal(split, None), "split", f"expected one of {accepted}, or nothing; rename the split")
    return split


def _amounts(outcomes: Entries, column: str, cell: np.ndarray) -> np.ndarray | None:
    """Return costs or tokens, (n, M), NaN where unknown, or None where all are."""
    values = outcomes.numbers(column)
    outcomes.refuse(values < 0, column, "expected zero or more; leave the cell empty where it is unknown")
    outcomes.refuse(np.isinf(values), column, "expected a finite number; leave the cell empty where it is unknown")
    return _known(_at(values, cell))


def _confidence(outcomes: Entries, cell: np.ndarray) -> np.ndarray | None:
    """Return how sure models are of their own answers, (n, M) in [0, 1], NaN where unknown, or None where all are."""
    values = outcomes.numbers("confidence")
    outcomes.refuse((values < 0) | (values > 1), "confidence", "expected a number in [0, 1]; rescale it, leave it "
                    "empty where it is unknown, or rename the column if it is something else")
    return _known(_at(values, cell))


def _at(values: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the number of every cell (n, M), NaN where it has no entry."""
    return np.append(values, np.nan)[cell]


def _known(values: np.ndarray) -> np.ndarray | None:
    return None if np.isnan(values).all() else values


def _optional(texts: np.ndarray, at: np.ndarray) -> np.ndarray | None:
    texts = np.array([*texts, None], dtype=object)[at]
    return None if np.equal(texts, None).all() else texts
