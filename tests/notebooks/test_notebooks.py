"""The notebooks of docs/notebooks: they run from top to bottom, and what they show is shown."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")


def opened(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


def test_there_is_a_notebook_for_each_technique():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {"sfx", "spi", "saxs"}


@pytest.mark.parametrize("name", ["sfx", "spi", "saxs"])
def test_notebooks_are_kept_without_outputs_and_their_links_lead_somewhere(name):
    notebook = opened(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
        for link in re.findall(r"\]\(([^)]+)\)", cell.source) if cell.cell_type == "markdown" else ():
            assert (FOLDER / link).is_file(), link


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sfx", r"crystals (\d+), kept \1; misses (\d+), kept 0"),
        ("spi", r"3000 to inf +(\d+) +\1\nmisses kept: 0 of \d+"),
        ("saxs", r"16 pumped shots, 12 others"),
    ],
    ids=["sfx", "spi", "saxs"],
)
def test_a_notebook_runs(name, says, tmp_path, tmp_path_factory, monkeypatch):
    notebook = opened(name)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(path) for path in sys.path if path))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # nothing of Jupyter's in a user's home
        monkeypatch.setenv(variable, str(tmp_path_factory.mktemp("jupyter")))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [(cell, out) for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    kinds = [kind for _, out in outputs for kind in out.get("data", {})]
    assert kinds.count("image/png") >= 4
    assert kinds.count("text/html") >= 3
    printed = "".join(out.text for _, out in outputs if out.output_type == "stream" and out.name == "stdout")
    assert re.search(says, printed), printed
    warned = [out.text for _, out in outputs if out.output_type == "stream" and out.name == "stderr"]
    assert not warned
    for cell, out in outputs:
        assert not re.search(r"\bnan\b", out.get("data", {}).get("text/html", "")), cell.source
    # A cell that draws ends with a picture.
    for cell in notebook.cells:
        if cell.cell_type == "code" and "shotsieve.plot." in cell.source:
            assert any("image/png" in out.get("data", {}) for out in cell.outputs), cell.source
    assert not list(tmp_path.iterdir()), "everything is written into a temporary folder"
