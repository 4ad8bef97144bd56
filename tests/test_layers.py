"""What an import brings in, held in fresh processes: the numpy core runs on a laptop without torch."""

import subprocess
import sys

import pytest

CORE = ["sets", "losses", "betting", "bounds", "testing", "conformal", "steps", "bounded", "band", "group", "weighted",
        "online", "ltt", "risk", "calibrations", "estimate", "coupling", "rule", "problem", "traffic", "methods",
        "plan", "fingerprints", "scores", "foreign", "artifact", "evaluate", "baselines", "intervals", "decision",
        "table", "formats", "splits", "near_duplicates", "kitchen", "hashing", "errors", "answers", "ballots",
        "votes", "learned", "aggregate", "rows", "routed", "journal", "card", "hub", "sequential", "jobs",
        "findings", "repeated", "recorded", "voters", "policy", "promises", "certify", "certificate", "answering",
        "consult", "linking", "newcomer"]
TRAINING = ["torch", "transformers", "accelerate", "wandb"]
HEAVY = [*TRAINING, "hydra", "omegaconf", "sklearn", "matplotlib", "safetensors"]

SCRIPT = """
import importlib, sys
modules, unwanted = sys.argv[1].split(","), set(sys.argv[2].split(","))
assert not unwanted & set(sys.modules), "brought in by the interpreter itself"
for name in modules:
    importlib.import_module(name)
    found = sorted(unwanted & {module.split(".")[0] for module in sys.modules})
    if found:
        sys.exit(f"import {name} brings in {', '.join(found)}")
"""


def imports(modules: list[str], unwanted: list[str]) -> str:
    """Import the modules in turn in a fresh process; return what the first offender says, or nothing."""
    command = [sys.executable, "-c", SCRIPT, ",".join(modules), ",".join(unwanted)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 or "brings in" in result.stderr, result.stderr
    return result.stderr.strip()


def test_the_numpy_core_needs_no_training_or_running_library():
    assert imports([f"racer.{name}" for name in CORE], HEAVY) == ""


def test_importing_racer_is_light():
    assert imports(["racer"], [*HEAVY, "numpy", "scipy", "pyarrow"]) == ""


@pytest.mark.parametrize("module", ["racer.stages", "racer.cli", "racer.pool", "racer.gather", "racer.comparison",
                                    "racer.parts", "racer.collect.run", "racer.local.members"])
def test_calibration_and_its_command_line_need_no_torch(module):
    assert imports([module], TRAINING) == ""


def test_the_check_itself_sees_an_import():
    assert imports(["racer.errors", "racer.sets"], ["numpy"]) == "import racer.sets brings in numpy"


def test_public_names_are_there_and_loaded_on_use():
    script = ("import sys, racer; assert 'numpy' not in sys.modules; racer.Infeasible; racer.RacerError; "
              "racer.OutcomeTable; racer.Decision; assert 'torch' not in sys.modules; "
              "assert not hasattr(racer, 'Nothing')")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
