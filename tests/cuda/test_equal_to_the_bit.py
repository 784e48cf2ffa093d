"""Training repeats and resumes to the bit."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.bare_training import start_anew, train_lora
from benchmarks.cases import Case, WanCase
from motionmatcher.devices import weight_dtype
from motionmatcher.runs.run_folder import Run

# CUDA warns of much that does no harm, or whose harm these tests would see.
pytestmark = pytest.mark.filterwarnings("default")
FILES = ("lora/pytorch_lora_weights.safetensors", "training_state.safetensors")


def train_some(case: Case, folder: Path, device: torch.device, resume: bool = False) -> Run:
    """Train three steps with a checkpoint at the second, or go on from there."""
    step = case.real(device, weight_dtype(case.precision, device))
    start_anew(step.base.denoiser)
    run = Run(folder)
    settings = replace(
        step.settings,
        output_dir=str(folder),
        max_train_steps=3,
        checkpointing_steps=2,
        adam_epsilon=1e-15,
    )
    train_lora(step, settings, folder, run.checkpoint_folder(2) if resume else None)
    return run


def checkpoint(run: Run, step: int) -> list[bytes]:
    return [(run.checkpoint_folder(step) / file).read_bytes() for file in FILES]


@pytest.mark.parametrize(
    "case",
    [
        Case("tiny", 2, 8, precision="no", mode="difference"),
        Case("tiny", 2, 8, precision="fp16", mode="tangent", checkpointing=True),
        WanCase("tiny", 5, (8, 12)),
    ],
    ids=["fp32 difference", "fp16 tangent", "wan, bf16 tangent"],
)
def test_a_run_repeats_and_resumes(case: Case, device: torch.device, tmp_path: Path) -> None:
    unbroken = train_some(case, tmp_path / "unbroken", device)
    again = train_some(case, tmp_path / "again", device)
    assert checkpoint(again, 3) == checkpoint(unbroken, 3)
    assert checkpoint(again, 2) == checkpoint(unbroken, 2) != checkpoint(again, 3)
    shutil.rmtree(again.checkpoint_folder(3))
    resumed = train_some(case, again.folder, device, resume=True)
    assert checkpoint(resumed, 3) == checkpoint(unbroken, 3)
