"""What UNets over frames have in common: down blocks of layers in space, each with a layer in time.

Its down block i works at the latent size halved i times.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from diffusers.models.activations import ACT2CLS
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from einops import rearrange, repeat
from torch import Tensor, nn

from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig
from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.errors import UserError
from motionmatcher.features.maps import FeatureLayers, Size


class FrameStates(NamedTuple):
    """What each layer of a pass is told.

    Attributes:
        time: The timestep's embedding for each frame (B*F, E).
        text: The prompt for each frame (B*F, T, D).
        num_frames: F.
    """

    time: Tensor
    text: Tensor
    num_frames: int


class VideoUNet(Denoiser):
    """A UNet over frames: each of its blocks has layers in space and layers in time.

    Attributes:
        temporal_layers: What its blocks call their transformers over frames.
        temporal_blocks: What the types of those blocks that have some have in their names.
    """

    input_layer = "conv_in"
    text_width_key = "cross_attention_dim"
    temporal_layers: ClassVar[str]
    temporal_blocks: ClassVar[str]

    @classmethod
    def choose_layers(
        cls, config: Mapping[str, Any], latent_size: Size, settings: MotionExtractorSettings
    ) -> FeatureLayers:
        """Choose the cross-attention of the spatial and all attention of the temporal transformers.

        Args and errors as of `Denoiser.choose_layers`.
        """
        _refuse_transformer_settings(settings)
        types = config["down_block_types"]
        cross_sizes = map_sizes(types, latent_size, "CrossAttn")
        temporal_sizes = map_sizes(types, latent_size, cls.temporal_blocks)
        spatial, temporal = (
            block_at_scale(sizes, latent_size, f"motion_extractor.{key}", getattr(settings, key))
            for sizes, key in (
                (cross_sizes, "spatial_scale_factor"),
                (temporal_sizes, "temporal_scale_factor"),
            )
        )
        layers = range(config["layers_per_block"])
        return FeatureLayers(
            cross_attention=tuple(
                f"down_blocks.{spatial}.attentions.{layer}.transformer_blocks.0.attn2"
                for layer in layers
            ),
            temporal_attention=tuple(
                f"down_blocks.{temporal}.{cls.temporal_layers}.{layer}"
                f".transformer_blocks.0.{attention}"
                for layer in layers
                for attention in ("attn1", "attn2")
            ),
            cross_size=cross_sizes[spatial],
            temporal_size=temporal_sizes[temporal],
            last_block=max(spatial, temporal),
        )

    @classmethod
    def least_values(cls, config: Mapping[str, Any], latent_shape: Sequence[int]) -> int:
        batch_size, _, num_frames, height, width = latent_shape
        values: int = batch_size * num_frames * height * width * config["block_out_channels"][0]
        return values

    def run_blocks(
        self, latents: Tensor, timesteps: Tensor, text_states: Tensor, last_block: int
    ) -> None:
        """Run the encoder as far as one down block; neither its downsampler nor the decoder.

        Args and what for as of `Denoiser.run_blocks`.
        """
        batch_size, _, num_frames, _, _ = latents.shape
        time_features = self.time_proj(timesteps.expand(batch_size)).to(latents.dtype)
        frames = FrameStates(
            repeat(self.time_embedding(time_features), "b d -> (b f) d", f=num_frames),
            repeat(text_states, "b t d -> (b f) t d", f=num_frames),
            num_frames,
        )

        hidden = self.enter(rearrange(latents, "b c f h w -> (b f) c h w"), num_frames)
        for index, block in enumerate(self.down_blocks[: last_block + 1]):
            for layer in range(len(block.resnets)):
                hidden = self.run_layer(block, layer, hidden, frames)
            if index < last_block:
                for downsampler in block.downsamplers:
                    hidden = downsampler(hidden)

    def enter(self, latents: Tensor, num_frames: int) -> Tensor:
        """Run what comes before the down blocks.

        Args:
            latents: (B*F, C, h, w).
            num_frames: F.
        """
        hidden: Tensor = self.conv_in(latents)
        return hidden

    def run_layer(self, block: Any, layer: int, hidden: Tensor, frames: FrameStates) -> Tensor:
        """Run one layer of a down block, in space and in time.

        Args:
            block: The down block.
            layer: Index of the layer.
            hidden: (B*F, D, h/s, w/s).
            frames: What each layer is told.
        """
        raise NotImplementedError


def _refuse_transformer_settings(settings: MotionExtractorSettings) -> None:
    """Refuse what chooses maps of transformers alone."""
    unset = MotionExtractorSettings()
    for key in ("blocks", "temporal_map"):
        if getattr(settings, key) != getattr(unset, key):
            raise UserError(
                f"motion_extractor.{key} is for transformers, and this base is a UNet: leave it out, and "
                "choose spatial_scale_factor and temporal_scale_factor."
            )


def check_unet_config(config: BaseConfig, suffix: str) -> list[int]:
    """Check what the configs of all UNets of diffusers have in common.

    Args:
        config: The UNet's.
        suffix: What the names of its blocks end with.

    Returns:
        The widths of its blocks.

    Raises:
        UserError: Names the file and the key that it cannot be built with.
    """
    config.whole("in_channels", 1, MAX_CHANNELS)
    config.whole("out_channels", 1, MAX_CHANNELS)
    config.whole("layers_per_block", 1, MAX_LAYERS)
    config.whole("cross_attention_dim", 1, MAX_CHANNELS)
    config.whole("downsample_padding", 0, 1, default=1)
    config.number("norm_eps", 0, 1, default=1e-5)
    config.number("mid_block_scale_factor", 1e-6, 1e6, default=1)
    config.choice("act_fn", ACT2CLS, default="silu")
    down_block = f"CrossAttnDownBlock{suffix}"
    channels = config.blocks(
        down_block_types=(f"DownBlock{suffix}", down_block),
        up_block_types=(f"UpBlock{suffix}", f"CrossAttnUpBlock{suffix}"),
    )
    if down_block not in config.content["down_block_types"]:
        config.refuse("down_block_types", f"name a {down_block}, which motion is read from")
    if config.content["out_channels"] != config.content["in_channels"]:
        config.refuse("out_channels", f"be in_channels {config.content['in_channels']}")
    return channels


def attention_targets(unet: nn.Module, temporal_class: type[nn.Module]) -> list[str]:
    """List the Linears of a UNet that get an adapter, in the order of the published checkpoint format.

    They are those of `attn1` and `ff` in the spatial transformers, and of `attn1`, `attn2` and `ff` in
    the temporal ones.

    Args:
        unet: The network, with or without adapters.
        temporal_class: Its transformers over frames.
    """
    return [
        *leaves(unet, Transformer2DModel, nn.Linear, {"attn1", "ff"}),
        *leaves(unet, temporal_class, nn.Linear, {"attn1", "attn2", "ff"}),
    ]


def spatial_conv_targets(unet: nn.Module) -> list[str]:
    """List both 3x3 Conv2d of a UNet's residual blocks."""
    return list(leaves(unet, ResnetBlock2D, nn.Conv2d, {"conv1", "conv2"}))


