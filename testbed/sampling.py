"""Sample many videos of the small base at once, with classifier-free guidance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from motionmatcher.errors import UserError
from motionmatcher.random_streams import video_noise
from testbed.autoencoder import tensor_to_images
from testbed.text import tokenize


@dataclass(frozen=True)
class SmallBase:
    """The parts of the small text-to-video base, all in fp32 and eval mode."""

    unet: UNet3DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    vae: AutoencoderKL
    scheduler: DDIMScheduler


def load_small_base(folder: Path) -> SmallBase:
    """Load the base from its diffusers folder.

    Args:
        folder: As written by `testbed.export`.

    Returns:
        The parts.

    Raises:
        UserError: The folder does not hold a base.
    """
    if not (folder / "model_index.json").is_file():
        raise UserError(
            f"{folder}: no model_index.json there; expected a diffusers folder, which "
            "`python -m testbed.pretrain --export` writes"
        )
    return SmallBase(
        unet=UNet3DConditionModel.from_pretrained(folder / "unet").float().eval(),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        vae=AutoencoderKL.from_pretrained(folder / "vae").float().eval(),
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"),
    )


@torch.no_grad()
def sample_videos(
    base: SmallBase,
    prompts: Sequence[str],
    seeds: Sequence[int],
    num_frames: int,
    num_steps: int,
    guidance: float,
) -> list[NDArray[np.uint8]]:
    """Sample one video a prompt by DDIM (arXiv:2010.02502, equation 12, eta = 0).

    Args:
        base: The model.
        prompts: What to show.
        seeds: Seed of each video's start noise.
        num_frames: Frames of a video.
        num_steps: DDIM steps.
        guidance: Scale of classifier-free guidance (arXiv:2207.12598); 1 is none.

    Returns:
        One (F, 64, 64, 3) uint8 array a prompt.
    """
    latents = sample_latents(base, prompts, seeds, num_frames, num_steps, guidance)
    videos = latents.transpose(1, 2) / base.vae.config.scaling_factor  # (B, F, C, h, w)
    return [tensor_to_images(base.vae.decode(video).sample) for video in videos]


@torch.no_grad()
def sample_latents(
    base: SmallBase,
    prompts: Sequence[str],
    seeds: Sequence[int],
    num_frames: int,
    num_steps: int,
    guidance: float,
) -> Tensor:
    """Sample latents (B, C, F, h, w); the arguments are those of `sample_videos`."""
    tokens = tokenize(base.tokenizer, [*prompts, *[""] * len(prompts)])
    text_states = base.text_encoder(tokens)[0]  # (2B, T, D)
    size = base.unet.config.sample_size
    shape = (base.unet.config.in_channels, num_frames, size, size)
    latents = video_noise(seeds, shape)
    base.scheduler.set_timesteps(num_steps)
    for timestep in base.scheduler.timesteps:
        both = base.unet(torch.cat([latents, latents]), timestep, text_states).sample
        prompted, empty = both.chunk(2)
        noise = empty + guidance * (prompted - empty)
        latents = base.scheduler.step(noise, timestep, latents).prev_sample
    return latents
