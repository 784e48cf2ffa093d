"""The denoiser of Zeroscope and ModelScope: diffusers' UNet3DConditionModel."""

from typing import Any

from diffusers import UNet3DConditionModel
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn

from motionmatcher.bases.config_file import BaseConfig
from motionmatcher.bases.video_unet import (
    FrameStates,
    VideoUNet,
    attention_targets,
    check_unet_config,
    leaves,
    spatial_conv_targets,
)


class MotionUNet(VideoUNet, UNet3DConditionModel):
    """Each layer is a residual block and a convolution over frames, then attention in space and in time."""

    pipeline = "TextToVideoSDPipeline"
    layer_classes = (ResnetBlock2D, TemporalConvLayer, Transformer2DModel, TransformerTemporalModel)
    temporal_layers = "temp_attentions"
    temporal_blocks = "CrossAttn"
    lora_kinds = ("attention", "temporal_conv", "spatial_conv")

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        channels = check_unet_config(config, "3D")
        # Despite the key's name, diffusers takes it for both; see the UNet's own comment.
        config.whole("attention_head_dim", 1, min(channels))
        if config.content.get("num_attention_heads") is not None:
            config.refuse("num_attention_heads", "be null, for diffusers takes attention_head_dim")

    def lora_targets(self, kind: str) -> list[str]:
        """List the modules that get an adapter, in the order of the published checkpoint format.

        Args:
            kind: `attention`: see `attention_targets`. `temporal_conv`: the Conv3d of the temporal
                convolution layers. `spatial_conv`: both 3x3 Conv2d of the residual blocks.
        """
        return find_targets(self, kind)

    def enter(self, latents: Tensor, num_frames: int) -> Tensor:
        hidden = super().enter(latents, num_frames)
        entered: Tensor = self.transformer_in(hidden, num_frames=num_frames, return_dict=False)[0]
        return entered

    def run_layer(self, block: Any, layer: int, hidden: Tensor, frames: FrameStates) -> Tensor:
        hidden = block.resnets[layer](hidden, frames.time)
        hidden = block.temp_convs[layer](hidden, num_frames=frames.num_frames)
        if getattr(block, "has_cross_attention", False):
            hidden = block.attentions[layer](
                hidden, encoder_hidden_states=frames.text, return_dict=False
            )[0]
            hidden = block.temp_attentions[layer](
                hidden, num_frames=frames.num_frames, return_dict=False
            )[0]
        return hidden


def find_targets(unet: nn.Module, kind: str) -> list[str]:
    """List what `MotionUNet.lora_targets` does, of any `UNet3DConditionModel`."""
    finders = {
        "attention": lambda: attention_targets(unet, TransformerTemporalModel),
        "temporal_conv": lambda: list(leaves(unet, TemporalConvLayer, nn.Conv3d)),
        "spatial_conv": lambda: spatial_conv_targets(unet),
    }
    return finders[kind]()
