"""Which queries a file holds, read a chunk at a time: JSONL, Parquet, or plain text with one query a line.

Chunks are a function of the file and of where the first begins, so that work that was cut off between two of them goes
on with the same ones.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from racer import hashing
from racer.errors import ConfigError, TableError

ADDED = {"members": pa.list_(pa.string()), "abstain": pa.bool_(), "probabilities": pa.list_(pa.float64()),
         "null_admitted": pa.bool_(), "expected_cost": pa.float64(), "certified": pa.bool_()}  # what routing adds
KNOWN = ("task", "group", "weight")  # fields that a calibration may ask for
CHUNK = 1024  # queries
BYTES = 1 << 22  # a chunk of lines ends here even if it holds fewer queries
BUFFER = 1 << 20  # bytes of a Parquet column read at once


@dataclass(frozen=True)
class Chunk:
    """Some queries of a file, with all that the file says of them.

    `texts` (n,); `content`: their records, or the table they are rows of; `where` names them in an error; `end` is
    where the next chunk begins.
    """

    texts: list[str]
    content: list[dict] | pa.Table
    where: str
    end: tuple[int, int]

    @property
    def names(self) -> list[str]:
        """The names of the fields that any of the queries has."""
        if isinstance(self.content, pa.Table):
            return self.content.column_names
        return list(dict.fromkeys(name for record in self.content for name in record))

    def column(self, name: str) -> list:
        """Return what each query says of itself under `name`, None where it does not."""
        if isinstance(self.content, pa.Table):
            return self.content[name].to_pylist() if name in self.names else [None] * len(self.texts)
        return [record.get(name) for record in self.content]

    def records(self) -> list[dict]:
        return self.content.to_pylist() if isinstance(self.content, pa.Table) else self.content

    def table(self, schema: pa.Schema | None = None) -> pa.Table:
        """Return the queries as a table; raise `TableError` if one column would need two types."""
        if isinstance(self.content, pa.Table):
            return self.content
        try:
            types = {} if schema is None else dict(zip(schema.names, schema.types, strict=True))
            names = self.names if schema is None else schema.names
            return pa.table({name: pa.array(self.column(name), types.get(name)) for name in names})
        except (pa.ArrowException, OverflowError) as error:
            raise TableError(f"{self.where}: a field does not fit one Parquet column ({error}): write .jsonl, or give "
                             "the field one type in all lines") from None


class Given:
    """One query that stands in no file."""

    until = None

    def __init__(self, record: dict):
        self.record = record

    def fingerprint(self) -> str:
        return hashing.of_json(self.record)

    def chunks(self, start: tuple[int, int] = (0, 0)) -> Iterator[Chunk]:
        if tuple(start) == (0, 0):
            yield Chunk([_text(self.record["query"], "query")], [self.record], "query", (1, 0))


class Lines:
    """A file with one query a line; blank lines are passed over. A position is (bytes, lines) before it.

    Of a file that grows only the first `until` bytes are read, by default those that it has now.
    """

    def __init__(self, path: Path, size: int, until: int | None = None):
        self.path, self.size, self.jsonl = path, size, path.suffix.lower() == ".jsonl"
        self.until = path.stat().st_size if until is None else until

    def fingerprint(self) -> str:
        return hashing.of_beginning(self.path, self.until)

    def chunks(self, start: tuple[int, int] = (0, 0)) -> Iterator[Chunk]:
        """Yield the chunks from a position on; raise `TableError` that names a line which is no query."""
        offset, number = start
        with open(self.path, "rb") as file:
            file.seek(offset)
            while lines := self._some(file):
                records = [self._record(i, line) for i, line in enumerate(lines, number + 1) if line.strip()]
                where = f"{self.path}, lines {number + 1} to {number + len(lines)}"
                number += len(lines)
                yield Chunk([r["query"] for r in records], records, where, (file.tell(), number))

    def _some(self, file) -> list[bytes]:
        lines, size = [], 0
        while len(lines) < self.size and size < BYTES and (line := file.readline(self.until - file.tell())):
            lines.append(line.removeprefix(b"\xef\xbb\xbf") if file.tell() == len(line) else line)  # byte-order mark
            size += len(line)
        return lines

    def _record(self, number: int, line: bytes) -> dict:
        where = f"{self.path}, line {number}"
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise TableError(f"{where}: not text in UTF-8 ({error}): save the file as UTF-8") from None
        return _object(text, where) if self.jsonl else {"query": _text(text.strip(), where)}


class Rows:
    """A Parquet file with a column `query`. A position is (row groups, rows of the next group) before it."""

    until = None  # its end is where such a file begins to be read, so it does not grow

    def __init__(self, path: Path, size: int):
        self.path, self.size = path, size

    def fingerprint(self) -> str:
        return hashing.of_file(self.path)

    def chunks(self, start: tuple[int, int] = (0, 0)) -> Iterator[Chunk]:
        """Yield the chunks from a position on, none across row groups; raise `TableError` that names a bad row."""
        first, skip = start
        try:
            with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=BUFFER) as file:  # a group is not read whole
                _check_columns(self.path, file.schema_arrow)
                row = sum(file.metadata.row_group(g).num_rows for g in range(first))
                for group in range(first, file.num_row_groups):
                    done = 0
                    for batch in file.iter_batches(self.size, row_groups=[group], use_threads=False):
                        done += len(batch)
                        if group > first or done > skip:
                            yield self._chunk(pa.Table.from_batches([batch]), row + done - len(batch), (group, done))
                    row += done
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"{self.path}: not a Parquet file that can be read ({error}): write it again") from None

    def _chunk(self, table: pa.Table, row: int, end: tuple[int, int]) -> Chunk:
        texts = [_text(text, f"{self.path}, row {row + i}") for i, text in enumerate(table["query"].to_pylist())]
        return Chunk(texts, table, f"{self.path}, rows {row} to {row + len(texts) - 1}", end)


READERS = {".jsonl": Lines, ".txt": Lines, ".parquet": Rows}


def of_file(path: str | Path, size: int = CHUNK) -> Lines | Rows:
    """Return what reads the queries of a file, by its suffix, `size` at a time; raise `ConfigError` if it cannot be."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"input={path} is no file: give a .jsonl file with a `query` field, a .parquet file with a "
                          "`query` column, or a .txt file with one query a line")
    if path.suffix.lower() not in READERS:
        raise ConfigError(f"input={path}: its name ends in {path.suffix or 'nothing'}, expected {', '.join(READERS)}: "
                          "convert or rename it")
    return READERS[path.suffix.lower()](path, size)


