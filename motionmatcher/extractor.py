"""The motion feature extractor: the frozen base's encoder, read at chosen attention modules."""

import torch
from torch import Tensor

from motionmatcher.attention import AttentionRecorder
from motionmatcher.features import MotionFeatures, choose_feature_layers, gather_features
from motionmatcher.settings import MotionExtractorSettings
from motionmatcher.unet import MotionUNet, PassMode


class MotionExtractor:
    """Reads motion features of noisy latents with the frozen base (Sec. 3.2).

    One DDIM step moves latents so little that half precision would put errors of 30 % and more on
    the loss, so everything here is computed in fp32 (fp64 for fp64 weights); weights stored in half
    precision are upcast layer by layer.
    """

    def __init__(
        self, unet: MotionUNet, latent_size: tuple[int, int], settings: MotionExtractorSettings
    ) -> None:
        """Choose the layers.

        Args:
            unet: The base, with or without a LoRA; the LoRA is off while features are extracted.
            latent_size: Height and width of the latents.
            settings: The maps' scale factors.

        Raises:
            UserError: No layer has the wanted map size.
        """
        self.unet = unet
        self.layers = choose_feature_layers(
            [name for name, _ in unet.named_modules()],
            unet.config.down_block_types,
            latent_size,
            settings.spatial_scale_factor,
            settings.temporal_scale_factor,
        )

    def __call__(self, latents: Tensor, timesteps: Tensor, text_states: Tensor) -> MotionFeatures:
        """Extract the features of noisy latents.

        Args:
            latents: (B, C, F, h, w), fp32 or fp64.
            timesteps: One a batch element (B,).
            text_states: Encoded prompts (B, T, D).
        """
        recorder = AttentionRecorder(self.layers.cross_attention + self.layers.temporal_attention)
        half = self.unet.conv_in.weight.dtype.itemsize < 4
        frozen_base = PassMode(lora=False, recorder=recorder, full_precision=half)
        with (
            torch.autocast(latents.device.type, enabled=False),
            self.unet.in_mode(frozen_base),
        ):
            self.unet.run_encoder(
                latents, timesteps, text_states.to(latents.dtype), self.layers.last_block
            )
        return gather_features(recorder.maps, self.layers, len(latents))
