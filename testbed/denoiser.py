"""The training of the denoiser of Moving Shapes, stage by stage, each with its number of frames.

A plain diffusion training in which the text encoder goes on learning with a smaller rate, since
the contrast of single frames taught it nothing about motion.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextModel

from motionmatcher.random_streams import generator, stream_seed
from testbed.captions import write_caption
from testbed.config import DenoiserConfig, PretrainConfig
from testbed.latents import encode_clips, load_clips, training_scene
from testbed.networks import TextToVideo
from testbed.pretraining_losses import LOSSES
from testbed.scenes import choose_frames, play_backwards, spread_evenly
from testbed.stage import StageState, cosine_schedule, read_averaged_weights, run_stage
from testbed.text import load_clip, tokenize
from testbed.tokenizer import build_tokenizer

WARMUP_STEPS = 200


def build_model(config: PretrainConfig) -> TextToVideo:
    """Make an untrained denoiser with the text side of the trained small CLIP."""
    clip, _ = load_clip(config)
    text_encoder = CLIPTextModel(clip.config.text_config)
    weights = {k: v for k, v in clip.state_dict().items() if k.startswith("text_model.")}
    own_keys = text_encoder.state_dict()
    if not any(key.startswith("text_model.") for key in own_keys):
        weights = {k.removeprefix("text_model."): v for k, v in weights.items()}
    text_encoder.load_state_dict(weights)
    return initial_model(config, text_encoder).requires_grad_(True)


def initial_model(config: PretrainConfig, text_encoder: CLIPTextModel) -> TextToVideo:
    """Join a text encoder to a denoiser whose weights the seed draws."""
    torch.manual_seed(config.seed + 2)
    return TextToVideo(config.denoiser, text_encoder)


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
        frames = config.denoiser.num_rendered_frames
        self.scenes = [training_scene(config.seed, i, frames) for i in range(len(self.latents))]
        self.tokenizer = build_tokenizer()

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the latents (B, C, F, h, w), fp32, and the token ids (B, T) of a step."""
        rng = np.random.default_rng(stream_seed(self.seed, "clips", self.stage, step))
        latents, captions = [], []
        for index in self._clip_indices(step):
            frames = self._frame_choice(rng)
            scene = choose_frames(self.scenes[index], frames)
            clip = self.latents[index, frames]
            if self.settings.reversal and rng.random() < self.settings.reversal:
                scene, clip = play_backwards(scene), clip.flip(0)
            latents.append(clip)
            caption = write_caption(scene, rng)
            dropped = rng.random() < self.settings.caption_dropout
            captions.append("" if dropped else caption)
        batch = torch.stack(latents).float().transpose(1, 2)  # (B, C, F, h, w)
        return batch, tokenize(self.tokenizer, captions)

    def _frame_choice(self, rng: np.random.Generator) -> np.ndarray:
        """Which of the rendered frames a clip has: any one, or evenly spread ones."""
        rendered, wanted = self.settings.num_rendered_frames, self.stage_settings.num_frames
        if wanted == 1:
            return rng.integers(0, rendered, 1)
        return spread_evenly(rendered, wanted)

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


def train_denoiser(config: PretrainConfig, stage: int, stop_after: int | None = None) -> bool:
    """Train one stage of the denoiser, or go on with it; returns True when it is complete."""
    settings, stage_settings = config.denoiser, config.denoiser.stages[stage]
    encode_clips(config)
    model = build_model(config)
    if stage > 0:
        weights, _ = read_averaged_weights(denoiser_state_path(config, stage - 1))
        model.load_state_dict(weights)
    text = list(model.text_encoder.parameters())
    denoiser = [p for n, p in model.named_parameters() if not n.startswith("text_encoder.")]
    optimizer = torch.optim.AdamW(
        [
            {"params": denoiser, "lr": stage_settings.learning_rate},
            {"params": text, "lr": stage_settings.text_learning_rate},
        ],
        weight_decay=1e-3,
        betas=(0.9, 0.99),
        fused=True,
    )
    batches = ClipBatches(config, stage)
    compute_denoising_loss = LOSSES[settings.objective]

    def compute_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        latents, token_ids = batches.draw(step)
        stream = generator(config.seed, "denoiser", stage, step)
        loss, values = compute_denoising_loss(
            model, latents, token_ids, settings.noise_offset, stream
        )
        if model.position_head is not None:
            position_loss = model.position_loss()
            loss = loss + position_weight(settings, step / stage_settings.num_steps) * position_loss
            values["position_loss"] = float(position_loss.detach())
        return loss, values

    return run_stage(
        stage_name(config, stage),
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


def position_weight(settings: DenoiserConfig, progress: float) -> float:
    """Weight of the position head's loss when `progress`, 0 to 1, of the stage is done."""
    assert settings.transformer is not None
    first, last = settings.transformer.position_weight, settings.transformer.final_position_weight
    return first + (last - first) * progress


def denoiser_name(settings: DenoiserConfig) -> str:
    """The name of the denoiser's part in a base's folder."""
    return "unet" if settings.unet is not None else "transformer"


def stage_name(config: PretrainConfig, stage: int) -> str:
    """Name a stage for people."""
    frames = config.denoiser.stages[stage].num_frames
    return f"{denoiser_name(config.denoiser)}, {frames} frame{'s' if frames > 1 else ''}"


def denoiser_state_path(config: PretrainConfig, stage: int) -> Path:
    """Where the training state of a stage of the denoiser is."""
    return config.state_dir / f"denoiser-{stage}.safetensors"


def latest_stage(config: PretrainConfig) -> int | None:
    """The furthest stage of the denoiser that has a state, None before the first checkpoint."""
    stages = range(len(config.denoiser.stages))
    return max((s for s in stages if denoiser_state_path(config, s).is_file()), default=None)


def load_denoiser(config: PretrainConfig, stage: int) -> tuple[TextToVideo, int]:
    """Load the averaged weights of a stage, and its step."""
    model = build_model(config)
    weights, step = read_averaged_weights(denoiser_state_path(config, stage))
    model.load_state_dict(weights)
    return model.requires_grad_(False), step
