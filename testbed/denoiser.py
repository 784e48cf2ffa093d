"""The UNet of Moving Shapes and its training: single frames first, then clips.

A plain epsilon-prediction diffusion training with three additions: the noise has a part that a
whole clip shares (a remedy for wrong backgrounds), the loss is weighted by min-SNR
(arXiv:2303.09556, section 3.4), and the text encoder goes on learning with a smaller rate, since
the contrast of single frames taught it nothing about motion.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from motionmatcher.random_streams import generator, stream_seed
from testbed.autoencoder import LATENT_CHANNELS
from testbed.captions import write_caption
from testbed.config import DenoiserConfig, DenoiserStageConfig, PretrainConfig
from testbed.latents import encode_clips, load_clips, training_scene
from testbed.renderer import FRAME_SIZE, Scene
from testbed.scenes import NUM_FRAMES
from testbed.stage import StageState, cosine_schedule, read_averaged_weights, run_stage
from testbed.text import load_clip, tokenize
from testbed.tokenizer import build_tokenizer

MAX_SNR_WEIGHT = 5.0  # gamma of min-SNR
LATENT_SIZE = FRAME_SIZE // 8
WARMUP_STEPS = 200


class TextToVideo(nn.Module):
    """The UNet and the text encoder, trained together.

    Args:
        settings: Sizes of the UNet.
        text_encoder: The text side of the small CLIP.
    """

    def __init__(self, settings: DenoiserConfig, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        levels = len(settings.block_out_channels)
        self.unet = UNet3DConditionModel(
            sample_size=LATENT_SIZE,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            down_block_types=("CrossAttnDownBlock3D",) * levels,
            up_block_types=("CrossAttnUpBlock3D",) * levels,
            block_out_channels=settings.block_out_channels,
            layers_per_block=settings.layers_per_block,
            norm_num_groups=32,
            cross_attention_dim=text_encoder.config.hidden_size,
            attention_head_dim=settings.attention_head_dim,
        )
        # Eval mode for good: the temporal convolutions have dropout, which the base that users
        # adapt must not need.
        self.eval()

    def forward(self, latents: Tensor, timesteps: Tensor, token_ids: Tensor) -> Tensor:
        """Predict the noise in latents (B, C, F, h, w) at timesteps (B,) for tokens (B, T)."""
        text_states = self.text_encoder(token_ids)[0]  # (B, T, D)
        prediction: Tensor = self.unet(latents, timesteps, text_states).sample
        return prediction


def make_scheduler() -> DDIMScheduler:
    """Make Zeroscope's noise schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def build_model(config: PretrainConfig) -> TextToVideo:
    """Make an untrained UNet with the text side of the trained small CLIP."""
    clip, _ = load_clip(config)
    text_encoder = CLIPTextModel(clip.config.text_config)
    weights = {k: v for k, v in clip.state_dict().items() if k.startswith("text_model.")}
    own_keys = text_encoder.state_dict()
    if not any(key.startswith("text_model.") for key in own_keys):
        weights = {k.removeprefix("text_model."): v for k, v in weights.items()}
    text_encoder.load_state_dict(weights)
    torch.manual_seed(config.seed + 2)
    return TextToVideo(config.denoiser, text_encoder).requires_grad_(True)


def single_frame(scene: Scene, frame: int) -> Scene:
    """Cut one frame out of a scene: a shape that stays where it is."""
    here = slice(frame, frame + 1)
    return dataclasses.replace(
        scene,
        motion="still",
        camera_motion="",
        path=scene.path[here],
        radius=scene.radius[here],
        camera=scene.camera[here],
    )


