"""The sizes of a UNet's attention maps, and which of its blocks has those that are asked for."""

from typing import Any

import pytest
import torch
from diffusers import UNet3DConditionModel

from motionmatcher.bases.video_unet import block_at_scale, map_sizes
from motionmatcher.errors import UserError

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
    assert map_sizes(ZEROSCOPE, latent_size, "CrossAttn") == sizes


def test_blocks_without_attention_have_no_maps_but_halve() -> None:
    types = ("DownBlock3D", "CrossAttnDownBlock3D")
    assert map_sizes(types, (16, 24), "CrossAttn") == {1: (8, 12)}


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
    assert seen == [map_sizes(unet.config.down_block_types, (5, 7), "CrossAttn")[1]] == [(3, 4)]


@pytest.mark.parametrize(("scale", "block"), [(1, 0), (2, 1), (4, 2)])
def test_block_at_scale(scale: int, block: int) -> None:
    size = (40, 72)
    assert block_at_scale(map_sizes(ZEROSCOPE, size, "CrossAttn"), size, "key", scale) == block


def test_a_scale_that_is_not_there() -> None:
    message = (
        r"^motion_extractor\.spatial_scale_factor 8: no encoder layer has maps of 1/8 of the 40x72 "
        r"latents; there are 40x72 \(scale factor 1\), 20x36 \(scale factor 2\), 10x18 \(scale factor "
        r"4\)\. Choose another scale factor or clip size\.$"
    )
    size = (40, 72)
    with pytest.raises(UserError, match=message):
        block_at_scale(
            map_sizes(ZEROSCOPE, size, "CrossAttn"),
            size,
            "motion_extractor.spatial_scale_factor",
            8,
        )


def test_sizes_that_are_rounded_up_have_no_scale_factor() -> None:
    size = (45, 32)
    sizes = map_sizes(ZEROSCOPE, size, "CrossAttn")
    assert block_at_scale(sizes, size, "key", 1) == 0
    message = r"there are 45x32 \(scale factor 1\), 23x16, 12x8\. Choose"
    with pytest.raises(UserError, match=message):
        block_at_scale(sizes, size, "key", 2)
