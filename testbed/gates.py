"""What a stage of the pretraining must have reached before the next one builds on it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from motionmatcher.errors import UserError
from testbed.autoencoder import (
    images_to_tensor,
    load_autoencoder,
    tensor_to_images,
)
from testbed.captions import appearance_caption, write_caption
from testbed.config import PretrainConfig
from testbed.denoiser import load_denoiser
from testbed.networks import LATENT_SIZE, PATCH_SIZE, TextToVideo, make_scheduler
from testbed.pretraining_losses import velocity_error
from testbed.renderer import FRAME_SIZE, Scene, render
from testbed.scenes import choose_frames, sample_scene, scene_stream, spread_evenly
from testbed.text import load_clip, measure_retrieval, tokenize
from testbed.tokenizer import build_tokenizer
from testbed.tracker import measure_clip

BOUNDS = {"shape_accuracy": 0.95, "clip_r1": 0.80, "frame_r2": 0.60}
GATE_SEED = 1000  # never a training seed
RECONSTRUCTED_FRAMES = 300  # of as many held-out clips
PROBE_TIMESTEP = 949
PROBE_SIGMA = 0.9
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
    assert config.autoencoder is not None
    vae = load_autoencoder(config)
    scenes = [
        sample_scene(scene_stream(GATE_SEED, "test", i), "test")
        for i in range(RECONSTRUCTED_FRAMES)
    ]
    frames = np.stack(
        [render(scene)[i % scene.num_frames] for i, scene in enumerate(scenes)]
    )  # (N, H, W, 3)
    stream = torch.Generator().manual_seed(GATE_SEED)
    values: dict[str, float] = {}
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
        values |= {
            f"{name}shape_accuracy": _part(clip.shape == scene.shape for clip, scene in pairs),
            f"{name}color_accuracy": _part(clip.color == scene.color for clip, scene in pairs),
            f"{name}background_accuracy": _part(
                clip.background_color == scene.background.color for clip, scene in pairs
            ),
        }
        squared = (decoded.astype(np.float64) - frames) ** 2
        values[f"{name}psnr_db"] = float(10 * np.log10(255**2 / squared.mean()))
    return values


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
    """Measure whether a denoiser's features tell position and number of a frame.

    A linear probe (ridge regression) reads them at high noise from the UNet's last encoder block, or
    from the transformer's middle block. For the number of the frame only the mean over all places is
    given, the more demanding case.

    Returns:
        "position_r2" and, of clips, "frame_r2" on clips the probe was not fitted to; for a flow also
        "velocity_error" and "word_gain", how much of it (in percent) the motion words of captions
        take away.
    """
    model, _ = load_denoiser(config, stage)
    clips = _held_out_clips(config, stage)
    features = _probe_features(model, config, clips.latents)
    positions = torch.stack([torch.from_numpy(scene.path.copy()) for scene in clips.scenes])
    values = {"position_r2": _probe_r2(features.flatten(2), positions.float() / FRAME_SIZE)}
    num_frames = features.shape[1]
    if num_frames > 1:
        numbers = torch.linspace(-1, 1, num_frames).expand(len(features), -1)[..., None]
        values["frame_r2"] = _probe_r2(features.mean(dim=(-2, -1)), numbers)
    if config.denoiser.objective == "flow":
        values |= measure_word_gain(model, clips)
    return values


@dataclass(frozen=True)
class HeldOutClips:
    """Encoded clips of held-out appearances.

    Attributes:
        latents: (clips, C, F, h, w).
        scenes: What each shows.
    """

    latents: Tensor
    scenes: list[Scene]


@torch.no_grad()
def _held_out_clips(config: PretrainConfig, stage: int) -> HeldOutClips:
    vae = load_autoencoder(config)
    rendered = config.denoiser.num_rendered_frames
    chosen = spread_evenly(rendered, config.denoiser.stages[stage].num_frames)
    latents, scenes = [], []
    for index in range(PROBE_CLIPS):
        scene = sample_scene(scene_stream(GATE_SEED, "test", index), "test", rendered)
        images = images_to_tensor(render(scene)[chosen])
        latents.append(vae.encode(images).latent_dist.mode().transpose(0, 1))  # (C, F, h, w)
        scenes.append(choose_frames(scene, chosen))
    return HeldOutClips(torch.stack(latents), scenes)


@torch.no_grad()
def _probe_features(model: TextToVideo, config: PretrainConfig, latents: Tensor) -> Tensor:
    """Features (clips, F, C, h, w) of noisy clips (clips, C, F, h, w)."""
    stream = torch.Generator().manual_seed(GATE_SEED)
    noise = torch.randn(latents.shape, generator=stream)
    kept: list[Tensor] = []
    if config.denoiser.transformer is None:
        timestep = PROBE_TIMESTEP
        abar = make_scheduler("epsilon").alphas_cumprod[timestep]
        noisy = abar.sqrt() * latents + (1 - abar).sqrt() * noise
        block = model.denoiser.down_blocks[-1]
        handle = block.register_forward_hook(lambda _, __, output: kept.append(output[0]))
    else:
        timestep = int(1000 * PROBE_SIGMA)
        noisy = (1 - PROBE_SIGMA) * latents + PROBE_SIGMA * noise
        block = model.denoiser.blocks[config.denoiser.transformer.num_layers // 2 - 1]
        side = LATENT_SIZE // PATCH_SIZE[1]
        handle = block.register_forward_hook(
            lambda _, __, output: kept.append(
                output[0].unflatten(0, (-1, side, side)).permute(0, 3, 1, 2)  # (F, D, h, w)
            )
        )
    text_states = model.text_encoder(tokenize(build_tokenizer(), [""]))[0]  # (1, T, D)
    for clip in noisy:
        model.denoiser(
            clip[None], timestep=torch.tensor([timestep]), encoder_hidden_states=text_states
        )
    handle.remove()
    return torch.stack(kept)


@torch.no_grad()
def measure_word_gain(model: TextToVideo, clips: HeldOutClips) -> dict[str, float]:
    """Measure the velocity's error at high noise, and what of it captions that name the motion take away.

    Args:
        model: Predicts velocities.
        clips: Held-out clips.

    Returns:
        "velocity_error" with captions that name all looks and the motion; "word_gain", by how many
        percent it is below the error with captions that leave the motion out.
    """
    stream = torch.Generator().manual_seed(GATE_SEED)
    noise = torch.randn(clips.latents.shape, generator=stream)
    tokenizer = build_tokenizer()
    captions: dict[str, list[str]] = {"motion": [], "looks": []}
    for index, scene in enumerate(clips.scenes):
        rng = np.random.default_rng([GATE_SEED, index])
        captions["motion"].append(write_caption(scene, rng, motion_words=True))
        look = (scene.color, scene.shape, scene.background.style, scene.background.color)
        captions["looks"].append(appearance_caption(*look))
    errors = {}
    for kind, texts in captions.items():
        tokens = tokenize(tokenizer, texts)
        parts = [
            velocity_error(
                model,
                clips.latents[part],
                tokens[part],
                noise[part],
                torch.full((len(tokens[part]),), PROBE_SIGMA),
            )
            for part in (slice(i, i + 20) for i in range(0, len(tokens), 20))
        ]
        errors[kind] = float(torch.cat(parts).mean())
    return {
        "velocity_error": errors["motion"],
        "word_gain": 100 * (1 - errors["motion"] / errors["looks"]),
    }


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


def require(stage: str, values: dict[str, float]) -> None:
    """Refuse a stage that fell short.

    Args:
        stage: Its name, for people.
        values: What was measured; those without a bound are for information.

    Raises:
        UserError: A value is below its bound.
    """
    for name, least in BOUNDS.items():
        if name in values and values[name] < least:
            raise UserError(
                f"{stage}: {name} is {values[name]:.3f}, at least {least} is needed; train longer "
                "(num_steps), or go on anyway with --ignore_gates"
            )
