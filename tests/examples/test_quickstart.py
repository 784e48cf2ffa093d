"""The notebook runs from start to end, on the small base."""

from pathlib import Path

import nbformat
import pytest
from launching import PROJECT
from nbclient import NotebookClient

NOTEBOOK = PROJECT / "examples" / "quickstart.ipynb"


def test_it_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(
        not cell.outputs and cell.execution_count is None for cell in cells if "outputs" in cell
    )


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    )
    parameters.source = f"TRAIN_STEPS, SAMPLING_STEPS, OUTPUT = 2, 2, {str(tmp_path / 'out')!r}"
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    shown = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output
    ]
    videos = [output for output in shown if "data:video/mp4;base64" in output.data["text/html"]]
    assert len(videos) == 3, "the reference, and a video of each run"
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "gap_3_loss" in printed
    assert "Motion discrepancy" in printed
    assert printed.rstrip().endswith("[2]")
