"""Routing a folder of files, such as the parts of a log: each by itself, here one after the other or on Ray Data.

A part is written as `racer.routing.route_file` writes a file, so it does not matter who routes it, and one that was
killed goes on. `OUTPUT/.done/NAME.json` says what a finished part was made of: made of the same, it is skipped. A part
that cannot be routed stops no other.
"""

import os
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from racer import rows
from racer.config import RouteConfig
from racer.errors import ConfigError, RacerError, TableError
from racer.files import read_json, write_json
from racer.routing import as_begun, made_of, route_rows


def is_folder(config: RouteConfig) -> bool:
    """Return whether the queries are in the files of a folder."""
    return config.input is not None and Path(config.input).is_dir()


def route_folder(config: RouteConfig) -> list[Path]:
    """Return the files in the folder `config.output`, one for each in `config.input`, by `config.engine`.

    Raises `ConfigError` if the folders do not fit, and `TableError` at the end if a part could not be routed.
    """
    if config.input is None or config.output is None or config.query is not None:
        raise ConfigError("the files of a folder are routed by input=FOLDER output=FOLDER, without a query")
    parts = parts_of(Path(config.input), Path(config.output))
    found = ENGINES[config.engine](config, parts)
    if bad := [part for part in found if part["error"]]:
        raise TableError(f"{len(bad)} of {len(parts)} files could not be routed, the others are in {config.output}; "
                         f"the first: {bad[0]['error']}")
    return [Path(part["output"]) for part in found]


def parts_of(source: Path, output: Path) -> list[dict[str, str]]:
    """Return `source` and `output` of each part, by name; hidden files and such as `_SUCCESS` are no parts."""
    if not source.is_dir():
        raise ConfigError(f"input={source} is no folder: engine=ray routes the files of a folder, engine=local also a "
                          "single one")
    paths = sorted(p for p in source.iterdir() if p.is_file() and not p.name.startswith((".", "_")))
    if not paths:
        raise ConfigError(f"input={source} holds no file: expected .jsonl, .parquet or .txt")
    if output.is_file() or output.absolute() == source.absolute():
        raise ConfigError(f"output={output}: expected the name of another folder, as input is one")
    parts = [{"source": str(rows.of_file(p).path.absolute()), "output": str((output / p.name).absolute())}
             for p in paths]
    for part in parts:
        if part["output"].lower().endswith(".txt"):
            part["output"] = f"{part['output'][:-len('.txt')]}.jsonl"
    if len({part["output"] for part in parts}) < len(parts):
        raise ConfigError(f"input={source}: a .txt and a .jsonl of one name would be written to one file: rename one")
    return parts


class PartRouter:
    """Routes parts by the router of a run, which it opens once: what a worker is."""

    def __init__(self, run: str, allow_uncertified: bool, chunk: int):
        from racer import Router

        self.router, self.chunk = Router.load(run, allow_uncertified), chunk

    def __call__(self, part: dict[str, str]) -> dict[str, str]:
        """Return the part with its `error`, "" where it is written."""
        try:
            self._route(Path(part["source"]), Path(part["output"]))
        except RacerError as error:
            return part | {"error": str(error)}
        return part | {"error": ""}

    def _route(self, source: Path, output: Path) -> None:
        given, note = rows.of_file(source, self.chunk), output.parent / ".done" / f"{output.name}.json"
        given = as_begun(given, output)
        made = made_of(self.router, given)
        if output.exists() and note.exists() and read_json(note) == made:
            return
        note.parent.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        route_rows(self.router, given, output)
        write_json(note, made)


def _here(config: RouteConfig, parts: list[dict[str, str]]) -> list[dict[str, str]]:
    route = PartRouter(config.run, config.allow_uncertified, config.chunk)
    return [route(part) for part in tqdm(parts, desc="route", unit="file")]


def _on_ray(config: RouteConfig, parts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Route by `workers` processes of a Ray cluster: that of RAY_ADDRESS, else one made here of this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError("engine=ray needs Ray: pip install 'racer[ray]'") from None
    with ray.init(ignore_reinit_error=True, include_dashboard=None if os.environ.get("RAY_ADDRESS") else False,
                  logging_level="warning"):
        workers = min(config.workers or int(ray.cluster_resources()["CPU"]), len(parts))
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        routed = ray.data.from_items(parts, override_num_blocks=len(parts)).map(
            PartRouter, fn_constructor_args=(str(config.run), config.allow_uncertified, config.chunk), num_cpus=1,
            concurrency=workers)
        return routed.take_all()


ENGINES: dict[str, Callable[[RouteConfig, list[dict[str, str]]], list[dict[str, str]]]] = {
    "local": _here, "ray": _on_ray}
