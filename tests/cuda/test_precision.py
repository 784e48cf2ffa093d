"""What was recorded in fp64 is met on a GPU: closely in fp32, and nearly in half precision."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden_case import (
    TrainingCase,
    load_golden_base,
    loss_and_gradients,
    read_goldens,
    relative_error,
    training_case,
)
from torch import Tensor

pytestmark = pytest.mark.filterwarnings("default")
LOSS_SCALE = 2.0**16


def gradient_of(
    folder: Path, case: TrainingCase, dtype: torch.dtype, device: torch.device
) -> tuple[float, Tensor]:
    """Compute the loss, and its gradient in all weights of the LoRA, fp64 on the CPU."""
    base = load_golden_base(folder, dtype)
    base.denoiser.to(device)
    there = replace(
        case,
        **{
            name: getattr(case, name).to(device)
            for name in ("latents", "noise", "text_states", "timesteps")
        },
    )
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    loss, gradients = loss_and_gradients(replace(base, device=device), there, scale)
    flat = torch.cat([gradients[name].flatten() for name in sorted(gradients)])
    return loss.total.item(), flat.double().cpu()


def recorded_case(folder: Path, dtype: torch.dtype, mode: str) -> TrainingCase:
    """The first recorded step, with an extractor of a mode."""
    case = training_case(folder, read_goldens(folder)["training_cases"][0], dtype)
    extractor = replace(case.settings.motion_extractor, mode=mode)
    return replace(case, settings=replace(case.settings, motion_extractor=extractor))


@pytest.fixture(scope="module")
def exact_gradient(golden_dir: Path) -> Tensor:
    """Of the published formula, in fp64."""
    case = recorded_case(golden_dir, torch.float64, "difference")
    return gradient_of(golden_dir, case, torch.float64, torch.device("cpu"))[1]


# On a CPU the errors of the gradient are 2e-4, 0.042, 0.077, 0.088 and 0.58.
@pytest.mark.parametrize(
    ("mode", "dtype", "loss_error", "gradient_error"),
    [
        ("difference", torch.float32, 5e-4, 1e-3),
        ("tangent", torch.float32, 0.03, 0.1),
        ("difference", torch.float16, 0.1, 0.2),
        ("tangent", torch.float16, 0.1, 0.2),
        ("tangent", torch.bfloat16, 0.1, 0.8),
    ],
    ids=str,
)
def test_recorded_step(
    golden_dir: Path,
    exact_gradient: Tensor,
    device: torch.device,
    mode: str,
    dtype: torch.dtype,
    loss_error: float,
    gradient_error: float,
) -> None:
    case = recorded_case(golden_dir, torch.float32, mode)
    loss, gradient = gradient_of(golden_dir, case, dtype, device)
    assert loss == pytest.approx(case.recorded["loss"], rel=loss_error)
    assert relative_error(gradient, exact_gradient) < gradient_error
