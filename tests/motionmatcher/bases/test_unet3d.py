"""The UNet's encoder pass gives the maps of the whole pass, and its layers are chosen by path and size."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel
from diffusers.models.attention_processor import Attention
from small_models import layers_run
from torch import Tensor

from motionmatcher.bases.denoiser import PassMode
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.errors import UserError
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.features.maps import FeatureLayers, Size
from motionmatcher.features.recording import AttentionRecorder

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEMPORAL = "down_blocks.1.temp_attentions.0.transformer_blocks.0.attn1"
Inputs = tuple[Tensor, Tensor, Tensor]

# --- the encoder pass


@pytest.fixture(scope="module")
def unet(base_folder: Path) -> MotionUNet:
    return MotionUNet.from_pretrained(base_folder, subfolder="unet").eval()


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """Two videos of three frames, not square, at timesteps of their own."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 3, 4, 6, generator=generator)
    return latents, torch.tensor([700, 3]), torch.randn(2, 7, 32, generator=generator)


def record(unet: MotionUNet, run: Callable[[], object], names: list[str]) -> dict[str, Tensor]:
    recorder = AttentionRecorder(names)
    with torch.no_grad(), unet.in_mode(PassMode(lora=False, recorder=recorder)):
        run()
    return recorder.maps


def test_the_encoder_pass_gives_the_maps_of_the_whole_pass(
    unet: MotionUNet, inputs: Inputs
) -> None:
    whole = record(unet, lambda: unet(*inputs), [CROSS, TEMPORAL])
    encoder = record(unet, lambda: unet.run_blocks(*inputs, 1), [CROSS, TEMPORAL])
    assert all(torch.equal(encoder[name], whole[name]) for name in (CROSS, TEMPORAL))


def test_one_timestep_for_all_videos(unet: MotionUNet, inputs: Inputs) -> None:
    sample, _, text_states = inputs
    one, each = (
        record(unet, partial(unet.run_blocks, sample, t, text_states, 0), [CROSS])
        for t in (torch.tensor([600]), torch.tensor([600, 600]))
    )
    assert torch.equal(one[CROSS], each[CROSS])


@pytest.mark.parametrize("last_block", [0, 1])
def test_no_block_after_the_last_one_runs(
    unet: MotionUNet, inputs: Inputs, last_block: int
) -> None:
    ran = layers_run(unet, lambda copied: copied.run_blocks(*inputs, last_block))
    assert any(name.startswith(f"down_blocks.{last_block}.") for name in ran)
    for unread in ("mid_block.", "up_blocks.", "conv_norm_out", "conv_out"):
        assert not any(name.startswith(unread) for name in ran), unread
    downsampled = any(name.startswith("down_blocks.0.downsamplers.") for name in ran)
    assert downsampled == (last_block == 1)
    assert any(name.startswith("down_blocks.1.") for name in ran) == (last_block == 1)


# --- the layers that are read


@pytest.fixture(scope="module")
def empty() -> UNet3DConditionModel:
    """Three blocks with two layers each; every kind of attention in encoder and decoder."""
    with torch.device("meta"):
        return UNet3DConditionModel(
            block_out_channels=(32, 32, 32),
            down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
            layers_per_block=2,
            attention_head_dim=8,
            cross_attention_dim=32,
        )


def layers_of(
    empty: UNet3DConditionModel, size: Size, spatial: int, temporal: int
) -> FeatureLayers:
    settings = MotionExtractorSettings(spatial_scale_factor=spatial, temporal_scale_factor=temporal)
    return MotionUNet.choose_layers(empty.config, size, settings)


def test_layers_are_picked_by_path(empty: UNet3DConditionModel) -> None:
    layers = layers_of(empty, (8, 12), 2, 1)
    assert layers.cross_attention == (
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2",
        "down_blocks.1.attentions.1.transformer_blocks.0.attn2",
    )
    assert layers.temporal_attention == (
        "down_blocks.0.temp_attentions.0.transformer_blocks.0.attn1",
        "down_blocks.0.temp_attentions.0.transformer_blocks.0.attn2",
        "down_blocks.0.temp_attentions.1.transformer_blocks.0.attn1",
        "down_blocks.0.temp_attentions.1.transformer_blocks.0.attn2",
    )
    for name in (*layers.cross_attention, *layers.temporal_attention):
        assert isinstance(empty.get_submodule(name), Attention)
    assert layers.cross_size == (4, 6)
    assert layers.temporal_size == (8, 12)
    assert layers.last_block == 1


def test_only_the_blocks_that_are_read_need_to_run(empty: UNet3DConditionModel) -> None:
    assert layers_of(empty, (8, 8), 1, 1).last_block == 0
    assert layers_of(empty, (8, 8), 1, 2).last_block == 1
    assert layers_of(empty, (8, 8), 2, 1).last_block == 1


@pytest.mark.parametrize(("scales", "key"), [((4, 1), "spatial"), ((1, 4), "temporal")])
def test_the_error_names_the_setting(empty: UNet3DConditionModel, scales: Size, key: str) -> None:
    message = (
        rf"^motion_extractor\.{key}_scale_factor 4: no encoder layer has maps of 1/4 of the 8x8"
    )
    with pytest.raises(UserError, match=message):
        layers_of(empty, (8, 8), *scales)


def test_maps_are_not_mixed_up_when_frames_are_as_many_as_places(base_folder: Path) -> None:
    """With 24 frames of 4x6 maps spatial and temporal self-attention have the same shape."""
    unet = MotionUNet.from_pretrained(base_folder, subfolder="unet").eval()
    settings = MotionExtractorSettings(spatial_scale_factor=1, temporal_scale_factor=1)
    latents, text_states = torch.randn(1, 4, 24, 4, 6), torch.randn(1, 7, 32)
    block = "down_blocks.0.{}.0.transformer_blocks.0.{}"
    cross, spatial = (block.format("attentions", name) for name in ("attn2", "attn1"))
    temporal = [block.format("temp_attentions", name) for name in ("attn1", "attn2")]
    recorder = AttentionRecorder([cross, spatial, *temporal])
    with torch.no_grad():
        with recorder.attached(unet):
            unet(latents, 600, text_states)
        features = MotionExtractor(unet, (4, 6), settings)(
            latents, torch.tensor([600]), text_states
        )
    maps = recorder.maps
    assert maps[spatial].shape == maps[temporal[0]].shape == (24, 24, 24)
    expected = (maps[temporal[0]] + maps[temporal[1]]) / 2
    torch.testing.assert_close(features.temporal_attention, expected[None], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        features.cross_attention, maps[cross].reshape(1, 24, 4, 6, 7), rtol=0, atol=1e-6
    )
    mixed_up = (expected * 2 + maps[spatial]) / 3
    assert not torch.allclose(mixed_up, expected, rtol=0, atol=1e-3)
