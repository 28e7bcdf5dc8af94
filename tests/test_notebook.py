"""The notebook runs to its end on the sample's store, and its pictures are there."""

import os
from pathlib import Path

import nbformat
import pytest
import rasterio
from nbclient import NotebookClient

import etl

ROOT = Path(str(etl.__file__)).parents[1]
NOTEBOOK = ROOT / "docs" / "look.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_on_the_samples_store_and_shows_its_pictures(reference, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "store.h5").symlink_to(reference)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 6
    assert not [output for output in shown if output.get("name") == "stderr"]
    with rasterio.open(tmp_path / "tile.tif") as file:
        assert file.crs.is_projected


def test_the_notebook_is_kept_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
