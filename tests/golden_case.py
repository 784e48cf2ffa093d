"""The recorded numbers of the published method, ready to be compared with."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.lora import load_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import (
    LossWeights,
    MotionExtractorSettings,
    TrainData,
    TrainSettings,
)
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.objectives.feature_matching import FeatureMatching
from motionmatcher.objectives.objective import Batch, TrainingLoss


@cache
def read_goldens(folder: Path) -> dict[str, Any]:
    """Read `goldens.json`."""
    return json.loads((folder / "goldens.json").read_text())


@cache
def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Read one of the folder's safetensors files; empty when it is not there."""
    file = folder / f"{name}.safetensors"
    return load_file(file) if file.is_file() else {}


def load_golden_base(folder: Path, dtype: torch.dtype, lora: bool = True) -> BaseModel:
    """Load the recorded UNet and LoRA; text encoder and VAE were not recorded."""
    unet = MotionUNet.from_pretrained(folder / "unet", torch_dtype=dtype)
    unet.eval().requires_grad_(False)
    if lora:
        load_lora(unet, folder / "lora")
        for weight in unet.lora_parameters().values():
            weight.data = weight.data.to(torch.promote_types(dtype, torch.float32))
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    return BaseModel(
        schedule=NoiseSchedule.from_config(config),
        text=None,  # type: ignore[arg-type]
        codec=None,  # type: ignore[arg-type]
        denoiser=unet,
        device=torch.device("cpu"),
        fingerprint="golden",
    )


@dataclass(frozen=True)
class TrainingCase:
    """One recorded training step.

    Attributes:
        recorded: Its entry in `goldens.json`.
        latents: (B, 4, F, h, w).
        noise: (B, 4, F, h, w).
        text_states: (B, T, D).
        timesteps: (B,).
        settings: A run's settings with the case's extractor and weights.
    """

    recorded: dict[str, Any]
    latents: Tensor
    noise: Tensor
    text_states: Tensor
    timesteps: Tensor
    settings: TrainSettings


def training_case(folder: Path, recorded: dict[str, Any], dtype: torch.dtype) -> TrainingCase:
    """Put together the inputs of a recorded training step."""
    inputs = read_tensors(folder, "inputs")

    def batch(name: str) -> Tensor:
        if recorded["batch"] == "latents":
            return inputs[name].to(dtype)
        return torch.cat([inputs[name], inputs[f"{name}_b"]]).to(dtype)

    return TrainingCase(
        recorded,
        batch("latents"),
        batch("noise"),
        batch("text_states"),
        torch.tensor(recorded["timesteps"]),
        TrainSettings(
            pretrained_model_path="",
            train_data=TrainData(single_video_path="", single_video_prompt=""),
            motion_extractor=extractor_settings(recorded),
            loss_weights=LossWeights(**read_goldens(folder)["loss_weights"]),
        ),
    )


def loss_and_gradients(
    base: BaseModel, case: TrainingCase, loss_scale: float = 1.0
) -> tuple[TrainingLoss, dict[str, Tensor]]:
    """Compute a recorded step's loss, and its gradients in the LoRA's weights by name.

    Args:
        base: The base model.
        case: The step.
        loss_scale: The loss is multiplied by it before backward, and the gradients divided after it,
            as training in fp16 does.
    """
    objective = FeatureMatching()
    height, width = case.latents.shape[-2:]
    objective.prepare(base, case.settings, (height, width))
    parameters = base.denoiser.lora_parameters()
    for parameter in parameters.values():
        parameter.requires_grad_(True)
        parameter.grad = None
    loss = objective.loss(Batch(case.latents, case.text_states, case.noise, case.timesteps))
    (loss_scale * loss.total).backward()
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    return loss, {n: grad / loss_scale for n, grad in gradients.items() if grad is not None}


def extractor_settings(recorded: dict[str, Any]) -> MotionExtractorSettings:
    """Take the extractor's settings of a recorded case."""
    names = ("num_denoise_steps", "spatial_scale_factor", "temporal_scale_factor")
    return MotionExtractorSettings(**{name: recorded[name] for name in names})


def step_length(folder: Path, timestep: int) -> int:
    """The step length of the tensors recorded at a timestep: that of its cases."""
    lengths = [
        case["num_denoise_steps"]
        for case in read_goldens(folder)["training_cases"]
        if case["timesteps"] == [timestep] and case["batch"] == "latents"
    ]
    return min(lengths, default=1)


def recorded_timesteps(folder: Path) -> list[int]:
    """The timesteps at which single tensors of a training step were recorded."""
    names = read_tensors(folder, "train")
    found = {int(match[1]) for name in names if (match := re.search(r"_t(\d+)$", name))}
    return sorted(found)


def relative_error(value: Tensor, reference: Tensor) -> float:
    """L2 norm of the difference over that of the reference, in fp64."""
    difference = value.double() - reference.double()
    return float(difference.norm() / reference.double().norm())
