"""Codecs: frames <-> latents.

A codec lives on the CPU, computes in fp32, and visits the device for its work.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.activations import ACT2CLS
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from einops import rearrange
from torch import Tensor

from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig
from motionmatcher.clips.video import Frames
from motionmatcher.devices import visiting
from motionmatcher.errors import UserError
from motionmatcher.finiteness import require_finite

# Pixels of frames that the VAE takes at once; bounds its memory whatever the clip's length.
VAE_SLICE_PIXELS = 576 * 320


class Codec:
    """What every codec is.

    Attributes:
        model_class: What its weights are loaded into.
        channels_key: The key of its config that says how many channels latents have.
    """

    model_class: ClassVar[type[Any]]
    channels_key: ClassVar[str]

    def __init__(self, vae: Any, device: torch.device, tiling: bool = False) -> None:
        """Take a VAE.

        Args:
            vae: A `model_class`, on the CPU, in fp32.
            device: Where it computes.
            tiling: Large frames go in overlapping tiles: less memory, slightly other numbers.
        """
        self.vae = vae
        self.device = device
        self.tiling = tiling
        if tiling:
            vae.enable_tiling()

    @staticmethod
    def check_config(config: BaseConfig) -> None:
        """Check `vae/config.json`.

        Raises:
            UserError: Names the file and the key that it cannot be built with.
        """
        raise NotImplementedError

    @staticmethod
    def scale_factor(config: Mapping[str, Any]) -> int:
        """Pixels per latent, in each direction."""
        raise NotImplementedError

    @classmethod
    def count_latents(cls, config: Mapping[str, Any], num_frames: int) -> int:
        """How many latents in time a video has.

        Raises:
            UserError: There are no latents of that many frames.
        """
        raise NotImplementedError

    @staticmethod
    def least_values(config: Mapping[str, Any], width: int, height: int) -> int:
        """How many numbers its widest layer, of one frame at full size, holds at least."""
        raise NotImplementedError

    @classmethod
    def shape_by_config(
        cls,
        config: Mapping[str, Any],
        num_frames: int,
        width: int,
        height: int,
        patch_size: int = 1,
    ) -> tuple[int, int, int, int]:
        """Shape of a video's latents, known from the codec's config.

        Args:
            config: `vae/config.json`.
            num_frames: As many as `count_latents` takes.
            width: Pixels.
            height: Pixels.
            patch_size: Latents come in squares of so many for the denoiser.

        Returns:
            (C, F, h, w).

        Raises:
            UserError: The codec or the denoiser does not take this size or number of frames.
        """
        scale = cls.scale_factor(config)
        unit = scale * patch_size
        for name, pixels in (("width", width), ("height", height)):
            if pixels % unit:
                raise UserError(
                    f"{name} {pixels} must be a multiple of {unit} pixels for this base model: "
                    f"use {max((pixels + unit // 2) // unit, 1) * unit}."
                )
        num_latents = cls.count_latents(config, num_frames)
        return config[cls.channels_key], num_latents, height // scale, width // scale

    def latent_shape(self, num_frames: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Shape of a video's latents, (C, F, h, w); args and errors as of `shape_by_config`."""
        return self.shape_by_config(self.vae.config, num_frames, width, height)

    def encode(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Encode frames to latents, a draw from the VAE's posterior.

        Args:
            frames: uint8 (F, 3, H, W).
            generator: CPU generator of the draw.

        Returns:
            Scaled latents (1, C, F, h, w), fp32, on the device.
        """
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Frames:
        """Decode one video's latents to frames.

        Args:
            latents: Scaled latents (C, F, h, w).

        Returns:
            uint8 (F, H, W, 3).

        Raises:
            NotFiniteError: The latents are so large that the VAE makes NaN or infinity of them.
        """
        raise NotImplementedError


class FrameCodec(Codec):
    """Stable Diffusion's VAE, which takes each frame by itself."""

    model_class = AutoencoderKL
    channels_key = "latent_channels"

    @staticmethod
    def check_config(config: BaseConfig) -> None:
        """Check `vae/config.json`, see `Codec`."""
        for key in ("in_channels", "out_channels"):
            config.whole(key, 3, 3)
        config.whole("latent_channels", 1, MAX_CHANNELS)
        config.whole("layers_per_block", 1, MAX_LAYERS)
        config.number("scaling_factor", 1e-6, 1e6, default=0.18215)
        config.choice("act_fn", ACT2CLS, default="silu")
        config.blocks(
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
        )

    @staticmethod
    def scale_factor(config: Mapping[str, Any]) -> int:
        """Pixels per latent, in each direction."""
        return 2 ** (len(config["block_out_channels"]) - 1)

    @classmethod
    def count_latents(cls, config: Mapping[str, Any], num_frames: int) -> int:
        """How many latents in time a video has: one a frame."""
        return num_frames

    @staticmethod
    def least_values(config: Mapping[str, Any], width: int, height: int) -> int:
        """How many numbers its widest layer, of one frame at full size, holds at least."""
        values: int = width * height * config["block_out_channels"][0]
        return values

    @torch.no_grad()
    def encode(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Encode frames to latents, see `Codec`."""
        slices = []
        with visiting(self.device, self.vae):
            for part in frames.split(_frames_per_slice(*frames.shape[-2:])):
                posterior = self.vae.encode(to_pixels(part, self.device)).latent_dist
                slices.append(draw(posterior, generator))
        latents = torch.cat(slices) * self.vae.config.scaling_factor  # (F, C, h, w)
        # Contiguous as when read from a file: another layout would round differently.
        return rearrange(latents, "f c h w -> 1 c f h w").contiguous()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Frames:
        """Decode one video's latents to frames, see `Codec`."""
        scale = self.scale_factor(self.vae.config)
        height, width = latents.shape[-2] * scale, latents.shape[-1] * scale
        slices = []
        with visiting(self.device, self.vae):
            frame_latents = (
                rearrange(latents, "c f h w -> f c h w") / self.vae.config.scaling_factor
            )
            for part in frame_latents.split(_frames_per_slice(height, width)):
                slices.append(
                    to_frames(self.vae.decode(part.to(self.device, torch.float32)).sample)
                )
        return np.concatenate(slices)


def _frames_per_slice(height: int, width: int) -> int:
    return max(VAE_SLICE_PIXELS // (height * width), 1)


def to_pixels(frames: Tensor, device: torch.device) -> Tensor:
    """Turn uint8 frames into what VAEs take: fp32 from -1 to 1."""
    return frames.to(device, torch.float32) / 127.5 - 1


def to_frames(pixels: Tensor) -> Frames:
    """Turn what a VAE gives (F, 3, H, W) into uint8 frames (F, H, W, 3).

    Raises:
        NotFiniteError: It holds NaN or infinity.
    """
    require_finite(pixels, "the decoded frames", "the latents are out of the VAE's range.")
    pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def draw(posterior: DiagonalGaussianDistribution, generator: torch.Generator) -> Tensor:
    """Draw latents from a VAE's posterior, with a CPU generator whatever the device."""
    noise = torch.randn(posterior.mean.shape, generator=generator)
    return posterior.mean + posterior.std * noise.to(posterior.mean.device)
