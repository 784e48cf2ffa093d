"""The denoiser of AnimateDiff: diffusers' UNetMotionModel, Stable Diffusion's UNet with layers in time."""

from collections.abc import Mapping
from typing import Any

from diffusers import UNetMotionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from einops import repeat
from torch import Tensor

from motionmatcher.bases.config_file import MAX_CHANNELS, BaseConfig
from motionmatcher.bases.video_unet import (
    FrameStates,
    VideoUNet,
    attention_targets,
    check_unet_config,
    spatial_conv_targets,
)
from motionmatcher.config.bounds import MAX_FRAMES

# Of a config file that does not say: what all motion adapters were trained with.
USUAL_FRAMES = 32


class AnimateDiffUNet(VideoUNet, UNetMotionModel):
    """Each layer is a residual block, attention in space where there is one, and a motion module."""

    pipeline = "AnimateDiffPipeline"
    layer_classes = (ResnetBlock2D, Transformer2DModel, AnimateDiffTransformer3D)
    temporal_layers = "motion_modules"
    temporal_blocks = "Motion"
    lora_kinds = ("attention", "spatial_conv")
    lora_prefix = "unet"

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        channels = check_unet_config(config, "Motion")
        for key in ("num_attention_heads", "motion_num_attention_heads"):
            check_heads(config, key, channels)
        config.whole("motion_max_seq_length", 1, MAX_FRAMES, default=USUAL_FRAMES)
        for key in ("use_motion_mid_block", "use_linear_projection"):
            config.switch(key)
        config.same(
            {
                "mid_block_layers": 1,
                "transformer_layers_per_block": 1,
                "transformer_layers_per_mid_block": None,
                "reverse_transformer_layers_per_block": None,
                "temporal_transformer_layers_per_block": 1,
                "temporal_transformer_layers_per_mid_block": 1,
                "reverse_temporal_transformer_layers_per_block": None,
                "reverse_motion_num_attention_heads": None,
                "addition_embed_type": None,
                "encoder_hid_dim_type": None,
                "time_cond_proj_dim": None,
            }
        )

    @classmethod
    def max_frames(cls, config: Mapping[str, Any]) -> int:
        """The frames that its motion modules have positions for."""
        frames: int = config.get("motion_max_seq_length", USUAL_FRAMES)
        return frames

    def predict(self, latents: Tensor, timesteps: Tensor | float, text_states: Tensor) -> Tensor:
        """Predict noise or velocity; args as of `Denoiser.predict`."""
        # diffusers' forward wants the prompt once a frame, as its pipeline gives it.
        text_states = repeat(text_states, "b t d -> (b f) t d", f=latents.shape[2])
        return super().predict(latents, timesteps, text_states)

    def lora_targets(self, kind: str) -> list[str]:
        """List the modules that get an adapter: the published choice, of the layers that it has.

        Args:
            kind: `attention`: see `attention_targets`. `spatial_conv`: both 3x3 Conv2d of the residual
                blocks.
        """
        if kind == "attention":
            return attention_targets(self, AnimateDiffTransformer3D)
        return spatial_conv_targets(self)

    def run_layer(self, block: Any, layer: int, hidden: Tensor, frames: FrameStates) -> Tensor:
        hidden = block.resnets[layer](hidden, frames.time)
        if getattr(block, "has_cross_attention", False):
            hidden = block.attentions[layer](
                hidden, encoder_hidden_states=frames.text, return_dict=False
            )[0]
        moved: Tensor = block.motion_modules[layer](hidden, num_frames=frames.num_frames)
        return moved


def check_heads(config: BaseConfig, key: str, channels: list[int]) -> int:
    """Look up a number of attention heads, which each block's width must be a multiple of.

    Raises:
        UserError: Names the file and the key.
    """
    heads = config.whole(key, 1, MAX_CHANNELS, default=8)
    if any(width % heads for width in channels):
        config.refuse(key, f"divide each of block_out_channels {channels}")
    return heads
