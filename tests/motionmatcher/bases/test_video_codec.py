"""Wan's VAE encodes and decodes whole videos as `WanPipeline` does, and takes 4k + 1 frames only."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanPipeline
from diffusers.video_processor import VideoProcessor
from torch import Tensor

from motionmatcher.bases.config_file import BaseConfig
from motionmatcher.bases.video_codec import VideoCodec
from motionmatcher.errors import NotFiniteError, UserError
from motionmatcher.random_streams import generator
from testbed.random_base import WAN_SMALL, write_random_wan

CPU = torch.device("cpu")
GONE = object()


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def vae(wan_folder: Path) -> AutoencoderKLWan:
    return AutoencoderKLWan.from_pretrained(wan_folder, subfolder="vae").eval()


@pytest.fixture(scope="module")
def codec(vae: AutoencoderKLWan) -> VideoCodec:
    return VideoCodec(vae, CPU)


def frames(count: int, height: int = 32, width: int = 48) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=draw, dtype=torch.uint8)


def test_shapes_go_round(codec: VideoCodec) -> None:
    latents = codec.encode(frames(17), generator(0, "latents"))
    assert latents.shape == (1, 16, 5, 4, 6)
    assert latents.shape[1:] == codec.latent_shape(17, width=48, height=32)
    assert latents.dtype == torch.float32
    assert latents.is_contiguous()
    video = codec.decode(latents[0])
    assert video.shape == (17, 32, 48, 3)
    assert video.dtype == np.uint8


def test_encoding_by_hand(codec: VideoCodec, vae: AutoencoderKLWan) -> None:
    clip = frames(5)
    pixels = VideoProcessor(vae_scale_factor=8).preprocess_video(clip[None].float() / 255)
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
    draw = torch.randn(1, 16, 2, 4, 6, generator=generator(0, "latents"))
    mean, std = (
        torch.tensor(values).view(1, 16, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    expected = (posterior.mean + posterior.std * draw - mean) / std
    latents = codec.encode(clip, generator(0, "latents"))
    torch.testing.assert_close(latents, expected, rtol=1e-5, atol=1e-5)
    assert posterior.std.mean() > 1e-3, "the draw must matter"


def test_decoding_is_the_pipeline_s(codec: VideoCodec, wan_folder: Path) -> None:
    pipeline = WanPipeline.from_pretrained(wan_folder)
    pipeline.set_progress_bar_config(disable=True)
    kept: dict[str, Tensor] = {}

    def keep(_: Any, step: int, timestep: Any, values: dict[str, Tensor]) -> dict[str, Tensor]:
        kept.update(values)
        return values

    shown = pipeline(
        "a cat",
        height=32,
        width=48,
        num_frames=5,
        num_inference_steps=2,
        guidance_scale=1.0,
        max_sequence_length=8,
        generator=torch.Generator().manual_seed(0),
        callback_on_step_end=keep,
        output_type="np",
    ).frames[0]
    assert shown.shape == (5, 32, 48, 3)
    assert shown.std() > 0.01, "the video must hold something"
    video = codec.decode(kept["latents"][0])
    np.testing.assert_allclose(video, shown * 255, rtol=0, atol=0.51)


@pytest.mark.parametrize(
    ("count", "advice"), [(16, "13 or 17"), (2, "1 or 5"), (4, "1 or 5"), (83, "81 or 85")]
)
def test_frames_that_would_be_left_out(codec: VideoCodec, count: int, advice: str) -> None:
    message = rf"^{count} frames: this base model takes 4k \+ 1 frames: use {advice}\.$"
    with pytest.raises(UserError, match=message):
        codec.latent_shape(count, width=48, height=32)
    with pytest.raises(UserError, match=message):
        codec.encode(frames(count, 8, 8), generator(0, "latents"))


@pytest.mark.parametrize(("count", "latents"), [(1, 1), (5, 2), (33, 9), (81, 21)])
def test_frames_that_are_taken(codec: VideoCodec, count: int, latents: int) -> None:
    assert codec.latent_shape(count, width=832, height=480) == (16, latents, 60, 104)


def test_latents_in_patches(codec: VideoCodec) -> None:
    config = codec.vae.config
    assert codec.shape_by_config(config, 5, 432, 240, patch_size=2) == (16, 2, 30, 54)
    assert codec.shape_by_config(config, 5, 424, 240) == (16, 2, 30, 53)
    message = r"^width 424 must be a multiple of 16 pixels for this base model: use 432\.$"
    with pytest.raises(UserError, match=message):
        codec.shape_by_config(config, 5, 424, 240, patch_size=2)


def test_latents_that_are_not_finite(codec: VideoCodec) -> None:
    latents = torch.zeros(16, 1, 2, 2)
    latents[0, 0, 1, 1] = torch.nan
    with pytest.raises(NotFiniteError, match="NaN or infinity in the decoded frames"):
        codec.decode(latents)


def test_tiles(vae: AutoencoderKLWan) -> None:
    tiled_vae = AutoencoderKLWan(**WAN_SMALL["vae"]).eval()
    tiled_vae.load_state_dict(vae.state_dict())
    whole, tiled = VideoCodec(vae, CPU), VideoCodec(tiled_vae, CPU, tiling=True)
    assert not whole.tiling
    assert tiled.tiling
    small, large = frames(1), frames(1, 32, 272)
    for clip, is_same in ((small, True), (large, False)):
        latents = whole.encode(clip, generator(0, "latents"))
        in_tiles = tiled.encode(clip, generator(0, "latents"))
        assert in_tiles.shape == latents.shape
        assert torch.equal(in_tiles, latents) == is_same
        shown, from_tiles = whole.decode(latents[0]), tiled.decode(latents[0])
        assert from_tiles.shape == shown.shape
        assert (from_tiles == shown).all() == is_same


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"z_dim": GONE}, "the key z_dim is missing"),
        ({"base_dim": 0}, "base_dim must be at least 1, not 0"),
        ({"base_dim": 60_000}, "base_dim must be at most 16384, not 60000"),
        ({"decoder_base_dim": "wide"}, "decoder_base_dim must be a whole number, not 'wide'"),
        ({"dim_mult": [1, 0, 4, 4]}, "dim_mult must be a list of whole numbers of 1 or more"),
        ({"num_res_blocks": 0}, "num_res_blocks must be at least 1, not 0"),
        ({"temperal_downsample": [False, True]}, "temperal_downsample must be 3 of true and false"),
        ({"temperal_downsample": [0, 1, 1]}, "temperal_downsample must be 3 of true and false"),
        ({"temperal_downsample": None}, "temperal_downsample must be 3 of true and false"),
        ({"temperal_downsample": [True] * 3}, "temperal_downsample must have two that are true"),
        ({"latents_mean": [0.0]}, r"latents_mean must be a list of 16 numbers, not \[0.0\]"),
        ({"latents_mean": [True] * 16}, "latents_mean must be a list of 16 numbers"),
        ({"latents_std": [0.0] * 16}, "latents_std must be at least 1e-06, not 0"),
        ({"latents_std": GONE}, "the key latents_std is missing"),
        ({"in_channels": 12}, "in_channels must be at most 3, not 12"),
        ({"is_residual": True}, "a VAE with is_residual or patch_size is Wan 2.2's, which is not"),
        ({"attn_scales": [1.0]}, "attn_scales must be empty"),
        ({"patch_size": 2}, "a VAE with is_residual or patch_size is Wan 2.2's, which is not"),
        ({"scale_factor_spatial": 16}, "scale_factor_spatial must be at most 8, not 16"),
        ({"dropout": -1}, "dropout must be at least 0, not -1"),
    ],
)  # fmt: skip
def test_a_wrong_config(
    wan_folder: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    content = {**json.loads((wan_folder / "vae/config.json").read_text()), **values}
    file = tmp_path / "config.json"
    known = {key: value for key, value in content.items() if value is not GONE}
    file.write_text(json.dumps(known))
    with pytest.raises(UserError, match=f"^{file}: {message}"):
        VideoCodec.check_config(BaseConfig(file, "Copy it anew."))


def test_the_published_config_is_taken(tmp_path: Path) -> None:
    """As the Hub has it: without keys that came later."""
    file = tmp_path / "config.json"
    published = {
        "_class_name": "AutoencoderKLWan",
        "_diffusers_version": "0.33.0.dev0",
        "attn_scales": [],
        "base_dim": 96,
        "dim_mult": [1, 2, 4, 4],
        "dropout": 0.0,
        "latents_mean": list(AutoencoderKLWan(**WAN_SMALL["vae"]).config.latents_mean),
        "latents_std": list(AutoencoderKLWan(**WAN_SMALL["vae"]).config.latents_std),
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "z_dim": 16,
    }
    file.write_text(json.dumps(published))
    VideoCodec.check_config(BaseConfig(file, "Copy it anew."))
    assert VideoCodec.shape_by_config(published, 81, 832, 480) == (16, 21, 60, 104)
    assert VideoCodec.least_values(published, 832, 480) == 832 * 480 * 96
