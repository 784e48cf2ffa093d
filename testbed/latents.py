"""The clips the UNet is trained on, encoded once and kept: latents in fp16."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from motionmatcher.tensor_files import save_tensors
from testbed.autoencoder import LATENT_CHANNELS, images_to_tensor, load_autoencoder
from testbed.config import PretrainConfig
from testbed.renderer import Scene, render
from testbed.scenes import sample_scene, scene_stream

PART_SIZE = 512  # clips per file: what an interruption can cost


def encode_clips(config: PretrainConfig) -> None:
    """Render and encode the training clips; parts that exist are kept."""
    from tqdm import trange

    num_parts = config.denoiser.num_cached_clips // PART_SIZE
    missing = [part for part in range(num_parts) if not _part_path(config, part).is_file()]
    if not missing:
        return
    vae, num_frames = load_autoencoder(config), config.denoiser.num_rendered_frames
    for part in trange(len(missing), desc="latents", mininterval=15):
        first = missing[part] * PART_SIZE
        latents = torch.stack(
            [
                _encode(vae, render(training_scene(config.seed, index, num_frames)))
                for index in range(first, first + PART_SIZE)
            ]
        )  # (clips, F, C, h, w)
        save_tensors(_part_path(config, missing[part]), {"latents": latents})


def load_clips(config: PretrainConfig) -> Tensor:
    """Load all training latents, (clips, F, C, h, w) in fp16."""
    num_parts = config.denoiser.num_cached_clips // PART_SIZE
    return torch.cat([load_file(_part_path(config, part))["latents"] for part in range(num_parts)])


def training_scene(seed: int, index: int, num_frames: int) -> Scene:
    """The scene of one training clip."""
    return sample_scene(scene_stream(seed, "train", index), "train", num_frames)


@torch.no_grad()
def _encode(vae: AutoencoderKL, frames: np.ndarray) -> Tensor:
    moments: Tensor = vae.quant_conv(vae.encoder(images_to_tensor(frames)))  # (F, 2C, h, w)
    return moments[:, :LATENT_CHANNELS].half().contiguous()


def _part_path(config: PretrainConfig, part: int) -> Path:
    return config.state_dir / "latents" / f"part-{part:03d}.safetensors"
