"""Where the weights of a local LLM are: a GGUF file, or a Python package that carries one."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from racer.errors import ConfigError
from racer.local.language_model import INSTALL

SUFFIX = ".gguf"


def locate(weights: str) -> Path:
    """Return the file `weights`, or that which the `assemble()` of the package `weights` puts together and checks."""
    if (path := Path(weights).expanduser()).suffix == SUFFIX:
        if not path.is_file():
            raise ConfigError(f"weights={weights} is no file: give the path of a {SUFFIX} file")
        return path
    if not weights.isidentifier() or find_spec(weights) is None:
        raise ConfigError(f"weights={weights} is neither a {SUFFIX} file nor an installed package: {INSTALL}")
    try:
        return Path(import_module(weights).assemble())
    except (AttributeError, ImportError, OSError, ValueError) as error:  # no such function, a missing part, a wrong sum
        raise ConfigError(f"the package {weights} gave no weights ({error}): install it again") from None
