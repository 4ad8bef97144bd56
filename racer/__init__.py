"""RACER: route every query to the smallest set of LLMs that keeps a promise about errors.

Importing `racer` is light: a public name is loaded when it is first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {"Router": "racer.router", "Decision": "racer.decision", "OutcomeTable": "racer.table",
         "Infeasible": "racer.errors", "RacerError": "racer.errors"}
__all__ = ["Decision", "Infeasible", "OutcomeTable", "RacerError", "Router", "__version__"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'racer' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
