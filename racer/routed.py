"""How routed queries are written, as JSONL or Parquet: each query with all it had, and its decision."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from racer.decision import Decision
from racer.errors import ConfigError, TableError
from racer.rows import ADDED, Chunk

GROUP = 1 << 16  # rows of a Parquet row group,
GROUP_BYTES = 1 << 26  # or fewer, if they are this large


class JsonLines:
    """One JSON object a line."""

    @staticmethod
    def check(schema: pa.Schema | None) -> None:
        """Raise `TableError` if a column of the input has a type that JSON has no word for."""
        for column in schema or ():
            if not _is_json(column.type):
                raise TableError(f"column {column.name} is {column.type}, which JSON has no word for: write .parquet, "
                                 "or make it a text")

    @staticmethod
    def check_values(chunk: Chunk) -> None:
        """Raise `TableError` if a number of the input is one that JSON has no word for; lines of JSON hold none."""
        if not isinstance(chunk.content, pa.Table):
            return
        try:
            json.dumps(chunk.records(), allow_nan=False, default=str)  # types are `check`'s
        except ValueError as error:
            raise TableError(f"{chunk.where}: a number that JSON has no word for ({error}): write .parquet, or leave "
                             "such cells empty") from None

    @staticmethod
    def content(chunk: Chunk, decisions: list[Decision], schema: pa.Schema | None) -> bytes:
        records = zip(chunk.records(), decisions, strict=True)
        return b"".join(_line(record | added(decision)) for record, decision in records)

    @staticmethod
    def finish(partial: Path, output: Path) -> None:
        os.replace(partial, output)


class Parquet:
    """A Parquet file. Until it is finished, chunks stand one behind the other, each an Arrow stream of its own."""

    @staticmethod
    def check(schema: pa.Schema) -> None:
        """Raise `TableError` if Parquet cannot hold a column of the input, such as an object without fields."""
        try:
            pq.write_table(_with_added(schema).empty_table(), pa.BufferOutputStream())
        except pa.ArrowException as error:
            raise TableError(f"the input does not fit a Parquet file ({error}): write .jsonl") from None

    @staticmethod
    def check_values(chunk: Chunk) -> None:
        """Parquet holds all numbers."""

    @staticmethod
    def content(chunk: Chunk, decisions: list[Decision], schema: pa.Schema) -> bytes:
        if not decisions:
            return b""
        table, rows = chunk.table(schema), [added(decision) for decision in decisions]
        for name, kind in ADDED.items():
            table = table.append_column(name, pa.array([row[name] for row in rows], kind))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return sink.getvalue().to_pybytes()

    @staticmethod
    def finish(partial: Path, output: Path) -> None:
        whole = Path(f"{output}.whole")
        with pa.OSFile(str(partial)) as file:
            tables = _tables(file)
            first = next(tables)
            with pq.ParquetWriter(whole, first.schema) as writer:
                for table in _grouped(first, tables):
                    writer.write_table(table, row_group_size=len(table))
        os.replace(whole, output)
        partial.unlink()


FORMS = {".jsonl": JsonLines, ".parquet": Parquet}


def form_of(output: str | Path) -> type[JsonLines] | type[Parquet]:
    """Return how the file is written, by its suffix; raise `ConfigError` if it cannot be."""
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"output={output}: its folder does not exist; make it first")
    if output.is_dir() or output.suffix.lower() not in FORMS:
        raise ConfigError(f"output={output}: expected the name of a file that ends in {' or '.join(FORMS)}")
    return FORMS[output.suffix.lower()]


def added(decision: Decision) -> dict:
    """Return what routing adds to a query: `racer.rows.ADDED`."""
    return {"members": list(decision.members), "abstain": decision.abstain,
            "probabilities": decision.probabilities.tolist(), "null_admitted": decision.null_admitted,
            "expected_cost": decision.expected_cost, "certified": decision.certified}


def _line(record: dict) -> bytes:
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a character in a field beside the query: only its escape can be written
        return (json.dumps(record) + "\n").encode()


def _is_json(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_json(kind.value_type)
    if pa.types.is_nested(kind):
        return not pa.types.is_map(kind) and all(_is_json(kind.field(i).type) for i in range(kind.num_fields))
    plain = ("string", "large_string", "string_view", "bool", "null", "double", "float", "halffloat")
    return pa.types.is_integer(kind) or str(kind) in plain


def _with_added(schema: pa.Schema) -> pa.Schema:
    for name, kind in ADDED.items():
        schema = schema.append(pa.field(name, kind))
    return schema


def _tables(file: pa.OSFile):
    size = file.size()
    while file.tell() < size:
        yield pa.ipc.open_stream(file).read_all()


def _grouped(first: pa.Table, rest):
    """Yield the tables joined to row groups of a fair size, so that readers need not open thousands of small ones."""
    held = [first]
    for table in rest:
        if sum(map(len, held)) >= GROUP or sum(t.nbytes for t in held) >= GROUP_BYTES:
            yield pa.concat_tables(held)
            held = []
        held.append(table)
    yield pa.concat_tables(held)
