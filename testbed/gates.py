"""What a stage of the pretraining must have reached before the next one builds on it."""

from collections.abc import Iterable

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from motionmatcher.errors import UserError
from testbed.autoencoder import (
    LATENT_CHANNELS,
    images_to_tensor,
    load_autoencoder,
    tensor_to_images,
)
from testbed.config import PretrainConfig
from testbed.denoiser import TextToVideo, load_denoiser, make_scheduler
from testbed.renderer import FRAME_SIZE, render
from testbed.scenes import sample_scene, scene_stream
from testbed.text import load_clip, measure_retrieval, tokenize
from testbed.tokenizer import build_tokenizer
from testbed.tracker import measure_clip

BOUNDS = {"shape_accuracy": 0.95, "clip_r1": 0.80, "frame_r2": 0.60}
GATE_SEED = 1000  # never a training seed
RECONSTRUCTED_FRAMES = 300  # of as many held-out clips
PROBE_TIMESTEP = 949
PROBE_CLIPS = 160
PROBE_TRAINING_CLIPS = 120
_RIDGE = 10.0


def measure_autoencoder(config: PretrainConfig) -> dict[str, float]:
    """Measure how well the shape can be read from single reconstructed frames.

    Args:
        config: Names the autoencoder.

    Returns:
        Parts of the frames whose shape, colour and background colour are read right, and the peak
        signal-to-noise ratio; the same with half the training's latent noise as "noisy_…".

    """
    vae = load_autoencoder(config)
    scenes = [
        sample_scene(scene_stream(GATE_SEED, "test", i), "test")
        for i in range(RECONSTRUCTED_FRAMES)
    ]
    frames = np.stack(
        [render(scene)[i % scene.num_frames] for i, scene in enumerate(scenes)]
    )  # (N, H, W, 3)
    stream = torch.Generator().manual_seed(GATE_SEED)
    figures: dict[str, float] = {}
    for name, deviation in (("", 0.0), ("noisy_", config.autoencoder.latent_noise / 2)):
        decoded = np.concatenate(
            [
                _reconstruct(vae, frames[i : i + 50], deviation, stream)
                for i in range(0, len(frames), 50)
            ]
        )
        pairs = [
            (measure_clip(frame[None]), scene) for frame, scene in zip(decoded, scenes, strict=True)
        ]
        figures |= {
            f"{name}shape_accuracy": _part(clip.shape == scene.shape for clip, scene in pairs),
            f"{name}color_accuracy": _part(clip.color == scene.color for clip, scene in pairs),
            f"{name}background_accuracy": _part(
                clip.background_color == scene.background.color for clip, scene in pairs
            ),
        }
        squared = (decoded.astype(np.float64) - frames) ** 2
        figures[f"{name}psnr_db"] = float(10 * np.log10(255**2 / squared.mean()))
    return figures


def _part(right: Iterable[bool]) -> float:
    return float(np.mean(list(right)))


@torch.no_grad()
def _reconstruct(
    vae: AutoencoderKL, frames: NDArray[np.uint8], deviation: float, stream: torch.Generator
) -> NDArray[np.uint8]:
    latents = vae.encode(images_to_tensor(frames)).latent_dist.mode()
    latents = latents + deviation * torch.randn(latents.shape, generator=stream)
    return tensor_to_images(vae.decode(latents).sample)


def measure_text(config: PretrainConfig) -> dict[str, float]:
    """Measure how often the small CLIP finds the clip of a held-out caption; see `testbed.text`."""
    clip, tokenizer = load_clip(config)
    return measure_retrieval(clip, tokenizer, GATE_SEED)


def measure_denoiser(config: PretrainConfig, stage: int) -> dict[str, float]:
    """Measure whether the UNet's features tell position and number of a frame.

    A linear probe (ridge regression) reads them from the last encoder block at timestep 949. For
    the number of the frame only the mean over all places is given, the more demanding case.

    Returns:
        "position_r2" and, of clips, "frame_r2" on clips the probe was not fitted to.
    """
    model, _ = load_denoiser(config, stage)
    num_frames = config.denoiser.stages[stage].num_frames
    features, positions = _encoder_features(model, config, num_frames)
    flat = features.flatten(2)  # (clips, F, C * h * w)
    figures = {"position_r2": _probe_r2(flat, positions)}
    if num_frames > 1:
        numbers = torch.linspace(-1, 1, num_frames).expand(len(features), -1)[..., None]
        figures["frame_r2"] = _probe_r2(features.mean(dim=(-2, -1)), numbers)
    return figures


@torch.no_grad()
def _encoder_features(
    model: TextToVideo, config: PretrainConfig, num_frames: int
) -> tuple[Tensor, Tensor]:
    """Features (clips, F, C, h, w) of noisy held-out clips, and the positions (clips, F, 2)."""
    vae = load_autoencoder(config)
    stream = torch.Generator().manual_seed(GATE_SEED)
    abar = make_scheduler().alphas_cumprod[PROBE_TIMESTEP]
    text = model.text_encoder(tokenize(build_tokenizer(), [""]))[0]  # (1, T, D)
    kept: list[Tensor] = []
    last_block = model.unet.down_blocks[-1]
    handle = last_block.register_forward_hook(lambda _, __, output: kept.append(output[0]))
    features, positions = [], []
    for index in range(PROBE_CLIPS):
        scene = sample_scene(scene_stream(GATE_SEED, "test", index), "test")
        chosen = np.arange(num_frames) * (scene.num_frames // num_frames)
        images = images_to_tensor(render(scene)[chosen])
        latents = vae.encode(images).latent_dist.mode()  # (F, C, h, w)
        noise = torch.randn(latents.shape, generator=stream)
        noisy = abar.sqrt() * latents + (1 - abar).sqrt() * noise
        model.unet(noisy.transpose(0, 1)[None], PROBE_TIMESTEP, text)
        features.append(kept.pop())  # (F, C, h, w)
        positions.append(torch.from_numpy(scene.path[chosen]).float())
    handle.remove()
    assert latents.shape[1] == LATENT_CHANNELS
    return torch.stack(features), torch.stack(positions) / FRAME_SIZE


def _probe_r2(features: Tensor, targets: Tensor) -> float:
    """Fit a ridge regression on the first clips; its R2 on the others.

    Args:
        features: (clips, F, D).
        targets: (clips, F, K).
    """
    train, test = slice(None, PROBE_TRAINING_CLIPS), slice(PROBE_TRAINING_CLIPS, None)
    x, y = features[train].flatten(0, 1).double(), targets[train].flatten(0, 1).double()
    x_mean, x_scale, y_mean = x.mean(0), x.std(0) + 1e-6, y.mean(0)
    x = (x - x_mean) / x_scale
    penalty = _RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ (y - y_mean))
    x_test = (features[test].flatten(0, 1).double() - x_mean) / x_scale
    y_test = targets[test].flatten(0, 1).double()
    residual = (y_test - y_mean - x_test @ weights).square().sum()
    return float(1 - residual / (y_test - y_mean).square().sum())


def require(stage: str, figures: dict[str, float]) -> None:
    """Refuse a stage that fell short.

    Args:
        stage: Its name, for people.
        figures: What was measured; those without a bound are for information.

    Raises:
        UserError: A figure is below its bound.
    """
    for name, least in BOUNDS.items():
        if name in figures and figures[name] < least:
            raise UserError(
                f"{stage}: {name} is {figures[name]:.3f}, at least {least} is needed; train longer "
                "(num_steps), or go on anyway with --ignore_gates"
            )
