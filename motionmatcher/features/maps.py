"""Motion features: which attention maps they are made of, and how maps become features (Sec. 3.2).

Axes: B batch, F frames, h w latent size, T text tokens. A map at scale factor s has latent size / s.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class MotionFeatures:
    """The motion of noisy latents as the frozen base sees it.

    Attributes:
        cross_attention: Where things are (B, F, h/s, w/s, T), softmaxed over the text tokens.
        temporal_attention: How each place changes over frames (B, h/s * w/s, F, F), or as another kind
            of temporal map has it.
    """

    cross_attention: Tensor
    temporal_attention: Tensor

    def __sub__(self, other: "MotionFeatures") -> "MotionFeatures":
        """How both kinds of maps differ."""
        return MotionFeatures(
            self.cross_attention - other.cross_attention,
            self.temporal_attention - other.temporal_attention,
        )


@dataclass(frozen=True)
class FeatureLayers:
    """The attention modules whose maps make the motion features.

    Attributes:
        cross_attention: Module paths of the cross-attention maps.
        temporal_attention: Module paths of the temporal self-attention maps.
        cross_size: Height and width of the cross-attention maps.
        temporal_size: Height and width of the temporal attention's grid.
        last_block: Index of the last block that has to run.
        temporal_map: What is read of attention over space and time, of `settings.TEMPORAL_MAPS`.
        num_own_tokens: Columns of the cross-attention maps that are kept where padding is left out: the
            prompt's own tokens; None keeps all.
    """

    cross_attention: tuple[str, ...]
    temporal_attention: tuple[str, ...]
    cross_size: Size
    temporal_size: Size
    last_block: int
    temporal_map: str = "same_place"
    num_own_tokens: int | None = None


def gather_features(
    maps: Mapping[str, Tensor], layers: FeatureLayers, batch_size: int
) -> MotionFeatures:
    """Average recorded maps over layers (they are averaged over heads already).

    Args:
        maps: Module path -> head-averaged map: cross-attention (B*F, h*w, T), temporal attention
            (B*h*w, F, F), or (B * places, …) of another kind.
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
