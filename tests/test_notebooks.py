"""The notebooks: they run from where a reader opens them, say what is true, and are kept without outputs."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from racer import formats

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Return a function from the name of a notebook to what its cells printed, run on small settings."""
    monkeypatch.setenv("RACER_NOTEBOOKS_SMALL", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(name: str) -> str:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        NotebookClient(notebook, timeout=120, kernel_name="python3",
                       resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        texts = [output["text"] if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
                 for output in outputs]
        return re.sub(r"\x1b\[[\d;]*m", "", "".join(texts))  # without colours
    return run


def number(text: str, after: str) -> float:
    """Return the number that follows `after`."""
    return float(re.search(re.escape(after) + r"\s*([\d.]*\d)", text)[1])


def test_the_quick_start_trains_and_routes(executed, tmp_path):
    said = executed("01_quickstart.ipynb")
    assert "kitchen (simulated" in said and "misrouting risk <= 0.1 with confidence 0.9" in said
    assert len(re.findall(r"^  ask: \S", said, re.MULTILINE)) == 3
    unserved = re.search(r"cut \S+: (\d+) of (\d+) calibration queries unserved, (\d+) allowed", said)
    assert int(unserved[1]) <= int(unserved[3]) < 0.3 * int(unserved[2])
    assert json.loads((tmp_path / "run" / "calibration.json").read_text())["risk"]["alpha"] == 0.1  # put back


def test_an_own_pool_is_collected_trained_and_routed(executed, tmp_path):
    said = executed("02_your_own_pool.ipynb")
    assert "nothing is missing: True" in said and "(960 of 960 outcomes)" in said
    assert (tmp_path / "own_pool" / "run" / "calibration.json").exists()
    table = formats.read(tmp_path / "own_pool" / "table")
    right = dict(zip(table.models, table.outcomes().T, strict=True))
    for model, task in (("adder", "sums"), ("multiplier", "products"), ("speller", "letters")):
        assert right[model][table.task == task].all() and not right[model][table.task != task].all()
    assert re.search(r"letter 2 of banana\? -> \w+", said)


def test_the_simulation_shows_what_the_methods_promise(executed):
    said = executed("03_what_the_promise_means.ipynb")
    sets, delta = 400, 0.1
    se = (delta * (1 - delta) / sets) ** 0.5
    assert abs(number(said, "crc: mean true risk") - 0.1) < 3 * 0.0095 / sets**0.5 + 1e-4  # the sd of Beta(100, 901)
    assert number(said, "pac: mean true risk") < 0.09
    crc, pac = (number(said[said.index(f"{method}: mean"):], "share above alpha") for method in ("crc", "pac"))
    assert pac <= delta + 3 * se and abs(crc - 0.485) < 3 * (0.25 / sets) ** 0.5
    assert number(said, "dkw: some of the 20 promises is broken in") <= delta \
        < number(said, "pac: some of the 20 promises is broken in")
    assert number(said, "mean true risk on the harder queries:") > 0.1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code), \
        f"clear the outputs of {path.name} before it is committed"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"  # the kernel of the environment it is opened in


def test_every_notebook_is_executed_here():
    assert {path.name for path in NOTEBOOKS} == set(re.findall(r'executed\("(.*?)"\)', Path(__file__).read_text()))
