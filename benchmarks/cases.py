"""What is measured: Zeroscope's UNet at several widths with random weights, and steps of its training."""

from dataclasses import dataclass
from typing import Any

import torch

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import MotionExtractorSettings, TrainData, TrainSettings
from motionmatcher.cost.step import FakeStep, TrainingStep, bare_base, empty_denoiser
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.objectives.registry import make_objective
from testbed.random_base import FULL_SIZE, SCHEDULER_CONFIG

NUM_TOKENS = 77
_TWO_LEVELS = {
    **FULL_SIZE["unet"],
    "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
    "up_block_types": ("CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
}
# Width -> UNet config and the scale factor of its feature maps.
WIDTHS: dict[str, tuple[dict[str, Any], int]] = {
    "tiny": (
        {**FULL_SIZE["unet"], "block_out_channels": (32,), "attention_head_dim": 16}
        | {"layers_per_block": 1, "cross_attention_dim": 32}
        | {"down_block_types": ("CrossAttnDownBlock3D",)}
        | {"up_block_types": ("CrossAttnUpBlock3D",)},
        1,
    ),
    # Zeroscope's four levels, with one layer each and a fifth of the channels.
    "narrow": (
        {**FULL_SIZE["unet"], "block_out_channels": (64, 128, 256, 256), "layers_per_block": 1}
        | {"cross_attention_dim": 204},
        4,
    ),
    "small": ({**_TWO_LEVELS, "block_out_channels": (64, 128), "cross_attention_dim": 128}, 2),
    "half": ({**_TWO_LEVELS, "block_out_channels": (320, 640)}, 2),
    "full": (FULL_SIZE["unet"], 4),
}


@dataclass(frozen=True)
class Case:
    """A training step's size.

    Attributes:
        width: Of `WIDTHS`.
        frames: Frames of the clip.
        size: Height and width of the latents.
        rank: Of the LoRA.
        mode: The motion extractor's.
        precision: As `mixed_precision` in the settings.
        checkpointing: With gradient checkpointing.
        dropout: Of the LoRA.
        objective: As in the settings.
    """

    width: str = "half"
    frames: int = 16
    size: int = 48
    rank: int = 32
    mode: str = "difference"
    precision: str = "no"
    checkpointing: bool = False
    dropout: float = 0.1
    objective: str = "feature_matching"

    @property
    def unet_config(self) -> dict[str, Any]:
        """The UNet's config."""
        return WIDTHS[self.width][0]

    @property
    def settings(self) -> TrainSettings:
        """Settings of such a training; the paper's where a case does not say otherwise."""
        scale = WIDTHS[self.width][1]
        return TrainSettings(
            pretrained_model_path="",
            train_data=TrainData(
                single_video_path="", single_video_prompt="", n_sample_frames=self.frames
            ),
            motion_extractor=MotionExtractorSettings(
                mode=self.mode, spatial_scale_factor=scale, temporal_scale_factor=scale
            ),
            objective=self.objective,
            lora_rank=self.rank,
            lora_unet_dropout=self.dropout,
            mixed_precision=self.precision,
            gradient_checkpointing="full" if self.checkpointing else "none",
        )

    def fake(self, device: torch.device) -> FakeStep:
        """Make the step on fake tensors."""
        unet = empty_denoiser(MotionUNet, self.unet_config, self.settings)
        if self.checkpointing:
            unet.enable_gradient_checkpointing()
        schedule = NoiseSchedule.from_config(SCHEDULER_CONFIG)
        shape = (unet.config.in_channels, self.frames, self.size, self.size)
        return FakeStep.build(unet, schedule, self.settings, shape, NUM_TOKENS, device)

    def real(self, device: torch.device, dtype: torch.dtype = torch.float32) -> TrainingStep:
        """Make the step with random weights, the same ones every time.

        Args:
            device: Where it computes.
            dtype: Of the frozen weights.
        """
        settings, size = self.settings, (self.size, self.size)
        unet = random_unet(self.unet_config, settings, device, dtype)
        if self.checkpointing:
            unet.enable_gradient_checkpointing()
        base = bare_base(unet, NoiseSchedule.from_config(SCHEDULER_CONFIG), device)
        draw = torch.Generator().manual_seed(1)
        latents = torch.randn(1, 4, self.frames, *size, generator=draw).to(device)
        text = torch.randn(1, NUM_TOKENS, unet.text_width, generator=draw)
        objective = make_objective(settings.objective)
        objective.prepare(base, settings, size)
        batch = objective.draw(latents, text.to(device), 0, 0, 0)
        return TrainingStep(base, settings, objective, batch)


def random_unet(
    unet_config: dict[str, Any], settings: TrainSettings, device: torch.device, dtype: torch.dtype
) -> Denoiser:
    """Make a UNet with random weights and a LoRA that is not zero, without a second copy of either."""
    unet = empty_denoiser(MotionUNet, unet_config, settings)
    draw = torch.Generator(device).manual_seed(0)
    for path, module in unet.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            trained = ".lora_" in path
            if parameter.ndim == 1:
                weight = torch.full(parameter.shape, float(name == "weight"), device=device)
            else:
                spread = parameter[0].numel() ** -0.5
                weight = torch.empty(parameter.shape, device=device)
                weight.normal_(0, spread / 10 if trained else spread, generator=draw)
            weight = weight if trained else weight.to(dtype)
            setattr(module, name, torch.nn.Parameter(weight, requires_grad=trained))
    return unet.train()
