"""What several tests share: the real tables, composed settings, and one small trained run."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from racer import config as schemas
from racer import sealed
from racer.config import Config

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; what is printed shall be as wide as into a pipe
CONF = Path(__file__).parents[1] / "conf"
SMALL = ("encoder=tiny", "data.n=600", "train.epochs=2", "train.batch_size=32", "tracking.wandb=off")


@pytest.fixture
def racer_data() -> Path:
    """The folder of the real outcome tables; skips where RACER_DATA is not set."""
    if "RACER_DATA" not in os.environ:
        pytest.skip("RACER_DATA is not set: the real outcome tables are not here")
    return Path(os.environ["RACER_DATA"])


def composed(*overrides: str, name: str = "train"):
    """Return the settings that a script would get from these overrides, as the plain dataclass."""
    return schemas.composed(name, overrides)


@pytest.fixture(scope="session")
def small_config(tmp_path_factory) -> Config:
    """Settings of a run that takes seconds: a random tiny encoder, frozen, on 600 kitchen queries."""
    return composed(*SMALL, f"cache_dir={tmp_path_factory.mktemp('cache')}")


@pytest.fixture(scope="session")
def small_run(small_config, tmp_path_factory) -> Path:
    """The folder of a finished small run; read it, copy it, never change it."""
    from racer import pipeline

    folder = tmp_path_factory.mktemp("runs") / "small"
    pipeline.run(replace(small_config, run_dir=str(folder)))
    return folder


WITHOUT_FIGURES = """import sys
given = " ".join(sys.orig_argv)
if "popen_loky" in given or ("train.py" in given and "accelerate.commands" not in given):
    from racer import stages
    stages.draw_all = lambda *_: []
"""  # a sitecustomize.py for the processes of a training: figures take longer than all else

FIELD = (*SMALL, "data.n=300", "encoder.max_length=64", "risk.alpha=0.3")


def resealed(path: Path, **changed) -> None:
    """Change a calibration and seal it anew: one that was made so, not edited by hand."""
    record = json.loads(path.read_text())
    del record["seal"]
    sealed.write(path, record | changed)


def finished(config: Config) -> Path:
    """Do the whole main job but the figures, which take longer than all else; return the folder of the run."""
    from racer import pipeline, stages
    from racer.router import perceptron

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "draw_all", lambda *_: [])
        patch.setattr(perceptron, "EPOCHS", 3)
        pipeline.run(config)
    return Path(config.run_dir)


@pytest.fixture(scope="session")
def field_cache(tmp_path_factory) -> Path:
    """The cache that all base routers share: each text is embedded once."""
    return tmp_path_factory.mktemp("field_cache")


@pytest.fixture(scope="session")
def field_run(field_cache, tmp_path_factory):
    """Return a function from the name of a base router to the folder of its finished run, trained once: copy it,
    never change it.
    """
    runs = tmp_path_factory.mktemp("field_runs")

    def folder(router: str) -> Path:
        if not (runs / router).exists():
            finished(composed(*FIELD, f"cache_dir={field_cache}", f"run_dir={runs / router}", f"router={router}"))
        return runs / router
    return folder
