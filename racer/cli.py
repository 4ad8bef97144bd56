"""What the scripts share: errors a person can read, the folder of a run, settings of later stages."""

import errno
import os
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import wraps
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from racer.config import Config, plain, register
from racer.errors import ConfigError, RacerError

POST_HOC = ("sets", "risk")  # sections that a later stage may change
CHOSEN = ("sets.family", "sets.cost_power", "sets.null_cost")  # what sets.choose takes into its own hands
NO_PLACE = {  # by error number: what is wrong with a path, and what to do
    errno.EEXIST: "is a file, where a folder is needed: give another path, or move it away",
    errno.ENOTDIR: "leads through a file, where a folder is needed: give another path, or move that file away",
    errno.EISDIR: "is a folder, where a file is needed: give another path, or move it away",
    errno.EACCES: "may not be read or written by you: give another path, or change its rights",
    errno.EPERM: "may not be read or written by you: give another path, or change its rights",
    errno.EROFS: "lies where nothing can be written: give another path",
    errno.ENOSPC: "cannot be written, there is no space left: make room, or give a path on another disk"}
WHERE = ("run_dir", "cache_dir", "tracking", "data.path")  # where things are: free to differ


@contextmanager
def clear_errors():
    """Print what the user can mend as one line on stderr and exit with status 2; let bugs show their traceback."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # hydra hands errors on instead of printing them its own way
    try:
        yield
    except (RacerError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {_words(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        path = error.filename2 or error.filename or ("the output" if error.errno == errno.ENOSPC else None)
        if error.errno not in NO_PLACE or path is None:  # of no path that a user gave: a bug
            raise
        print(f"error: {path} {NO_PLACE[error.errno]}", file=sys.stderr)
        raise SystemExit(2) from None


def script(name: str, sweeps: bool = False) -> Callable:
    """Make a script of `main(cfg)`: its settings are those of conf/NAME.yaml and of the command line, its errors clear.

    Without `sweeps` a multirun is an error.
    """
    def decorated(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        @clear_errors()  # of settings that cannot be composed
        @hydra.main(version_base="1.3", config_path="../conf", config_name=name)
        @wraps(main)  # so that Hydra looks for conf beside the script
        def run(cfg: DictConfig) -> None:
            with clear_errors():  # before Hydra prints them its own way
                if not sweeps:
                    refuse_sweep()
                main(cfg)
        return run
    register()
    return decorated


def _words(error: Exception) -> str:
    """The message; where Hydra wraps another error, the reason of that one."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}=... is missing: give it on the command line"
    if isinstance(error, MissingConfigException) and error.options:
        return _no_choice(error)
    reason = error.__cause__
    for found in (error, reason):
        if isinstance(found, ConfigAttributeError | ConfigKeyError) and is_dataclass(found.object_type):
            return f"{_no_setting(str(found.full_key), found.object_type)} (settings: racer/config.py)"
    if isinstance(error, HydraException) and reason is not None:
        return f"{str(error).splitlines()[0]} {str(reason).splitlines()[0]} (settings: racer/config.py)"
    return str(error)


def _no_setting(key: str, section: type) -> str:
    """What to say of a dotted key that its section, a dataclass, does not have: the nearest ones, else all."""
    prefix = key.rpartition(".")[0]
    known = [f"{prefix}.{name}" if prefix else name for name in _keys(section)]
    ends = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = [ends[end] for end in get_close_matches(key.rpartition(".")[2], ends)]
    if near:
        return f"there is no setting {key}: did you mean {' or '.join(near)}?"
    return f"there is no setting {key}, expected one of {', '.join(n for n in known if n.count('.') == key.count('.'))}"


def _keys(section: type) -> list[str]:
    """Return the settings of a section by dotted key, those of its own sections too."""
    found = []
    for field in fields(section):
        below = _keys(field.type) if is_dataclass(field.type) else []
        found += [field.name, *(f"{field.name}.{name}" for name in below)]
    return found


