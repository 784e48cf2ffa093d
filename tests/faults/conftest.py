"""How often the faults strike, and what they strike."""

from typing import Any

import pytest
from launching import train_in_process, write_config

from motionmatcher.runs.run_folder import Run


@pytest.fixture(scope="session")
def kills(pytestconfig: pytest.Config) -> int:
    """Times a training is killed."""
    return pytestconfig.getoption("--kills")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, quick_values: dict[str, Any]) -> Run:
    """A run of one step that made no previews."""
    folder = tmp_path_factory.mktemp("trained")
    values = {
        **quick_values,
        "output_dir": str(folder / "runs"),
        "max_train_steps": 1,
        "validation_data": {"sample_preview": False, "num_inference_steps": 2},
    }
    return train_in_process(write_config(folder / "config.yaml", values))
