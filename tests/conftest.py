import os
from pathlib import Path

import pytest


@pytest.fixture
def racer_data() -> Path:
    """The folder with the real outcome data, `routerdc/`, `mmlupro/` and `routerbench/`."""
    if "RACER_DATA" not in os.environ:
        pytest.skip("RACER_DATA is not set: point it at the outcome data to test on it")
    return Path(os.environ["RACER_DATA"])