def _no_choice(error: MissingConfigException) -> str:
    """What to say of a preset that is not there."""
    group = re.search(r"options in '(.+)'", str(error))[1]
    name = error.missing_cfg_file.removeprefix(f"{group}/")
    near = get_close_matches(name, error.options, 1)
    return (f"there is no {group}={name}{f': did you mean {near[0]}?' if near else ','} "
            f"{'The choices are' if near else 'expected one of'} {', '.join(error.options)}")


def hush() -> None:
    """Keep the progress bars of transformers off the terminal; ours stay."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def refuse_sweep() -> None:
    """Raise `ConfigError` in a multirun: jobs of a later stage would overwrite each other."""
    if in_sweep():
        raise ConfigError("-m is for scripts/train.py, which uses a trained router again; this stage rewrites one run")


def in_sweep() -> bool:
    return HydraConfig.get().mode == RunMode.MULTIRUN


def run_folder() -> Path:
    """Return the folder of this job: `run_dir`; in a sweep that of the sweep, which the jobs' folders lie in."""
    return Path(HydraConfig.get().runtime.output_dir)


def job_number() -> int:
    """Return the place of this job in its sweep, from 0."""
    return HydraConfig.get().job.num


def overrides() -> list[str]:
    """Return the settings given to this job on the command line or by the sweep, as written: `risk.alpha=0.1`."""
    return sorted(HydraConfig.get().overrides.task)


def explicit(cfg: DictConfig) -> dict:
    """Return the settings given on the command line, by dotted key, as composed; of a preset what tells it apart."""
    given = {}
    for override in HydraConfig.get().overrides.task:
        key = override.split("=", 1)[0].lstrip("+~")
        if isinstance(OmegaConf.select(cfg, key), DictConfig):
            key = "data.path" if key == "data" else f"{key}.name"
        given[key] = OmegaConf.select(cfg, key)
    return given


def stage_settings(cfg: DictConfig, run: Path, also: tuple[str, ...] = ()) -> tuple[Config, bool]:
    """Return the settings of a run with `sets.*` and `risk.*` as given now, and whether any of those was given.

    `also` names more sections, or settings, that may change. Raises `ConfigError` if a setting of the router is given
    that differs from the run's: it cannot be changed after training; or one that the run's `sets.choose` overrules.
    """
    saved, changed, given = _saved(run), False, explicit(cfg)
    for key, value in given.items():
        section = key.split(".")[0]
        if section in (*POST_HOC, *also):
            OmegaConf.update(saved, key, value)
            changed = True
        elif section in saved and section not in WHERE and key not in WHERE and OmegaConf.select(saved, key) != value:
            raise ConfigError(f"{key}={value} differs from this run's {OmegaConf.select(saved, key)}, which its router "
                              f"was trained with: train again with `python scripts/train.py {key}={value}`")
    overruled = [key for key in CHOSEN if key in given]
    if overruled and saved.sets.choose != "no" and "sets.choose" not in given:
        raise ConfigError(f"{overruled[0]} is given, but this run's sets.choose={saved.sets.choose} takes what suits "
                          "best: add sets.choose=no")
    return plain(saved), changed


def saved_settings(run: Path) -> Config:
    """Return the settings of a run, as they were saved."""
    return plain(_saved(run))


def _saved(run: Path) -> DictConfig:
    path = run / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"no run in {run}: {path} is missing; train one with `python scripts/train.py run_dir={run}`")
    return OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(path))


def keep_verbatim(key: str) -> None:
    """Keep `key=TEXT` of the command line from being parsed: quotes, commas, braces and ${...} stay as they are."""
    prefix, texts = f"{key}=", {}
    for i, argument in enumerate(sys.argv):
        if argument.startswith(prefix):
            texts[key] = argument[len(prefix):]
            sys.argv[i] = f"{prefix}${{verbatim:{key}}}"
    OmegaConf.register_new_resolver("verbatim", texts.__getitem__, replace=True)
