"""The base model: scheduler, tokenizer, text encoder, VAE and UNet of one diffusers folder, frozen.

The UNet stays on the device. Text encoder and VAE live on the CPU, compute in fp32, and visit the
device for their work.
"""

import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from motionmatcher.bases.layout import BaseLayout
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.clips.video import Frames
from motionmatcher.diffusion.schedules import NoiseSchedule
from motionmatcher.errors import UserError
from motionmatcher.finiteness import is_finite, require_finite
from motionmatcher.prompts import cut_off_note
from motionmatcher.tensor_files import require_named_tensors

# Pixels of frames that the VAE takes at once; bounds its memory whatever the clip's length.
VAE_SLICE_PIXELS = 576 * 320


@dataclass
class BaseModel:
    """A frozen text-to-video model.

    Attributes:
        schedule: The noise schedule it was trained with.
        tokenizer: Prompt -> token ids.
        text_encoder: Token ids -> text states.
        vae: Frames <-> latents.
        denoiser: Predicts noise or velocity; carries the LoRA when there is one.
        device: Where it computes.
        fingerprint: Identifies configs, weights and a rescaled schedule, wherever the folder lies.
        sampled_fingerprint: The same by a sample of the weights, as older files record it.
    """

    schedule: NoiseSchedule
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    denoiser: MotionUNet
    device: torch.device
    fingerprint: str
    sampled_fingerprint: str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the frozen weights."""
        return self.denoiser.conv_in.weight.dtype

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent, in each direction."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def latent_shape(self, num_frames: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Shape of one video's latents, (C, F, h, w)."""
        scale = self.vae_scale_factor
        return self.denoiser.config.in_channels, num_frames, height // scale, width // scale

    def note_on_record(self, recorded: str | None, owner: str) -> str | None:
        """Say what a fingerprint that a file records as its base's leaves to be said.

        Args:
            recorded: The fingerprint; None when the file does not say.
            owner: What the file holds, to begin the note with.

        Returns:
            One line; None when it is this base's.
        """
        if recorded in (None, self.fingerprint):
            return None
        if recorded == self.sampled_fingerprint:
            return (
                f"{owner} records its base by an older fingerprint, of a sample of the weights; as far as "
                "that tells, it is this base."
            )
        return f"{owner} was trained on another base than this one."

    def predict(self, latents: Tensor, timesteps: Tensor | int, text_states: Tensor) -> Tensor:
        """Run the UNet in the precision of its weights.

        Args:
            latents: Noisy latents (B, C, F, h, w).
            timesteps: One timestep, or one a batch element (B,).
            text_states: Encoded prompts (B, T, D).

        Returns:
            The prediction (B, C, F, h, w): fp32, or fp64 for fp64 weights.
        """
        half = self.dtype.itemsize < 4
        with torch.autocast(self.device.type, self.dtype, enabled=half):
            prediction = self.denoiser(
                latents.to(self.dtype), timesteps, text_states.to(self.dtype)
            ).sample
        return prediction.float() if half else prediction

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts; words beyond the tokenizer's length are cut off, see `cut_off_notes`.

        Returns:
            Text states (len(prompts), T, D), fp32, on the device.
        """
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with self._on_device(self.text_encoder):
            return self.text_encoder(tokens.input_ids.to(self.device))[0]

    def cut_off_notes(self, prompts: Iterable[str]) -> list[str]:
        """Say of each prompt that is too long for the text encoder what it does not read."""
        return [
            note
            for prompt in dict.fromkeys(prompts)
            if (
                note := cut_off_note(
                    prompt,
                    self.tokenizer(prompt, verbose=False).input_ids,
                    self.tokenizer.model_max_length,
                    self.tokenizer.decode,
                )
            )
        ]

    @torch.no_grad()
    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Encode frames to latents, a draw from the VAE's posterior.

        Args:
            frames: uint8 (F, 3, H, W).
            generator: CPU generator of the draw.

        Returns:
            Scaled latents (1, C, F, h, w), fp32, on the device.
        """
        slices = []
        with self._on_device(self.vae):
            for part in frames.split(self._frames_per_slice(*frames.shape[-2:])):
                pixels = part.to(self.device, torch.float32) / 127.5 - 1
                posterior = self.vae.encode(pixels).latent_dist
                draw = torch.randn(posterior.mean.shape, generator=generator).to(self.device)
                slices.append(posterior.mean + posterior.std * draw)
        latents = torch.cat(slices) * self.vae.config.scaling_factor  # (F, C, h, w)
        # Contiguous as when read from a file: another layout would round differently.
        return rearrange(latents, "f c h w -> 1 c f h w").contiguous()

    @torch.no_grad()
    def decode_video(self, latents: Tensor) -> Frames:
        """Decode one video's latents to frames.

        Args:
            latents: Scaled latents (C, F, h, w).

        Returns:
            uint8 (F, H, W, 3).

        Raises:
            NotFiniteError: The latents are so large that the VAE makes NaN or infinity of them.
        """
        scale = self.vae_scale_factor
        height, width = latents.shape[-2] * scale, latents.shape[-1] * scale
        slices = []
        with self._on_device(self.vae):
            frame_latents = (
                rearrange(latents, "c f h w -> f c h w") / self.vae.config.scaling_factor
            )
            for part in frame_latents.split(self._frames_per_slice(height, width)):
                pixels = self.vae.decode(part.to(self.device, torch.float32)).sample
                require_finite(
                    pixels, "the decoded frames", "the latents are out of the VAE's range."
                )
                pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
                slices.append(pixels.permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(slices)

    @staticmethod
    def _frames_per_slice(height: int, width: int) -> int:
        return max(VAE_SLICE_PIXELS // (height * width), 1)

    @contextmanager
    def _on_device(self, module: nn.Module) -> Iterator[None]:
        module.to(self.device)
        try:
            yield
        finally:
            module.to("cpu")


def load_base_model(
    layout: BaseLayout,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    rescale_schedule: bool = False,
) -> BaseModel:
    """Load a base model's weights.

    Args:
        layout: The folder, as `base_layout.find_base` checked it.
        device: Where it shall compute.
        dtype: Dtype of the UNet's weights; text encoder and VAE are fp32.
        rescale_schedule: See `NoiseSchedule.from_config`.

    Raises:
        UserError: Weight files are missing, damaged or incomplete.
    """
    layout.require_weights()

    def load(part_class: Any, part: str, **options: Any) -> Any:
        for file in layout.read_files(part):
            if file.suffix == ".bin":
                require_named_tensors(file)
        try:
            model, info = part_class.from_pretrained(
                layout.folder,
                subfolder=part,
                variant=layout.weight_variant(part),
                use_safetensors=layout.uses_safetensors(part),
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
        except (OSError, SafetensorError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the weights in {layout.folder / part} are damaged: {reason}"
            ) from error
        except (ValueError, RuntimeError) as error:  # diffusers' and transformers' own
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the weights in {layout.folder / part} are not those of its config.json: {reason}"
            ) from error
        if info["missing_keys"]:
            raise UserError(
                f"the weights in {layout.folder / part} lack {len(info['missing_keys'])} tensors, "
                f"such as {min(info['missing_keys'])}: download them again."
            )
        return model

    with _without_transformers_bars():
        unet = load(MotionUNet, "unet", torch_dtype=dtype)
        text_encoder = load(CLIPTextModel, "text_encoder", dtype=torch.float32)
        vae = load(AutoencoderKL, "vae", torch_dtype=torch.float32)
    unet.to(device)
    for name, part in (("unet", unet), ("text_encoder", text_encoder), ("vae", vae)):
        part.eval().requires_grad_(False)
        _require_finite_weights(layout.folder / name, part)
    rescaled = "-rescaled" if rescale_schedule else ""
    return BaseModel(
        schedule=NoiseSchedule.from_config(layout.scheduler_config, rescale_schedule),
        tokenizer=CLIPTokenizer.from_pretrained(
            layout.folder / "tokenizer", model_max_length=layout.num_tokens
        ),
        text_encoder=text_encoder,
        vae=vae,
        denoiser=unet,
        device=device,
        fingerprint=layout.fingerprint() + rescaled,
        sampled_fingerprint=layout.sampled_fingerprint() + rescaled,
    )


def _require_finite_weights(folder: Path, part: nn.Module) -> None:
    """Refuse a part of the base whose weights hold NaN or infinity; nothing made with it could be right."""
    wrong = [name for name, weight in part.named_parameters() if not is_finite(weight)]
    if wrong:
        dtype = part.get_parameter(wrong[0]).dtype
        precision = ", or mixed_precision bf16 or no" if dtype == torch.float16 else ""
        raise UserError(
            f"the weights in {folder} hold NaN or infinity in {len(wrong)} tensors, such as {wrong[0]}: "
            f"use sound weights of the base model{precision}."
        )


@contextmanager
def _without_transformers_bars() -> Iterator[None]:
    """Keep transformers' bar of a second or less from standing among ours."""
    found = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if found:
            transformers_logging.enable_progress_bar()
