"""Objectives by name; one's own without touching any other file."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import PROJECT, write_config
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import mse_loss

from motionmatcher import load_settings, register_objective, resume, train
from motionmatcher.config.loading import load_settings as read
from motionmatcher.errors import UserError
from motionmatcher.objectives.names import BUILT_IN, OBJECTIVES, objective_names
from motionmatcher.objectives.objective import Batch, Objective, TrainingLoss
from motionmatcher.objectives.pixel import Denoising, PixelObjective
from motionmatcher.objectives.registry import make_objective


class MeanFrame(PixelObjective):
    """A toy: the prediction's mean over frames."""

    name = "mean_frame"

    def compare(self, prediction: Tensor, truth: Tensor, batch: Batch) -> TrainingLoss:
        return TrainingLoss({"mean": mse_loss(prediction.mean(2), truth.mean(2))})


@pytest.fixture
def _as_found() -> Iterator[None]:
    """Forget afterwards what was registered."""
    found = dict(OBJECTIVES)
    yield
    OBJECTIVES.clear()
    OBJECTIVES.update(found)


@pytest.fixture
def config(tmp_path: Path, run_values: dict[str, Any]) -> Path:
    few: dict[str, Any] = {"sample_preview": False, "noise_prior": 0}
    values = {**run_values, "output_dir": str(tmp_path / "runs"), "validation_data": few}
    return write_config(tmp_path / "config.yaml", {**values, "max_train_steps": 2})


@pytest.mark.parametrize("name", BUILT_IN)
def test_objectives_are_made_by_the_name_they_have(name: str) -> None:
    assert make_objective(name).name == name


def test_the_registry_imports_no_torch() -> None:
    program = (
        "import sys, motionmatcher.config.settings, motionmatcher.objectives.registry\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        UserError,
        match=r"^objective must be one of feature_matching, .*, not 'denoise'\. Did you mean",
    ):
        make_objective("denoise")


@pytest.mark.usefixtures("_as_found")
def test_one_s_own_objective_trains_by_its_name(config: Path) -> None:
    with pytest.raises(UserError, match="objective must be one of"):
        load_settings(config, ["objective=mean_frame"])
    register_objective(MeanFrame)
    register_objective(MeanFrame)  # as a notebook does whose cell is run again
    assert "mean_frame" in objective_names()
    run = train(config, ["objective=mean_frame"], device="cpu", quiet=True)
    assert read(run.config_file).objective == "mean_frame"
    assert set(run.values[0]) == {"loss", "mean_loss", "gradient_norm", "learning_rate"}


def test_an_object_of_one_s_own_trains_and_resumes(config: Path) -> None:
    run = train(config, objective=MeanFrame(), device="cpu", quiet=True)
    assert run.finished
    assert len(run.losses) == 2
    assert run.losses[0] == run.values[0]["mean_loss"]
    settings = run.settings()  # for generation, which needs no objective
    assert settings is not None
    assert settings.objective == "mean_frame"
    with pytest.raises(UserError, match=r"config\.yaml: objective must be one of"):
        resume(run, ["max_train_steps=3"], device="cpu", quiet=True)
    longer = resume(run, ["max_train_steps=3"], objective=MeanFrame(), device="cpu", quiet=True)
    assert longer.folder == run.folder
    assert len(longer.losses) == 1
    assert longer.checkpoint_steps() == [2, 3]


def test_an_object_and_a_name_train_alike(config: Path) -> None:
    by_object = train(config, objective=Denoising(), device="cpu", quiet=True)
    by_name = train(config, objective="denoising", device="cpu", quiet=True)
    assert by_object.losses == by_name.losses
    files = [run.find_checkpoint() / "lora" for run in (by_object, by_name)]
    first, second = (load_file(next(folder.glob("*.safetensors"))) for folder in files)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"objective Nameless has no name: give the class one"),
        ("vmc", r"objective vmc is one of this toolkit's: choose another name"),
    ],
)
def test_names_that_are_refused(name: str, message: str) -> None:
    Nameless = type("Nameless", (Objective,), {"name": name})
    with pytest.raises(UserError, match=message):
        register_objective(Nameless)