def leaves(
    unet: nn.Module, container: type[nn.Module], leaf: type, within: set[str] | None = None
) -> Iterator[str]:
    """List the modules of a class that lie in containers, without adapters' own `base_layer`.

    Args:
        unet: The network, with or without adapters.
        container: Class of the containers.
        leaf: Class of the modules.
        within: Only those in parts of a container with one of these names.
    """
    for path, module in unet.named_modules():
        if not isinstance(module, container):
            continue
        for name, part in module.named_modules():
            parts = name.removesuffix(".base_layer").split(".")
            adapters_own = any(word.startswith("lora_") for word in parts)
            wanted = within is None or within.intersection(parts)
            if isinstance(part, leaf) and wanted and not adapters_own:
                yield ".".join([path, *parts])


def map_sizes(down_block_types: Sequence[str], latent_size: Size, wanted: str) -> dict[int, Size]:
    """List the attention map sizes of a UNet's encoder.

    Args:
        down_block_types: The UNet's `down_block_types`.
        latent_size: Height and width of the latents.
        wanted: What the types of blocks with such attention have in their names.

    Returns:
        Index of each of those down blocks -> height and width of its maps.
    """
    sizes = {}
    height, width = latent_size
    for block, block_type in enumerate(down_block_types):
        if wanted in block_type:
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
