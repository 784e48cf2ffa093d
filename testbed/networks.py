"""The denoisers of Moving Shapes, each with the text encoder that is trained along with it."""

import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
    UNet3DConditionModel,
    WanTransformer3DModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel

from testbed.autoencoder import LATENT_CHANNELS
from testbed.config import DenoiserConfig, TransformerConfig, UNetConfig
from testbed.random_base import SCHEDULER_CONFIG
from testbed.renderer import FRAME_SIZE

LATENT_SIZE = FRAME_SIZE // 8
TIME_FREQUENCIES = 128
PATCH_SIZE = (1, 2, 2)  # frames, rows, columns of latents that make a token
# Half of the sampling steps are above a noise level of a / (1 + a) with shift a. Half of the training's
# draws (`pretraining_losses.draw_sigmas`) are above 2/3: with 2, sampling has its steps where the
# training had its examples.
FLOW_SHIFT = 2.0


def build_unet(settings: UNetConfig, text_width: int) -> UNet3DConditionModel:
    """Make an untrained UNet in Zeroscope's layout."""
    levels = len(settings.block_out_channels)
    return UNet3DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock3D",) * levels,
        up_block_types=("CrossAttnUpBlock3D",) * levels,
        block_out_channels=settings.block_out_channels,
        layers_per_block=settings.layers_per_block,
        norm_num_groups=32,
        cross_attention_dim=text_width,
        attention_head_dim=settings.attention_head_dim,
    )


def build_transformer(settings: TransformerConfig, text_width: int) -> WanTransformer3DModel:
    """Make an untrained transformer in Wan's layout."""
    return WanTransformer3DModel(
        patch_size=PATCH_SIZE,
        num_attention_heads=settings.num_attention_heads,
        attention_head_dim=settings.attention_head_dim,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=text_width,
        freq_dim=TIME_FREQUENCIES,
        ffn_dim=settings.ffn_dim,
        num_layers=settings.num_layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )


class PositionHead(nn.Module):
    """Names frame, row and column of each token from its features: a loss for the training alone.

    RoPE tells a transformer distances between tokens, not places, and pure noise shows no place
    either. Without this loss a model has to find its places by the border of the token grid.

    Args:
        width: Width of the features.
        num_frames: Most frames a clip has.
    """

    def __init__(self, width: int, num_frames: int) -> None:
        super().__init__()
        rows, columns = (LATENT_SIZE // patch for patch in PATCH_SIZE[1:])
        self.sizes = (num_frames, rows, columns)
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, features: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the three names from features (B, F * rows * columns, D)."""
        _, rows, columns = self.sizes
        grid = features.unflatten(1, (-1, rows, columns))  # (B, F, rows, columns, D)
        logits = self.linear(grid).split(self.sizes, dim=-1)
        places = torch.meshgrid(*(torch.arange(n) for n in grid.shape[1:4]), indexing="ij")
        losses = [
            F.cross_entropy(scores.flatten(0, 3), place.expand(grid.shape[:4]).flatten())
            for scores, place in zip(logits, places, strict=True)
        ]
        return torch.stack(losses).mean()


class TextToVideo(nn.Module):
    """A denoiser and the text encoder, trained together.

    Args:
        settings: Which denoiser, and its sizes.
        text_encoder: The text side of the small CLIP.
    """

    def __init__(self, settings: DenoiserConfig, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        width = text_encoder.config.hidden_size
        self.position_head: PositionHead | None = None
        if settings.unet is not None:
            self.denoiser = build_unet(settings.unet, width)
        else:
            assert settings.transformer is not None
            self.denoiser = build_transformer(settings.transformer, width)
            if settings.transformer.position_block is not None:
                block = self.denoiser.blocks[settings.transformer.position_block]
                features = self.denoiser.config.num_attention_heads
                features *= self.denoiser.config.attention_head_dim
                self.position_head = PositionHead(features, settings.num_rendered_frames)
                block.register_forward_hook(self._keep_features)
        # Eval mode for good: the UNet's temporal convolutions have dropout, which the base that
        # users adapt must not need.
        self.eval()

    def _keep_features(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        self._features = output

    def forward(self, latents: Tensor, timesteps: Tensor, token_ids: Tensor) -> Tensor:
        """Predict noise or velocity of latents (B, C, F, h, w) at timesteps (B,) for tokens (B, T)."""
        text_states = self.text_encoder(token_ids)[0]  # (B, T, D)
        prediction: Tensor = self.denoiser(
            latents, timestep=timesteps, encoder_hidden_states=text_states
        ).sample
        return prediction

    def position_loss(self) -> Tensor:
        """The position head's loss on the last forward pass."""
        assert self.position_head is not None
        loss: Tensor = self.position_head(self._features)
        return loss


def make_scheduler(objective: str) -> SchedulerMixin:
    """Make the scheduler that ships: Zeroscope's noise schedule, or a flow with `FLOW_SHIFT`."""
    if objective == "flow":
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=FLOW_SHIFT)
    settings = {key: value for key, value in SCHEDULER_CONFIG.items() if key != "_class_name"}
    return DDIMScheduler(**settings)
