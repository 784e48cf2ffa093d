"""What is measured: Zeroscope's UNet or Wan's transformer with random weights, and steps of its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import UNet3DConditionModel, WanTransformer3DModel

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.bases.video_codec import VideoCodec
from motionmatcher.bases.wan import MotionWan
from motionmatcher.config.settings import MotionExtractorSettings, TrainData, TrainSettings
from motionmatcher.cost.step import (
    FakeStep,
    TrainingStep,
    bare_base,
    empty_denoiser,
    stored_weights,
)
from motionmatcher.diffusion.flow_schedule import FlowSchedule
from motionmatcher.diffusion.schedules import NoiseSchedule, Schedule
from motionmatcher.objectives.objective import Objective
from motionmatcher.objectives.registry import make_objective
from testbed.random_base import (
    FULL_SIZE,
    SCHEDULER_CONFIG,
    WAN_FULL_SIZE,
    WAN_SCHEDULER_CONFIG,
    WAN_SMALL,
)

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
WAN_WIDTHS: dict[str, dict[str, Any]] = {
    "tiny": WAN_SMALL["transformer"],
    # As wide as the full one, with a fifth of its blocks.
    "shallow": {**WAN_FULL_SIZE["transformer"], "num_layers": 6},
    "full": WAN_FULL_SIZE["transformer"],
}
# Of its VAE, what gives latents their shape.
_WAN_VAE = {
    "z_dim": 16,
    "dim_mult": (1, 2, 4, 4),
    "temperal_downsample": (False, True, True),
}


@dataclass(frozen=True)
class Case:
    """A training step of Zeroscope, and its size.

    Attributes:
        denoiser_class: The denoiser's class.
        plain_class: That of diffusers.
        num_tokens: Of the text.
        attends_over_all: Attention is over all tokens of the video at once.
        width: Of `WIDTHS`.
        frames: Frames of the clip.
        size: Height and width of the latents; one number for both.
        rank: Of the LoRA.
        mode: The motion extractor's.
        precision: As `mixed_precision` in the settings.
        checkpointing: With gradient checkpointing.
        dropout: Of the LoRA.
        objective: As in the settings.
    """

    denoiser_class: ClassVar[type[Denoiser]] = MotionUNet
    plain_class: ClassVar[type[Any]] = UNet3DConditionModel
    num_tokens: ClassVar[int] = 77
    attends_over_all: ClassVar[bool] = False

    width: str = "half"
    frames: int = 16
    size: int | tuple[int, int] = 48
    rank: int = 32
    mode: str = "difference"
    precision: str = "no"
    checkpointing: bool = False
    dropout: float = 0.1
    objective: str = "feature_matching"

    @property
    def config(self) -> dict[str, Any]:
        """The denoiser's config."""
        return WIDTHS[self.width][0]

    @property
    def schedule(self) -> Schedule:
        """The base's schedule."""
        return NoiseSchedule.from_config(SCHEDULER_CONFIG)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of the clip (C, F, h, w)."""
        return 4, self.frames, *self.latent_size

    @property
    def settings(self) -> TrainSettings:
        """Settings of such a training; the paper's where a case does not say otherwise."""
        return TrainSettings(
            pretrained_model_path="",
            train_data=TrainData(
                single_video_path="", single_video_prompt="", n_sample_frames=self.frames
            ),
            motion_extractor=self._extractor_settings(),
            objective=self.objective,
            lora_rank=self.rank,
            lora_unet_dropout=self.dropout,
            mixed_precision=self.precision,
            gradient_checkpointing="full" if self.checkpointing else "none",
        )

    def _extractor_settings(self) -> MotionExtractorSettings:
        scale = WIDTHS[self.width][1]
        return MotionExtractorSettings(
            mode=self.mode, spatial_scale_factor=scale, temporal_scale_factor=scale
        )

    @property
    def title(self) -> str:
        """Of the sections on its real size."""
        return "Full size"

    def describe(self, dtype: str) -> str:
        """Say in words what it is, with weights of a dtype."""
        height, width = self.latent_size
        return f"Width {self.width}, {self.frames} frames of {height}x{width} latents, {dtype}"

    def fake(self, device: torch.device, objective: Objective | None = None) -> FakeStep:
        """Make the step on fake tensors.

        Args:
            device: Which device to imitate.
            objective: What is minimised; None takes the case's.
        """
        denoiser = empty_denoiser(self.denoiser_class, self.config, self.settings)
        if self.checkpointing:
            denoiser.enable_gradient_checkpointing()
        return FakeStep.build(
            denoiser,
            self.schedule,
            self.settings,
            self.latent_shape,
            self.num_tokens,
            device,
            objective,
        )

    def real(self, device: torch.device, dtype: torch.dtype = torch.float32) -> TrainingStep:
        """Make the step with random weights, the same ones every time.

        Args:
            device: Where it computes.
            dtype: Of the frozen weights.
        """
        settings = self.settings
        denoiser = random_denoiser(self.denoiser_class, self.config, settings, device, dtype)
        if self.checkpointing:
            denoiser.enable_gradient_checkpointing()
        base = bare_base(denoiser, self.schedule, device)
        draw = torch.Generator().manual_seed(1)
        latents = torch.randn(1, *self.latent_shape, generator=draw).to(device)
        text = torch.randn(1, self.num_tokens, denoiser.text_width, generator=draw)
        objective = make_objective(settings.objective)
        objective.prepare(base, settings, self.latent_size)
        batch = objective.draw(latents, text.to(device), 0, 0, 0)
        return TrainingStep(base, settings, objective, batch)


