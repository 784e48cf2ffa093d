"""Motion adapters: AnimateDiff's layers in time, published apart from Stable Diffusion's in space."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar

from accelerate import init_empty_weights
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

from motionmatcher.bases.animatediff import USUAL_FRAMES, AnimateDiffUNet, check_heads
from motionmatcher.bases.config_file import MAX_CHANNELS, MAX_LAYERS, BaseConfig
from motionmatcher.config.bounds import MAX_FRAMES

# What a UNet of single frames can be that one of videos cannot, and the value that they share.
_OF_STABLE_DIFFUSION = {
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "only_cross_attention": False,
    "dual_cross_attention": False,
    "class_embed_type": None,
    "num_class_embeds": None,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "attention_type": "default",
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
}


class MotionLayers(MotionAdapter):
    """The motion modules of all blocks of a UNet.

    Attributes:
        adapted_class: The network of single frames that they are joined with.
        schedule_changes: How the noise schedule that they were trained with differs from that network's.
    """

    adapted_class: ClassVar[type[UNet2DConditionModel]] = UNet2DConditionModel
    # As AnimateDiff samples: Stable Diffusion's betas are the squares of evenly spaced roots.
    schedule_changes: ClassVar[Mapping[str, Any]] = {
        "trained_betas": None,
        "beta_schedule": "linear",
        "timestep_spacing": "linspace",
        "steps_offset": 1,
        "clip_sample": False,
    }

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        """Check its `config.json`.

        Raises:
            UserError: Names the file and the key that it cannot be built with.
        """
        groups = config.whole("motion_norm_num_groups", 1, MAX_CHANNELS)
        channels = config.channels("block_out_channels", groups)
        check_heads(config, "motion_num_attention_heads", channels)
        config.whole("motion_layers_per_block", 1, MAX_LAYERS)
        config.whole("motion_max_seq_length", 1, MAX_FRAMES, default=USUAL_FRAMES)
        config.switch("use_motion_mid_block")
        config.same(
            {
                "motion_transformer_layers_per_block": 1,
                "motion_mid_block_layers_per_block": 1,
                "motion_transformer_layers_per_mid_block": 1,
                "conv_in_channels": None,
            }
        )

    @classmethod
    def join_configs(cls, unet: BaseConfig, adapter: BaseConfig) -> dict[str, Any]:
        """Give the config of Stable Diffusion's UNet with motion modules.

        Args:
            unet: Stable Diffusion's UNet's.
            adapter: The motion adapter's, checked.

        Raises:
            UserError: One of them has what cannot be joined; names the file and the key.
        """
        unet.same(_OF_STABLE_DIFFUSION)
        adapter.match("block_out_channels", unet, "block_out_channels", "the UNet's")
        adapter.match("motion_layers_per_block", unet, "layers_per_block", "the UNet's")
        adapter.match("motion_norm_num_groups", unet, "norm_num_groups", "the UNet's", 32)
        # Despite its name, the number of heads, unless the newer key is there.
        named = unet.content.get("num_attention_heads") is not None
        heads_key = "num_attention_heads" if named else "attention_head_dim"
        heads = check_heads(unet, heads_key, adapter.content["block_out_channels"])
        joined = {
            **unet.content,
            "down_block_types": _motion_types(unet, "Down"),
            "up_block_types": _motion_types(unet, "Up"),
            "num_attention_heads": heads,
            "use_motion_mid_block": adapter.content.get("use_motion_mid_block", True),
            "motion_max_seq_length": adapter.content.get("motion_max_seq_length", USUAL_FRAMES),
            "motion_num_attention_heads": adapter.content.get("motion_num_attention_heads", 8),
        }
        known = signature(UNetMotionModel.__init__).parameters
        of_unet = {key: value for key, value in joined.items() if key in known}
        return {"_class_name": UNetMotionModel.__name__, **of_unet}

    def join(self, unet: UNet2DConditionModel, config: Mapping[str, Any]) -> AnimateDiffUNet:
        """Join the weights, which both networks name as the joined one does.

        Args:
            unet: Stable Diffusion's UNet.
            config: What `join_configs` gave.
        """
        with init_empty_weights():
            joined: AnimateDiffUNet = AnimateDiffUNet.from_config(config)
        joined.load_state_dict({**unet.state_dict(), **self.state_dict()}, assign=True)
        return joined.eval().requires_grad_(False)


def _motion_types(unet: BaseConfig, side: str) -> list[str]:
    types = (f"{side}Block2D", f"CrossAttn{side}Block2D")
    key = f"{side.lower()}_block_types"
    return [block.replace("2D", "Motion") for block in unet.choices(key, types)]
