"""A codec of whole videos: several frames share one latent in time."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from einops import rearrange
from torch import Tensor

from motionmatcher.bases.codecs import Codec, draw, to_frames, to_pixels
from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig
from motionmatcher.clips.video import Frames
from motionmatcher.devices import visiting
from motionmatcher.errors import UserError

# How many frames diffusers' class feeds its encoder at a time, whatever its config; the first goes alone.
FRAMES_AT_A_TIME = 4


class VideoCodec(Codec):
    """Wan's VAE: a latent for the first frame, and one for each four of the others.

    Its latents z are scaled to (z - mean) / std, by a mean and a standard deviation a channel.
    """

    model_class = AutoencoderKLWan
    channels_key = "z_dim"

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        """Check `vae/config.json`, see `Codec`; the defaults are diffusers' own."""
        if config.content.get("is_residual") or config.content.get("patch_size") is not None:
            raise UserError(
                f"{config.file}: a VAE with is_residual or patch_size is Wan 2.2's, which is not "
                "supported yet: use a base with the VAE of Wan 2.1."
            )
        if config.content.get("attn_scales", []) != []:
            config.refuse("attn_scales", "be empty, as diffusers' own program needs it")
        for key in ("in_channels", "out_channels"):
            config.whole(key, 3, 3, default=3)
        channels = config.whole("z_dim", 1, MAX_CHANNELS)
        multiples = config.channels("dim_mult", 1)
        for key in ("base_dim", "decoder_base_dim"):
            if key == "base_dim" or config.content.get(key) is not None:
                config.whole(key, 1, MAX_CHANNELS // max(multiples))
        config.whole("num_res_blocks", 1, MAX_LAYERS)
        config.number("dropout", 0, 0.99, default=0.0)
        halvings = config.content.get("temperal_downsample")
        wanted = len(multiples) - 1
        if (
            not isinstance(halvings, list)
            or [type(halves) for halves in halvings] != [bool] * wanted
        ):
            config.refuse(
                "temperal_downsample", f"be {wanted} of true and false, one less than dim_mult"
            )
        if cls.frames_per_latent(config.content) != FRAMES_AT_A_TIME:
            config.refuse("temperal_downsample", "have two that are true, for 4 frames a latent")
        config.numbers("latents_mean", channels, -1e6, 1e6)
        config.numbers("latents_std", channels, 1e-6, 1e6)
        # What its tiles are measured by.
        scale = cls.scale_factor(config.content)
        config.whole("scale_factor_spatial", scale, scale, default=8)

    @staticmethod
    def scale_factor(config: Mapping[str, Any]) -> int:
        """Pixels per latent, in each direction."""
        return 2 ** (len(config["dim_mult"]) - 1)

    @staticmethod
    def frames_per_latent(config: Mapping[str, Any]) -> int:
        """Frames per latent in time, after the first."""
        return 2 ** sum(config["temperal_downsample"])

    @classmethod
    def count_latents(cls, config: Mapping[str, Any], num_frames: int) -> int:
        """How many latents in time a video has.

        Raises:
            UserError: Some frames at the end would be left out.
        """
        step = cls.frames_per_latent(config)
        latents, left_over = divmod(num_frames - 1, step)
        if left_over:
            below = latents * step + 1
            raise UserError(
                f"{num_frames} frames: this base model takes {step}k + 1 frames: use {below} or "
                f"{below + step}."
            )
        return latents + 1

    @staticmethod
    def least_values(config: Mapping[str, Any], width: int, height: int) -> int:
        """How many numbers its widest layer, of one frame at full size, holds at least."""
        values: int = width * height * config["base_dim"]
        return values

    @torch.no_grad()
    def encode(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Encode frames to latents, see `Codec`.

        Raises:
            UserError: As `count_latents`.
        """
        self.count_latents(self.vae.config, len(frames))
        with visiting(self.device, self.vae):
            pixels = rearrange(to_pixels(frames, self.device), "f c h w -> 1 c f h w")
            latents = draw(self.vae.encode(pixels).latent_dist, generator)
            mean, std = self._statistics()
            return ((latents - mean) / std).contiguous()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Frames:
        """Decode one video's latents to frames, see `Codec`."""
        with visiting(self.device, self.vae):
            mean, std = self._statistics()
            video = self.vae.decode(
                latents[None].to(self.device, torch.float32) * std + mean
            ).sample
            return to_frames(rearrange(video, "1 c f h w -> f c h w"))

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of its latents, (C, 1, 1, 1) each."""
        config = self.vae.config
        mean, std = torch.tensor(
            [config.latents_mean, config.latents_std], dtype=torch.float32, device=self.device
        )[..., None, None, None]
        return mean, std
