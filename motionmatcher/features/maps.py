"""Motion features: which attention maps they are made of, and how maps become features (Sec. 3.2).

Axes: B batch, F frames, h w latent size, T text tokens. A UNet's down block i works at the latent
size halved i times; a map at scale factor s has latent size / s.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from motionmatcher.errors import UserError

Size = tuple[int, int]

_CROSS_ATTENTION = re.compile(
    r"down_blocks\.(\d+)\.attentions\.\d+\.transformer_blocks\.\d+\.attn2"
)
_TEMPORAL_ATTENTION = re.compile(
    r"down_blocks\.(\d+)\.temp_attentions\.\d+\.transformer_blocks\.\d+\.attn[12]"
)


@dataclass(frozen=True)
class MotionFeatures:
    """The motion of noisy latents as the frozen base sees it.

    Attributes:
        cross_attention: Where things are (B, F, h/s, w/s, T), softmaxed over the T text tokens.
        temporal_attention: How each place changes over frames (B, h/s * w/s, F, F).
    """

    cross_attention: Tensor
    temporal_attention: Tensor


@dataclass(frozen=True)
class FeatureLayers:
    """The attention modules whose maps make the motion features.

    Attributes:
        cross_attention: Module paths of the cross-attention maps.
        temporal_attention: Module paths of the temporal self-attention maps.
        cross_size: Height and width of the cross-attention maps.
        last_block: Index of the last down block that has to run.
    """

    cross_attention: tuple[str, ...]
    temporal_attention: tuple[str, ...]
    cross_size: Size
    last_block: int


def map_sizes(down_block_types: Sequence[str], latent_size: Size) -> dict[int, Size]:
    """List the attention map sizes of a UNet's encoder.

    Args:
        down_block_types: The UNet's `down_block_types`.
        latent_size: Height and width of the latents.

    Returns:
        Index of each down block with attention -> height and width of its maps.
    """
    sizes = {}
    height, width = latent_size
    for block, block_type in enumerate(down_block_types):
        if "CrossAttn" in block_type:
            sizes[block] = (height, width)
        height, width = -(-height // 2), -(-width // 2)  # a strided convolution rounds up
    return sizes


def block_at_scale(sizes: Mapping[int, Size], latent_size: Size, key: str, scale: int) -> int:
    """Find the down block whose attention maps have the latent size divided by a scale factor.

    Args:
        sizes: What `map_sizes` lists.
        latent_size: Height and width of the latents.
        key: The setting's name, for the error.
        scale: The scale factor, 1 or more.

    Raises:
        UserError: No block has such maps; names those there are.
    """
    height, width = latent_size
    for block, size in sizes.items():
        if (size[0] * scale, size[1] * scale) == (height, width):
            return block
    there_are = ", ".join(
        f"{h}x{w} (scale factor {height // h})"
        if (h * (height // h), w * (height // h)) == latent_size
        else f"{h}x{w}"
        for h, w in sizes.values()
    )
    raise UserError(
        f"{key} {scale}: no encoder layer has maps of 1/{scale} of the {height}x{width} latents; "
        f"there are {there_are}. Choose another scale factor or clip size."
    )


def choose_feature_layers(
    module_names: Iterable[str],
    down_block_types: Sequence[str],
    latent_size: Size,
    spatial_scale_factor: int,
    temporal_scale_factor: int,
) -> FeatureLayers:
    """Choose the attention modules of the motion features, by their path in the UNet.

    Args:
        module_names: All module paths of the UNet.
        down_block_types: The UNet's `down_block_types`.
        latent_size: Height and width of the latents.
        spatial_scale_factor: Latent size / size of the cross-attention maps.
        temporal_scale_factor: Latent size / size of the temporal attention's grid.

    Raises:
        UserError: No layer has the wanted map size.
    """
    sizes = map_sizes(down_block_types, latent_size)
    key = "motion_extractor.{}_scale_factor"
    spatial = block_at_scale(sizes, latent_size, key.format("spatial"), spatial_scale_factor)
    temporal = block_at_scale(sizes, latent_size, key.format("temporal"), temporal_scale_factor)

    def in_block(pattern: re.Pattern[str], block: int) -> tuple[str, ...]:
        matches = filter(None, map(pattern.fullmatch, names))
        return tuple(match.string for match in matches if int(match[1]) == block)

    names = list(module_names)
    return FeatureLayers(
        cross_attention=in_block(_CROSS_ATTENTION, spatial),
        temporal_attention=in_block(_TEMPORAL_ATTENTION, temporal),
        cross_size=sizes[spatial],
        last_block=max(spatial, temporal),
    )


def gather_features(
    maps: Mapping[str, Tensor], layers: FeatureLayers, batch_size: int
) -> MotionFeatures:
    """Average recorded maps over layers (they are averaged over heads already).

    Args:
        maps: Module path -> head-averaged map: cross-attention (B*F, h*w, T), temporal attention
            (B*h*w, F, F).
        layers: The modules to average over.
        batch_size: B.
    """
    height, width = layers.cross_size
    cross = torch.stack([maps[name] for name in layers.cross_attention]).mean(0)  # (B*F, h*w, T)
    temporal = torch.stack([maps[name] for name in layers.temporal_attention]).mean(0)
    return MotionFeatures(
        cross_attention=rearrange(
            cross, "(b f) (h w) t -> b f h w t", b=batch_size, h=height, w=width
        ),
        temporal_attention=rearrange(temporal, "(b place) i j -> b place i j", b=batch_size),
    )
