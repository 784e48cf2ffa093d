"""Synthetic clips with known motion, and small random models in the real layouts.

Loaded before the tests, by pytest's first process too, which runs none of them and waits for no torch.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from motionmatcher.clips.video import Frames, write_mp4

if TYPE_CHECKING:
    from torch import nn

    from motionmatcher.bases.base_model import BaseModel
    from motionmatcher.bases.wan import MotionWan

# An affine map of pixel coordinates, first frame to this frame: 3 x 3.
Motion = np.ndarray


@pytest.fixture(scope="session")
def similarity() -> Callable[..., Motion]:
    """Maker of pan (pixels), zoom and roll (degrees) about the centre of a frame of a size."""

    def make(
        size: int, pan: tuple[float, float] = (0.0, 0.0), zoom: float = 1.0, roll_deg: float = 0.0
    ) -> Motion:
        angle, centre = np.deg2rad(roll_deg), (size - 1) / 2
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        shift = np.array([centre, centre]) - linear @ [centre, centre] + pan
        return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])

    return make


@pytest.fixture(scope="session")
def render() -> Callable[..., Frames]:
    """Maker of clips: a textured plane that a motion per frame moves, and a textured square."""

    def make(
        size: int,
        motions: Sequence[Motion],
        square: Sequence[tuple[float, float]] | None = None,
        square_size: int = 24,
        seed: int = 0,
    ) -> Frames:
        rng = np.random.default_rng(seed)
        plane = _texture(rng, 3 * size)
        patch = _texture(rng, square_size)
        shift = np.array([[1, 0, -size], [0, 1, -size], [0, 0, 1.0]])
        frames = []
        for index, motion in enumerate(motions):
            frame = cv2.warpPerspective(plane, motion @ shift, (size, size))
            if square is not None:
                place = np.array([[1, 0, square[index][0]], [0, 1, square[index][1]]], float)
                mask = cv2.warpAffine(np.ones_like(patch), place, (size, size))
                frame = np.where(mask > 0, cv2.warpAffine(patch, place, (size, size)), frame)
            frames.append(frame)
        return np.stack(frames)

    return make


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    layers = [
        cv2.GaussianBlur(rng.normal(size=(size, size, 3)).astype(np.float32), (0, 0), blur) * blur
        for blur in (1, 2, 4, 8)
    ]
    texture = sum(layers)
    low, high = texture.min(), texture.max()
    return ((texture - low) / (high - low) * 255).astype(np.uint8)


@pytest.fixture
def noise_clip() -> Callable[..., Frames]:
    """Maker of blurred coloured noise: a clip of any size for what needs pixels only."""

    def make(num_frames: int = 4, height: int = 48, width: int = 64, seed: int = 0) -> Frames:
        rng = np.random.default_rng(seed)
        small = rng.integers(0, 256, (num_frames, 4, 6, 3), dtype=np.uint8)
        return np.stack([cv2.resize(frame, (width, height)) for frame in small])

    return make


@pytest.fixture
def video_folder(tmp_path: Path, noise_clip: Callable[..., Frames]) -> Path:
    """Two videos with a manifest, named so that plain sorting would turn them round."""
    folder = tmp_path / "outputs"
    entries = []
    for seed in (2, 10):
        write_mp4(folder / f"clip-{seed}.mp4", noise_clip(seed=seed), fps=8)
        entries.append(
            {
                "file": f"clip-{seed}.mp4",
                "prompt": f"a bear, take {seed}",
                "negative_prompt": None,
                "seed": seed,
                "checkpoint": "checkpoint-400",
                "settings": {"guidance_scale": 12.0},
                "a_later_key": True,
            }
        )
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "videos": entries}))
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random CLIP in a folder of transformers."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,."
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    widths = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(
        text_config={
            **widths,
            "vocab_size": len(tokens),
            "max_position_embeddings": 16,
            "bos_token_id": len(tokens) - 2,
            "eos_token_id": len(tokens) - 1,
            "pad_token_id": len(tokens) - 1,
        },
        vision_config={**widths, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16).save_pretrained(folder)
    size = {"shortest_edge": 16}
    crop = {"height": 16, "width": 16}
    CLIPImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    return folder


def write_tiny_base(folder: Path, seed: int = 0) -> Path:
    """Write a base in Zeroscope's layout, of one level, with random weights of a seed."""
    from testbed.random_base import SMALL, write_random_base

    sizes = {
        **SMALL,
        "unet": {
            **SMALL["unet"],
            "block_out_channels": (32,),
            "down_block_types": ("CrossAttnDownBlock3D",),
            "up_block_types": ("CrossAttnUpBlock3D",),
        },
        "vae": {**SMALL["vae"], "block_out_channels": (4, 4, 4, 4), "norm_num_groups": 2},
    }
    return write_random_base(folder, sizes, seed=seed)


def networks(base: "BaseModel") -> dict[str, "nn.Module"]:
    """A base's networks by the folders of their weights."""
    from motionmatcher.bases.texts import ClipText

    assert isinstance(base.text, ClipText)
    return {"unet": base.denoiser, "vae": base.codec.vae, "text_encoder": base.text.encoder}


def split_animatediff(whole: Path, folder: Path) -> tuple[Path, Path]:
    """Write a small AnimateDiff as a Stable Diffusion, as that is published, and a motion adapter.

    Args:
        whole: What `write_random_animatediff` wrote.
        folder: Gets both.

    Returns:
        The folders of Stable Diffusion and of the adapter.
    """
    from diffusers import UNet2DConditionModel, UNetMotionModel

    stable_diffusion, adapter = folder / "stable_diffusion", folder / "adapter"
    shutil.copytree(whole / "motion_adapter", adapter)
    shutil.copytree(whole, stable_diffusion, ignore=shutil.ignore_patterns("unet", "motion_*"))
    unet = UNetMotionModel.from_pretrained(whole, subfolder="unet")
    config = unet.config
    blocks = {
        key: [block.replace("Motion", "2D") for block in config[key]]
        for key in ("down_block_types", "up_block_types")
    }
    frame_unet = UNet2DConditionModel(
        **blocks,
        sample_size=config.sample_size,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        cross_attention_dim=config.cross_attention_dim,
        attention_head_dim=config.num_attention_heads,
    )
    states = unet.state_dict()
    frame_unet.load_state_dict({name: states[name] for name in frame_unet.state_dict()})
    frame_unet.save_pretrained(stable_diffusion / "unet")
    file = stable_diffusion / "scheduler" / "scheduler_config.json"
    own = {
        "_class_name": "PNDMScheduler",
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "leading",
    }
    file.write_text(json.dumps({**json.loads(file.read_text()), **own}))
    return stable_diffusion, adapter


def small_wan(spread: float) -> "MotionWan":
    """A small `WanTransformer3DModel` with normal weights everywhere, of a standard deviation.

    Latents have 16 channels, text states a width of 32.
    """
    import torch

    from motionmatcher.bases.wan import MotionWan
    from testbed.random_base import WAN_SMALL

    network = MotionWan(**WAN_SMALL["transformer"])
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * spread
    network.eval()
    return network


def layers_run(network: "nn.Module", run: Callable[[Any], object]) -> set[str]:
    """List the layers without layers of their own that a function runs of a copy of a network."""
    import torch

    copied = deepcopy(network)
    ran: set[str] = set()
    for name, module in copied.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, args, out, name=name: ran.add(name))
    with torch.no_grad():
        run(copied)
    return ran