@dataclass(frozen=True)
class WanCase(Case):
    """A training step of Wan, with the settings of its config.

    Attributes:
        width: Of `WAN_WIDTHS`.
    """

    denoiser_class: ClassVar[type[Denoiser]] = MotionWan
    plain_class: ClassVar[type[Any]] = WanTransformer3DModel
    num_tokens: ClassVar[int] = 512
    attends_over_all: ClassVar[bool] = True

    width: str = "full"
    frames: int = 33
    size: int | tuple[int, int] = (60, 104)
    mode: str = "tangent"
    precision: str = "bf16"
    checkpointing: bool = True

    @property
    def config(self) -> dict[str, Any]:
        return WAN_WIDTHS[self.width]

    @property
    def schedule(self) -> Schedule:
        return FlowSchedule.from_config(WAN_SCHEDULER_CONFIG)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        height, width = (8 * side for side in self.latent_size)
        patch_size = MotionWan.patch_size(self.config)
        return VideoCodec.shape_by_config(_WAN_VAE, self.frames, width, height, patch_size)

    @property
    def title(self) -> str:
        height, width = (8 * side for side in self.latent_size)
        return f"Wan, {self.frames} frames of {height}x{width}"

    def _extractor_settings(self) -> MotionExtractorSettings:
        return MotionExtractorSettings(mode=self.mode)


def random_denoiser(
    denoiser_class: type[Denoiser],
    config: Mapping[str, Any],
    settings: TrainSettings,
    device: torch.device,
    dtype: torch.dtype,
) -> Denoiser:
    """Make a denoiser with random weights and a LoRA that is not zero, without a second copy of either.

    Args:
        denoiser_class: Its class.
        config: Its config.
        settings: Of the LoRA.
        device: Where the weights are.
        dtype: Of the frozen weights, but for those that are in fp32 whatever one asks for.
    """
    denoiser = empty_denoiser(denoiser_class, config, settings)
    draw = torch.Generator(device).manual_seed(0)
    for module, name, parameter, stored in stored_weights(denoiser, dtype):
        trained = parameter.requires_grad
        if parameter.ndim == 1:
            weight = torch.full(parameter.shape, float(name == "weight"), device=device)
        else:
            spread = parameter[0].numel() ** -0.5
            weight = torch.empty(parameter.shape, device=device)
            weight.normal_(0, spread / 10 if trained else spread, generator=draw)
        setattr(module, name, torch.nn.Parameter(weight.to(stored), requires_grad=trained))
    return denoiser.to(device).train()  # its buffers: small tables, such as those of positions
