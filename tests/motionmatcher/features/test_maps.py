"""Feature maps are chosen by path and size, and averaged as they should be."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet3DConditionModel

from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.errors import UserError
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.features.maps import (
    FeatureLayers,
    block_at_scale,
    choose_feature_layers,
    gather_features,
    map_sizes,
)
from motionmatcher.features.recording import AttentionRecorder

ZEROSCOPE = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",)


@pytest.mark.parametrize(
    ("latent_size", "sizes"),
    [
        ((48, 48), {0: (48, 48), 1: (24, 24), 2: (12, 12)}),
        ((40, 72), {0: (40, 72), 1: (20, 36), 2: (10, 18)}),
        ((45, 33), {0: (45, 33), 1: (23, 17), 2: (12, 9)}),  # a strided convolution rounds up
    ],
)
def test_map_sizes(latent_size: tuple[int, int], sizes: dict[int, Any]) -> None:
    assert map_sizes(ZEROSCOPE, latent_size) == sizes


def test_blocks_without_attention_have_no_maps_but_halve() -> None:
    types = ("DownBlock3D", "CrossAttnDownBlock3D")
    assert map_sizes(types, (16, 24)) == {1: (8, 12)}


def test_odd_sizes_are_those_of_the_network() -> None:
    unet = UNet3DConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock3D",) * 2,
        up_block_types=("CrossAttnUpBlock3D",) * 2,
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=32,
    )
    seen = []
    unet.down_blocks[1].attentions[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(tuple(inputs[0].shape[-2:]))
    )
    with torch.no_grad():
        unet(torch.zeros(1, 4, 1, 5, 7), 1, torch.zeros(1, 2, 32))
    assert seen == [map_sizes(unet.config.down_block_types, (5, 7))[1]] == [(3, 4)]


@pytest.mark.parametrize(("scale", "block"), [(1, 0), (2, 1), (4, 2)])
def test_block_at_scale(scale: int, block: int) -> None:
    size = (40, 72)
    assert block_at_scale(map_sizes(ZEROSCOPE, size), size, "key", scale) == block


def test_a_scale_that_is_not_there() -> None:
    message = (
        r"^motion_extractor\.spatial_scale_factor 8: no encoder layer has maps of 1/8 of the 40x72 "
        r"latents; there are 40x72 \(scale factor 1\), 20x36 \(scale factor 2\), 10x18 \(scale factor "
        r"4\)\. Choose another scale factor or clip size\.$"
    )
    size = (40, 72)
    with pytest.raises(UserError, match=message):
        block_at_scale(map_sizes(ZEROSCOPE, size), size, "motion_extractor.spatial_scale_factor", 8)


def test_sizes_that_are_rounded_up_have_no_scale_factor() -> None:
    size = (45, 32)
    sizes = map_sizes(ZEROSCOPE, size)
    assert block_at_scale(sizes, size, "key", 1) == 0
    message = r"there are 45x32 \(scale factor 1\), 23x16, 12x8\. Choose"
    with pytest.raises(UserError, match=message):
        block_at_scale(sizes, size, "key", 2)


@pytest.fixture(scope="module")
def unet() -> UNet3DConditionModel:
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


def layers_of(unet: UNet3DConditionModel, size: tuple[int, int], *scales: int) -> FeatureLayers:
    names = [name for name, _ in unet.named_modules()]
    return choose_feature_layers(names, unet.config.down_block_types, size, *scales)


def test_layers_are_picked_by_path(unet: UNet3DConditionModel) -> None:
    layers = layers_of(unet, (8, 12), 2, 1)
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
    assert layers.cross_size == (4, 6)
    assert layers.last_block == 1


def test_only_the_blocks_that_are_read_need_to_run(unet: UNet3DConditionModel) -> None:
    assert layers_of(unet, (8, 8), 1, 1).last_block == 0
    assert layers_of(unet, (8, 8), 1, 2).last_block == 1
    assert layers_of(unet, (8, 8), 2, 1).last_block == 1


@pytest.mark.parametrize(("scales", "key"), [((4, 1), "spatial"), ((1, 4), "temporal")])
def test_the_error_names_the_setting(
    unet: UNet3DConditionModel, scales: tuple[int, int], key: str
) -> None:
    message = (
        rf"^motion_extractor\.{key}_scale_factor 4: no encoder layer has maps of 1/4 of the 8x8"
    )
    with pytest.raises(UserError, match=message):
        layers_of(unet, (8, 8), *scales)


def test_gathered_by_hand() -> None:
    layers = FeatureLayers(("c1", "c2"), ("t1", "t2", "t3"), cross_size=(2, 3), last_block=0)
    batch, frames, tokens = 2, 4, 5
    cross = torch.arange(batch * frames * 6 * tokens).float().reshape(batch * frames, 6, tokens)
    temporal = torch.arange(batch * 7 * frames**2).float().reshape(batch * 7, frames, frames)
    maps = {
        "c1": cross,
        "c2": 3 * cross,
        "t1": temporal,
        "t2": 2 * temporal,
        "t3": 6 * temporal,
        "another": torch.full((1, 1, 1), torch.nan),
    }
    features = gather_features(maps, layers, batch)
    assert features.cross_attention.shape == (batch, frames, 2, 3, tokens)
    assert features.temporal_attention.shape == (batch, 7, frames, frames)
    for b, f, y, x, token in [(0, 0, 0, 0, 0), (1, 2, 1, 0, 4), (1, 3, 1, 2, 2)]:
        expected = 2 * cross[b * frames + f, y * 3 + x, token]
        assert features.cross_attention[b, f, y, x, token] == expected
    for b, place, i, j in [(0, 3, 0, 1), (1, 5, 3, 2)]:
        assert features.temporal_attention[b, place, i, j] == 3 * temporal[b * 7 + place, i, j]


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
