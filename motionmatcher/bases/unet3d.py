"""The denoiser of Zeroscope and ModelScope: diffusers' UNet3DConditionModel."""

from diffusers import UNet3DConditionModel
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from einops import rearrange, repeat
from torch import Tensor

from motionmatcher.bases.denoiser import Denoiser


class MotionUNet(Denoiser, UNet3DConditionModel):
    """A UNet over frames: each of its blocks has layers in space and layers in time."""

    layer_classes = (ResnetBlock2D, TemporalConvLayer, Transformer2DModel, TransformerTemporalModel)
    input_layer = "conv_in"

    def run_encoder(
        self, sample: Tensor, timesteps: Tensor, text_states: Tensor, last_block: int
    ) -> None:
        """Run the encoder as far as one down block, for the maps that a recorder takes on the way.

        Nothing after that block's last layer is computed, neither its downsampler nor the decoder.

        Args:
            sample: Noisy latents (B, C, F, h, w).
            timesteps: One a batch element (B,), or one for all (1,).
            text_states: Encoded prompts (B, T, D).
            last_block: Index of the last down block to run.
        """
        batch_size, _, num_frames, _, _ = sample.shape
        time_features = self.time_proj(timesteps.expand(batch_size)).to(sample.dtype)
        time_states = repeat(self.time_embedding(time_features), "b d -> (b f) d", f=num_frames)
        text_states = repeat(text_states, "b t d -> (b f) t d", f=num_frames)

        hidden = self.conv_in(rearrange(sample, "b c f h w -> (b f) c h w"))
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