def _object(text: str, where: str) -> dict:
    """Return the JSON object in a line, which must have a `query` and none of the fields that routing adds."""
    try:
        record = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", str(error))
        raise TableError(f"{where}: not JSON ({reason}); expected an object with a `query`") from None
    if not isinstance(record, dict):
        raise TableError(f"{where}: expected an object with a `query` that is a text, got {text.strip()[:80]}")
    _refuse_added(record.keys(), where)
    _text(record.get("query"), where)
    return record


def _once(pairs: list[tuple]) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a field stands in it twice")
    return record


def _finite(number: str) -> float:
    if math.isinf(value := float(number)):
        raise ValueError(f"the number {number[:80]} is too large")
    return value


def _no_number(constant: str):
    raise ValueError(f"{constant} is no number there")


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_number)


def _text(value, where: str) -> str:
    """Return the value if it is a text that can be routed."""
    if not isinstance(value, str) or not value.strip():
        raise TableError(f"{where}: expected a `query` that is a text and not empty, got {repr(value)[:80]}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TableError(f"{where}: the query holds half a character ({error}): mend its escapes") from None
    return value


def _check_columns(path: Path, schema: pa.Schema) -> None:
    names = schema.names
    if len(set(names)) < len(names):
        raise TableError(f"{path}: a column name comes twice in {', '.join(names)}: rename one of the two")
    _refuse_added(names, str(path))
    kind = schema.field("query").type if "query" in names else None
    text = kind.value_type if kind is not None and pa.types.is_dictionary(kind) else kind
    if text not in (pa.string(), pa.large_string(), pa.string_view()):
        raise TableError(f"{path}: expected a column `query` of text, got {kind or 'columns ' + ', '.join(names)}")


def _refuse_added(names, where: str) -> None:
    if taken := [name for name in ADDED if name in names]:
        raise TableError(f"{where}: it has {', '.join(taken)} already, which routing adds: rename or remove these "
                         "fields, or they would be lost")