class ClipBatches:
    """Batches of latents and captions, the same ones for the same step.

    Args:
        config: Names seed and data.
        stage: Index of the stage in the config.
    """

    def __init__(self, config: PretrainConfig, stage: int) -> None:
        self.settings, self.seed, self.stage = config.denoiser, config.seed, stage
        self.stage_settings = config.denoiser.stages[stage]
        self.latents = load_clips(config)  # (clips, F, C, h, w)
        self.scenes = [training_scene(config.seed, i) for i in range(len(self.latents))]
        self.tokenizer = build_tokenizer()

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the latents (B, C, F, h, w), fp32, and the token ids (B, T) of a step."""
        rng = np.random.default_rng(stream_seed(self.seed, "clips", self.stage, step))
        latents, captions = [], []
        for index in self._clip_indices(step):
            scene = self.scenes[index]
            frames = _frame_choice(self.stage_settings.num_frames, rng)
            latents.append(self.latents[index, frames])
            if len(frames) == 1:
                scene = single_frame(scene, int(frames[0]))
            caption = write_caption(scene, rng)
            dropped = rng.random() < self.settings.caption_dropout
            captions.append("" if dropped else caption)
        batch = torch.stack(latents).float().transpose(1, 2)  # (B, C, F, h, w)
        return batch, tokenize(self.tokenizer, captions)

    def _clip_indices(self, step: int) -> list[int]:
        """Go through the clips epoch by epoch, each in its own order."""
        size, count = self.stage_settings.batch_size, len(self.scenes)
        indices = []
        for position in range(step * size, (step + 1) * size):
            epoch, place = divmod(position, count)
            indices.append(int(self._order(epoch)[place]))
        return indices

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_order_epoch", None) != epoch:
            seed = stream_seed(self.seed, "clip order", self.stage, epoch)
            self._order_epoch = epoch
            self._epoch_order = np.random.default_rng(seed).permutation(len(self.scenes))
        return self._epoch_order


def _frame_choice(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Which of the rendered frames a clip has: any one, or evenly spread ones."""
    if num_frames == 1:
        return rng.integers(0, NUM_FRAMES, 1)
    return np.arange(num_frames) * (NUM_FRAMES // num_frames)


def draw_noise(shape: torch.Size, offset: float, stream: torch.Generator) -> Tensor:
    """Draw noise (B, C, F, h, w) with a part of deviation `offset` that a clip's channel shares."""
    shared = torch.randn(*shape[:2], 1, 1, 1, generator=stream)
    return torch.randn(shape, generator=stream) + offset * shared


def draw_timesteps(batch_size: int, num_timesteps: int, stream: torch.Generator) -> Tensor:
    """Draw one timestep from each of `batch_size` equal parts of the range, in random order."""
    parts = (torch.arange(batch_size) + torch.rand(batch_size, generator=stream)) / batch_size
    return (parts[torch.randperm(batch_size, generator=stream)] * num_timesteps).long()


def min_snr_weights(alphas_cumprod: Tensor) -> Tensor:
    """Weights of the epsilon loss: min(SNR, gamma) / SNR (arXiv:2303.09556, equation 6)."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(max=MAX_SNR_WEIGHT) / snr


def train_denoiser(config: PretrainConfig, stage: int, stop_after: int | None = None) -> bool:
    """Train one stage of the UNet, or go on with it; returns True when it is complete."""
    settings, stage_settings = config.denoiser, config.denoiser.stages[stage]
    encode_clips(config)
    model = build_model(config)
    if stage > 0:
        weights, _ = read_averaged_weights(denoiser_state_path(config, stage - 1))
        model.load_state_dict(weights)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(model.unet.parameters()), "lr": stage_settings.learning_rate},
            {
                "params": list(model.text_encoder.parameters()),
                "lr": stage_settings.text_learning_rate,
            },
        ],
        weight_decay=1e-3,
        betas=(0.9, 0.99),
        fused=True,
    )
    batches = ClipBatches(config, stage)
    alphas_cumprod = make_scheduler().alphas_cumprod

    def compute_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        latents, token_ids = batches.draw(step)
        stream = generator(config.seed, "denoiser", stage, step)
        noise = draw_noise(latents.shape, settings.noise_offset, stream)
        timesteps = draw_timesteps(len(latents), len(alphas_cumprod), stream)
        abar = alphas_cumprod[timesteps]  # (B,)
        scale = abar[:, None, None, None, None]
        noisy = scale.sqrt() * latents + (1 - scale).sqrt() * noise
        error = (model(noisy, timesteps, token_ids) - noise).square().mean(dim=(1, 2, 3, 4))
        return (min_snr_weights(abar) * error).mean(), {"mse": float(error.detach().mean())}

    return run_stage(
        stage_name(stage_settings),
        StageState(model, optimizer, settings.ema_decay),
        stage_settings.num_steps,
        compute_loss,
        lambda step: cosine_schedule(
            step, stage_settings.num_steps, WARMUP_STEPS, stage_settings.final_rate
        ),
        denoiser_state_path(config, stage),
        config.checkpoint_minutes,
        stop_after,
    )


def stage_name(settings: DenoiserStageConfig) -> str:
    """Name a stage for people."""
    return f"unet, {settings.num_frames} frame{'s' if settings.num_frames > 1 else ''}"


def denoiser_state_path(config: PretrainConfig, stage: int) -> Path:
    """Where the training state of a stage of the UNet is."""
    return config.state_dir / f"denoiser-{stage}.safetensors"


def latest_stage(config: PretrainConfig) -> int | None:
    """The furthest stage of the UNet that has a state, None before the first checkpoint."""
    stages = range(len(config.denoiser.stages))
    return max((s for s in stages if denoiser_state_path(config, s).is_file()), default=None)


def load_denoiser(config: PretrainConfig, stage: int) -> tuple[TextToVideo, int]:
    """Load the averaged weights of a stage, and its step."""
    model = build_model(config)
    weights, step = read_averaged_weights(denoiser_state_path(config, stage))
    model.load_state_dict(weights)
    return model.requires_grad_(False), step
