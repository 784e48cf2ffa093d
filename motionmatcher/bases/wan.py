"""The denoiser of Wan: diffusers' WanTransformer3DModel.

A transformer whose blocks attend over space and time together (`attn1`, with rotary positions) and to
the text (`attn2`). Its tokens are ordered by frame, row, column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from einops import rearrange
from torch import Tensor

from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig
from motionmatcher.bases.denoiser import Denoiser, ShortNetwork
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.errors import UserError
from motionmatcher.features.attention_maps import (
    Grid,
    cross_attention,
    flow,
    frame_mass,
    same_place,
)
from motionmatcher.features.maps import FeatureLayers, Size
from motionmatcher.features.recording import Recorder
from motionmatcher.features.watching import AttentionWatcher, Gather

# Kind of `lora_targets` -> modules of a block, and what ComfyUI calls them, as Wan's own program does.
_LORA_MODULES = {
    "attention": {
        "attn1.to_q": "self_attn.q",
        "attn1.to_k": "self_attn.k",
        "attn1.to_v": "self_attn.v",
        "attn1.to_out.0": "self_attn.o",
        "ffn.net.0.proj": "ffn.0",
        "ffn.net.2": "ffn.2",
    },
    "cross_attention": {
        "attn2.to_q": "cross_attn.q",
        "attn2.to_k": "cross_attn.k",
        "attn2.to_v": "cross_attn.v",
        "attn2.to_out.0": "cross_attn.o",
    },
}


class MotionWan(Denoiser, WanTransformer3DModel):
    """A transformer over the patches of all frames at once."""

    pipeline = "WanPipeline"
    layer_classes = (WanTransformerBlock,)
    input_layer = "patch_embedding"
    text_width_key = "text_dim"
    # Its weights overflow fp16, and diffusers computes it without autocast: its time embedding, norms and
    # residual sums are in fp32 whatever the weights are.
    precisions = ("no", "bf16")
    uses_autocast = False
    lora_kinds = tuple(_LORA_MODULES)
    lora_prefix = "transformer"
    comfyui_modules = _LORA_MODULES["attention"] | _LORA_MODULES["cross_attention"]

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        for key in ("in_channels", "text_dim", "freq_dim", "ffn_dim"):
            config.whole(key, 1, MAX_CHANNELS)
        config.whole("num_layers", 1, MAX_LAYERS)
        config.whole("num_attention_heads", 1, MAX_CHANNELS)
        if config.whole("attention_head_dim", 6, MAX_CHANNELS) % 2:
            config.refuse("attention_head_dim", "be even, for positions rotate pairs")
        config.whole("out_channels", 1, MAX_CHANNELS)
        if config.content["out_channels"] != config.content["in_channels"]:
            config.refuse("out_channels", f"be in_channels {config.content['in_channels']}")
        if config.content.get("patch_size", [1, 2, 2]) not in (
            [1, size, size] for size in (1, 2, 4)
        ):
            config.refuse("patch_size", "be [1, p, p] with p of 1, 2 or 4")
        config.choice("qk_norm", ("rms_norm_across_heads",), default="rms_norm_across_heads")
        config.number("eps", 0, 1, default=1e-6)
        config.whole("rope_max_seq_len", 1, MAX_CHANNELS, default=1024)
        config.switch("cross_attn_norm")
        for key in ("image_dim", "added_kv_proj_dim", "pos_embed_seq_len"):
            if config.content.get(key) is not None:
                config.refuse(key, "be null: bases that take an image are not supported")

    @classmethod
    def patch_size(cls, config: Mapping[str, Any]) -> int:
        size: int = config.get("patch_size", (1, 2, 2))[1]
        return size

    @classmethod
    def max_frames(cls, config: Mapping[str, Any]) -> int:
        frames: int = config.get("rope_max_seq_len", 1024)
        return frames

    @classmethod
    def max_side(cls, config: Mapping[str, Any]) -> int:
        return cls.max_frames(config) * cls.patch_size(config)

    @classmethod
    def choose_layers(
        cls, config: Mapping[str, Any], latent_size: Size, settings: MotionExtractorSettings
    ) -> FeatureLayers:
        """Choose cross- and self-attention of the blocks that are asked for.

        By default they are the sixth of all blocks before the middle: 10 to 14 of Wan 1.3B's 30, where
        other work reads motion and text placement from. Args and errors as of `Denoiser.choose_layers`.
        """
        _refuse_scale_factors(settings)
        blocks = _choose_blocks(config, settings)
        height, width = latent_size
        patch = cls.patch_size(config)
        size = height // patch, width // patch
        return FeatureLayers(
            cross_attention=tuple(f"blocks.{block}.attn2" for block in blocks),
            temporal_attention=tuple(f"blocks.{block}.attn1" for block in blocks),
            cross_size=size,
            temporal_size=size,
            last_block=blocks[-1],
            temporal_map=settings.temporal_map,
        )

    @classmethod
    def shortened(
        cls, config: Mapping[str, Any], settings: MotionExtractorSettings
    ) -> ShortNetwork:
        """Leave three blocks of each run of them that is not read.

        They are the first, the last, and one between that stands for all others. Args and errors as of
        `Denoiser.shortened`.
        """
        read = _choose_blocks(config, settings)
        kinds = [(block in read, block > read[-1]) for block in range(config["num_layers"])]
        left: list[tuple[bool, int]] = []  # it is read, how many it stands for
        for (is_read, _), run in groupby(kinds):
            number = len(list(run))
            times = [1] * number if is_read or number <= 3 else [1, number - 2, 1]
            left += [(is_read, each) for each in times]
        blocks = [block for block, (is_read, _) in enumerate(left) if is_read]
        return ShortNetwork(
            {**config, "num_layers": len(left)},
            replace(settings, blocks=blocks),
            {f"blocks.{block}": times for block, (_, times) in enumerate(left)},
        )

    @classmethod
    def num_tokens(cls, config: Mapping[str, Any], latent_shape: Sequence[int]) -> int:
        num_frames, height, width = latent_shape[-3:]
        return num_frames * height * width // cls.patch_size(config) ** 2

    @classmethod
    def least_values(cls, config: Mapping[str, Any], latent_shape: Sequence[int]) -> int:
        heads: int = config["num_attention_heads"]
        width = heads * config["attention_head_dim"]
        return latent_shape[0] * cls.num_tokens(config, latent_shape) * width

    def lora_targets(self, kind: str) -> list[str]:
        """List the Linears that get an adapter, block by block.

        Args:
            kind: `attention`: of self-attention and feed-forward, as published of spatial and temporal
                attention. `cross_attention`: of attention to the text.
        """
        return [
            f"blocks.{block}.{module}"
            for block in range(len(self.blocks))
            for module in _LORA_MODULES[kind]
        ]

    def predict(self, latents: Tensor, timesteps: Tensor | float, text_states: Tensor) -> Tensor:
        """Predict the velocity; args as of `Denoiser.predict`."""
        told = torch.as_tensor(timesteps, device=latents.device)
        return super().predict(latents, told.expand(len(latents)), text_states)

    def recorder(self, layers: FeatureLayers, num_frames: int) -> Recorder:
        grid = Grid(num_frames, *layers.temporal_size)
        gathers: dict[str, Gather] = {
            **dict.fromkeys(
                layers.cross_attention, partial(_cross_map, layers.num_own_tokens, num_frames)
            ),
            **dict.fromkeys(
                layers.temporal_attention, partial(_TEMPORAL_MAPS[layers.temporal_map], grid)
            ),
        }
        return AttentionWatcher(gathers)

    def run_blocks(
        self, latents: Tensor, timesteps: Tensor, text_states: Tensor, last_block: int
    ) -> None:
        """Run diffusers' own pass with the later blocks taken out.

        Args and what for as of `Denoiser.run_blocks`.
        """
        all_blocks: Any = self.get_submodule("blocks")
        try:
            self.blocks = all_blocks[: last_block + 1]
            self(latents, timesteps.expand(len(latents)), text_states)
        finally:
            self.blocks = all_blocks


# Maps in the layout that `gather_features` takes. B batch, H heads, N video tokens, d head width.


def _cross_map(
    num_own: int | None, num_frames: int, query: Tensor, key: Tensor, mask: Tensor | None
) -> Tensor:
    maps = cross_attention(query, key, key.shape[2] if num_own is None else num_own, mask)
    return rearrange(maps, "b (f place) t -> (b f) place t", f=num_frames)


def _same_place_map(grid: Grid, query: Tensor, key: Tensor, _: Tensor | None) -> Tensor:
    return same_place(query, key, grid).flatten(0, 1)  # (B*P, F, F)


def _frame_mass_map(grid: Grid, query: Tensor, key: Tensor, _: Tensor | None) -> Tensor:
    return frame_mass(query, key, grid).flatten(0, 1)[:, None]  # (B*N, 1, F)


def _flow_map(grid: Grid, query: Tensor, key: Tensor, _: Tensor | None) -> Tensor:
    return flow(query, key, grid).flatten(0, 1)  # (B*N, F, 2)


_TEMPORAL_MAPS = {"same_place": _same_place_map, "frame_mass": _frame_mass_map, "flow": _flow_map}


def _choose_blocks(config: Mapping[str, Any], settings: MotionExtractorSettings) -> list[int]:
    """Choose the blocks whose maps are read, in order."""
    num_blocks = config["num_layers"]
    blocks = sorted(set(settings.blocks)) or list(
        range(num_blocks // 3, max(num_blocks // 2, num_blocks // 3 + 1))
    )
    if blocks[-1] >= num_blocks:
        raise UserError(
            f"motion_extractor.blocks: there is no block {blocks[-1]}: this base has the blocks 0 to "
            f"{num_blocks - 1}."
        )
    return blocks


def _refuse_scale_factors(settings: MotionExtractorSettings) -> None:
    """Refuse what chooses maps of UNets alone; all maps of a transformer have its patches' size."""
    unset = MotionExtractorSettings()
    for key in ("spatial_scale_factor", "temporal_scale_factor"):
        if getattr(settings, key) != getattr(unset, key):
            raise UserError(
                f"motion_extractor.{key} is for UNets: leave it out, and choose motion_extractor.blocks."
            )
