"""Routing files of queries: read, checked, routed and written a chunk at a time; it goes on where it was killed."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from racer import hashing, journal, rows
from racer.artifact import Artifact
from racer.config import RouteConfig
from racer.context import Context
from racer.decision import Decision
from racer.errors import ConfigError, TableError
from racer.routed import JsonLines, Parquet, form_of
from racer.rows import CHUNK, KNOWN, Chunk, Given, Lines, Rows

if TYPE_CHECKING:  # torch only where it is used
    from racer.router import Router


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Survey:
    """What was seen of all queries before the first is routed.

    `known`: the names, of those a calibration may ask for, that any query has. `schema`: their columns, where the
    output or the input is Parquet.
    """

    n: int
    known: tuple[str, ...]
    schema: pa.Schema | None


def source_of(config: RouteConfig) -> Given | Lines | Rows:
    """Return what reads the queries of the command line; raise `ConfigError` where it or its output cannot be."""
    if config.output is not None:
        form_of(config.output)
    if (config.query is None) == (config.input is None):
        raise ConfigError('give either query="TEXT" or input=FILE')
    if config.input is not None:
        return rows.of_file(config.input, config.chunk)
    given = {name: value for name in KNOWN if (value := getattr(config, name)) is not None}
    return Given({"query": config.query, **given})


def route_file(router: "Router", source: str | Path, output: str | Path, chunk: int = CHUNK,
               progress: bool = False) -> Path:
    """Return `output`, with every query of the file `source` in its order, all it had, and its decision.

    `source` is .jsonl (objects with a `query`), .parquet (a column `query`) or .txt; `output` .jsonl or .parquet; each
    gets `members`, `abstain`, `probabilities` (M+1, the null last), `null_admitted`, `expected_cost`, `certified`.
    Memory holds `chunk` queries, however long the file is. Killed at any moment and called again with the same, it goes
    on where it was, and the output is byte for byte that of a routing that was never killed. Of a file of lines that
    grows meanwhile, what it held when the output was begun is routed, and a warning tells of the rest. Raises
    `TableError` for a line that is no query, before anything is routed, and `ConfigError` where a routing of another
    input, or by another router or calibration, was begun under this name.
    """
    return route_rows(router, rows.of_file(source, chunk), output, progress)


def route_rows(router: "Router", source: Given | Lines | Rows, output: str | Path, progress: bool = False) -> Path:
    """Return `output`, with the decisions for all queries of `source`: see `route_file`."""
    output, form = Path(output), form_of(output)
    if output.exists() and isinstance(source, Lines | Rows) and output.samefile(source.path):
        raise ConfigError(f"output={output} is the input: give another name")
    source = as_begun(source, output)
    seen = survey(source, router.calibrated(), form)
    form.check(seen.schema)
    with journal.opened(output, made_of(router, source), source.until) as work:
        with tqdm(total=seen.n, initial=work.state.n, desc="route", unit="query", disable=not progress) as bar:
            for chunk, decisions in _routed(router, source, seen.known, work.state.position):
                work.add(form.content(chunk, decisions, seen.schema), chunk.end, len(decisions))
                bar.update(len(decisions))
        work.finish(form.finish)
    _tell_rest(source, output)
    return output


def routed(router: "Router", source: Given | Lines | Rows) -> Iterator[tuple[list[str], list[Decision]]]:
    """Yield texts and their decisions, a chunk at a time, once all queries have been checked."""
    seen = survey(source, router.calibrated())
    for chunk, decisions in _routed(router, source, seen.known, (0, 0)):
        yield chunk.texts, decisions


def as_begun(source: Given | Lines | Rows, output: Path) -> Given | Lines | Rows:
    """Return the source as far as the work reads it that was begun on an output: lines that came later are not read."""
    begun = journal.left(output)
    if source.until is None or begun is None or begun.until is None:
        return source
    then = Lines(source.path, source.size, begun.until)
    return then if then.fingerprint() == begun.made_of.get("input") else source  # another one, which is refused


def _tell_rest(source: Given | Lines | Rows, output: Path) -> None:
    if source.until is not None and source.path.exists() and (more := source.path.stat().st_size - source.until) > 0:
        log.warning("%s has grown by %d bytes since %s was begun: what they hold is not in it", source.path, more,
                    output)


def survey(source: Given | Lines | Rows, artifact: Artifact, form: type[JsonLines] | type[Parquet] | None = None
           ) -> Survey:
    """Return what all queries have in common; raise `TableError` or `ConfigError` for the first that cannot be routed,
    or cannot be written in the `form` of the output.
    """
    n, said, schema = 0, set(), None
    for chunk in source.chunks():
        n, said = n + len(chunk.texts), said.union(name for name in KNOWN if name in chunk.names)
        _check_known(artifact, chunk)
        if form is not None:
            form.check_values(chunk)
        if form is Parquet or isinstance(source, Rows):
            schema = _joined(schema, chunk)
    if n == 0:
        raise TableError(f"{source.path} is empty: expected queries, one a line or row")
    known = tuple(name for name in KNOWN if name in said)
    artifact.calibration.cut_of(Context(0, {name: [] for name in known}, np.empty((0, len(artifact.models)))))
    return Survey(n, known, schema)


def _check_known(artifact: Artifact, chunk: Chunk) -> None:
    """Raise an error that names the queries whose cut cannot be told, before the encoder has read a single one."""
    n = len(chunk.texts)
    try:
        known = {name: chunk.column(name) for name in KNOWN}
        artifact.calibration.cut_of(Context(n, known, np.zeros((n, len(artifact.models)))))
    except ConfigError as error:
        raise ConfigError(f"{chunk.where}: {error}") from None
    except (TypeError, ValueError) as error:
        raise TableError(f"{chunk.where}: a `weight` is no number ({error}): give every query one") from None


def _joined(schema: pa.Schema | None, chunk: Chunk) -> pa.Schema:
    """Return the schema that holds what `schema` and the chunk hold."""
    if schema is not None and isinstance(chunk.content, pa.Table):
        return schema  # of the file
    found = chunk.table().schema
    try:
        return found if schema is None else pa.unify_schemas([schema, found], promote_options="permissive")
    except pa.ArrowException as error:
        raise TableError(f"{chunk.where}: a field has another type than in earlier lines ({error}): write .jsonl, or "
                         "give the field one type in all lines") from None


def _routed(router: "Router", source: Given | Lines | Rows, known: tuple[str, ...],
            start: tuple[int, int]) -> Iterator[tuple[Chunk, list[Decision]]]:
    for chunk in source.chunks(start):
        yield chunk, router.route(chunk.texts, known={name: chunk.column(name) for name in known})


def made_of(router: "Router", source: Given | Lines | Rows) -> dict[str, str]:
    """Return what the output is a function of, by name: what must not change before it is finished."""
    return {"input": source.fingerprint(), "router": router.fingerprint, "chunk": str(getattr(source, "size", 1)),
            "calibration": hashing.of_json([router.calibrated().record(), router.uncertified])}
