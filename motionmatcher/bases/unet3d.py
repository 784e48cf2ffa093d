"""The denoiser of Zeroscope and ModelScope: diffusers' UNet3DConditionModel.

Its down block i works at the latent size halved i times.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diffusers import UNet3DConditionModel
from diffusers.models.activations import ACT2CLS
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from einops import rearrange, repeat
from torch import Tensor, nn

from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig
from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.errors import UserError
from motionmatcher.features.maps import FeatureLayers, Size


class MotionUNet(Denoiser, UNet3DConditionModel):
    """A UNet over frames: each of its blocks has layers in space and layers in time."""

    layer_classes = (ResnetBlock2D, TemporalConvLayer, Transformer2DModel, TransformerTemporalModel)
    input_layer = "conv_in"
    text_width_key = "cross_attention_dim"
    lora_kinds = ("attention", "temporal_conv", "spatial_conv")

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        config.whole("in_channels", 1, MAX_CHANNELS)
        config.whole("out_channels", 1, MAX_CHANNELS)
        config.whole("layers_per_block", 1, MAX_LAYERS)
        config.whole("cross_attention_dim", 1, MAX_CHANNELS)
        config.whole("downsample_padding", 0, 1, default=1)
        config.number("norm_eps", 0, 1, default=1e-5)
        config.number("mid_block_scale_factor", 1e-6, 1e6, default=1)
        config.choice("act_fn", ACT2CLS, default="silu")
        channels = config.blocks(
            down_block_types=("DownBlock3D", "CrossAttnDownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        )
        if "CrossAttnDownBlock3D" not in config.content["down_block_types"]:
            config.refuse(
                "down_block_types", "name a CrossAttnDownBlock3D, which motion is read from"
            )
        # Despite the key's name, diffusers takes it for both; see the UNet's own comment.
        config.whole("attention_head_dim", 1, min(channels))
        if config.content.get("num_attention_heads") is not None:
            config.refuse("num_attention_heads", "be null, for diffusers takes attention_head_dim")
        if config.content["out_channels"] != config.content["in_channels"]:
            config.refuse("out_channels", f"be in_channels {config.content['in_channels']}")

    @classmethod
    def choose_layers(
        cls, config: Mapping[str, Any], latent_size: Size, settings: MotionExtractorSettings
    ) -> FeatureLayers:
        """Choose the cross-attention of the spatial and all attention of the temporal transformers.

        Args and errors as of `Denoiser.choose_layers`.
        """
        refuse_transformer_settings(settings)
        sizes = map_sizes(config["down_block_types"], latent_size)
        spatial, temporal = (
            block_at_scale(sizes, latent_size, f"motion_extractor.{key}", getattr(settings, key))
            for key in ("spatial_scale_factor", "temporal_scale_factor")
        )
        layers = range(config["layers_per_block"])
        return FeatureLayers(
            cross_attention=tuple(
                f"down_blocks.{spatial}.attentions.{layer}.transformer_blocks.0.attn2"
                for layer in layers
            ),
            temporal_attention=tuple(
                f"down_blocks.{temporal}.temp_attentions.{layer}.transformer_blocks.0.{attention}"
                for layer in layers
                for attention in ("attn1", "attn2")
            ),
            cross_size=sizes[spatial],
            temporal_size=sizes[temporal],
            last_block=max(spatial, temporal),
        )

    @classmethod
    def least_values(cls, config: Mapping[str, Any], latent_shape: Sequence[int]) -> int:
        batch_size, _, num_frames, height, width = latent_shape
        values: int = batch_size * num_frames * height * width * config["block_out_channels"][0]
        return values

    def lora_targets(self, kind: str) -> list[str]:
        """List the modules that get an adapter, in the order of the published checkpoint format.

        Args:
            kind: `attention`: Linears of `attn1` and `ff` in the spatial transformers, and of `attn1`,
                `attn2` and `ff` in the temporal ones. `temporal_conv`: the Conv3d of the temporal
                convolution layers. `spatial_conv`: both 3x3 Conv2d of the residual blocks.
        """
        return find_targets(self, kind)

    def run_blocks(
        self, latents: Tensor, timesteps: Tensor, text_states: Tensor, last_block: int
    ) -> None:
        """Run the encoder as far as one down block; neither its downsampler nor the decoder.

        Args and what for as of `Denoiser.run_blocks`.
        """
        batch_size, _, num_frames, _, _ = latents.shape
        time_features = self.time_proj(timesteps.expand(batch_size)).to(latents.dtype)
        time_states = repeat(self.time_embedding(time_features), "b d -> (b f) d", f=num_frames)
        text_states = repeat(text_states, "b t d -> (b f) t d", f=num_frames)

        hidden = self.conv_in(rearrange(latents, "b c f h w -> (b f) c h w"))
        hidden = self.transformer_in(hidden, num_frames=num_frames, return_dict=False)[0]
        for index, block in enumerate(self.down_blocks[: last_block + 1]):
            for layer, (resnet, temp_conv) in enumerate(
                zip(block.resnets, block.temp_convs, strict=True)
            ):
                hidden = resnet(hidden, time_states)
                hidden = temp_conv(hidden, num_frames=num_frames)
                if getattr(block, "has_cross_attention", False):
                    hidden = block.attentions[layer](
                        hidden, encoder_hidden_states=text_states, return_dict=False
                    )[0]
                    hidden = block.temp_attentions[layer](
                        hidden, num_frames=num_frames, return_dict=False
                    )[0]
            if index < last_block:
                for downsampler in block.downsamplers:
                    hidden = downsampler(hidden)


def refuse_transformer_settings(settings: MotionExtractorSettings) -> None:
    """Refuse what chooses maps of transformers alone.

    Raises:
        UserError: Names the setting.
    """
    unset = MotionExtractorSettings()
    for key in ("blocks", "temporal_map"):
        if getattr(settings, key) != getattr(unset, key):
            raise UserError(
                f"motion_extractor.{key} is for transformers, and this base is a UNet: leave it out, and "
                "choose spatial_scale_factor and temporal_scale_factor."
            )


def find_targets(unet: nn.Module, kind: str) -> list[str]:
    """List what `MotionUNet.lora_targets` does, of any `UNet3DConditionModel`."""
    finders = {
        "attention": lambda: [
            *_leaves(unet, Transformer2DModel, nn.Linear, {"attn1", "ff"}),
            *_leaves(unet, TransformerTemporalModel, nn.Linear, {"attn1", "attn2", "ff"}),
        ],
        "temporal_conv": lambda: list(_leaves(unet, TemporalConvLayer, nn.Conv3d)),
        "spatial_conv": lambda: list(_leaves(unet, ResnetBlock2D, nn.Conv2d, {"conv1", "conv2"})),
    }
    return finders[kind]()


def _leaves(
    unet: nn.Module, container: type[nn.Module], leaf: type, within: set[str] | None = None
) -> Iterator[str]:
    for path, module in unet.named_modules():
        if not isinstance(module, container):
            continue
        for name, part in module.named_modules():
            parts = name.removesuffix(".base_layer").split(".")
            adapters_own = any(word.startswith("lora_") for word in parts)
            wanted = within is None or within.intersection(parts)
            if isinstance(part, leaf) and wanted and not adapters_own:
                yield ".".join([path, *parts])


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
