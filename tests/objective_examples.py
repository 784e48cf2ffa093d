"""What the tests of objectives compute with: settings, a bare base, a batch."""

import torch

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import (
    LossWeights,
    MotionExtractorSettings,
    TrainData,
    TrainSettings,
)
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.objectives.objective import Batch
from testbed.random_base import SCHEDULER_CONFIG

SETTINGS = TrainSettings(
    pretrained_model_path="",
    train_data=TrainData(single_video_path="", single_video_prompt=""),
    motion_extractor=MotionExtractorSettings(
        num_denoise_steps=5, spatial_scale_factor=1, temporal_scale_factor=2
    ),
    loss_weights=LossWeights(spatial_loss=3e6, temporal_loss=5e6),
)


def base_model(unet: MotionUNet | None, prediction_type: str) -> BaseModel:
    """A base of which the loss needs the denoiser and the schedule only, and a draw the schedule."""
    config = {**SCHEDULER_CONFIG, "prediction_type": prediction_type}
    unread = {"text": None, "codec": None}
    schedule = NoiseSchedule.from_config(config)
    cpu = torch.device("cpu")
    return BaseModel(schedule=schedule, denoiser=unet, device=cpu, fingerprint="", **unread)  # type: ignore[arg-type]


def batch() -> Batch:
    """One reference, two noises at timesteps of their own, one prompt; not square."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 3, 4, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, 4, 3, 4, 6, generator=generator, dtype=torch.float64)
    text_states = torch.randn(1, 7, 32, generator=generator, dtype=torch.float64)
    return Batch(
        latents=latents.expand_as(noise),
        text_states=text_states.expand(2, -1, -1),
        noise=noise,
        timesteps=torch.tensor([900, 510]),
    )
