"""What one training step minimises: the method's feature matching, or a pixel-level objective."""

from dataclasses import dataclass

import torch
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.schedules import (
    add_noise,
    ddim_step,
    prediction_scale,
    true_prediction,
)
from motionmatcher.features.extractor import MotionExtractor
from motionmatcher.objectives.losses import (
    TrainingLoss,
    debiased_loss,
    denoising_loss,
    frame_difference_loss,
    match_features,
    vmc_loss,
    weigh_change,
)
from motionmatcher.random_streams import generator


@dataclass(frozen=True)
class Batch:
    """What is drawn for one batch.

    Attributes:
        noise: The true noise (B, C, F, h, w).
        timesteps: One a batch element (B,).
        anchor_frame: Index of the frame that MotionDirector's loss takes off.
    """

    noise: Tensor
    timesteps: Tensor
    anchor_frame: int


def draw_batch(settings: TrainSettings, base: BaseModel, latents: Tensor, *place: int) -> Batch:
    """Draw a batch on the CPU, from the random streams of its place.

    Args:
        settings: Batch size, lowest timestep, offset noise, seed.
        base: Its schedule is the range of timesteps.
        latents: Reference latents (1, C, F, h, w), whose shape and device the noise takes.
        place: Step, accumulation step, process.
    """
    batch_size = settings.train_batch_size
    shape = (batch_size, *latents.shape[1:])
    noise = torch.randn(shape, generator=generator(settings.seed, "noise", *place))
    if settings.use_offset_noise:
        offsets = torch.randn(
            *shape[:3], 1, 1, generator=generator(settings.seed, "offset noise", *place)
        )
        noise = noise + settings.offset_noise_strength * offsets
    timesteps = torch.randint(
        settings.min_timestep,
        base.schedule.num_train_timesteps,
        (batch_size,),
        generator=generator(settings.seed, "timesteps", *place),
    )
    anchor = torch.randint(
        latents.shape[2], (), generator=generator(settings.seed, "anchor frame", *place)
    )
    return Batch(noise.to(latents), timesteps.to(latents.device), int(anchor))


def training_loss(
    base: BaseModel,
    extractor: MotionExtractor,
    latents: Tensor,
    batch: Batch,
    text_states: Tensor,
    settings: TrainSettings,
) -> TrainingLoss:
    """Compute the loss of the settings' objective for one batch.

    Args:
        base: The base model; its LoRA is on, as the student.
        extractor: Reads motion features with the LoRA off.
        latents: Clean reference latents (1 or B, C, F, h, w).
        batch: What was drawn.
        text_states: The reference's encoded prompt (1 or B, T, D).
        settings: Objective, step length and weights.
    """
    batch_size = len(batch.noise)
    inputs = (
        latents.expand(batch_size, -1, -1, -1, -1),
        batch.noise,
        batch.timesteps,
        text_states.expand(batch_size, -1, -1),
    )
    if settings.objective == "feature_matching":
        return motion_loss(base, extractor, *inputs, settings)
    return pixel_loss(base, *inputs, batch.anchor_frame, settings)


def motion_loss(
    base: BaseModel,
    extractor: MotionExtractor,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    text_states: Tensor,
    settings: TrainSettings,
) -> TrainingLoss:
    """Compute the method's loss for one batch (Sec. 3.3).

    Args:
        base: The base model; its LoRA is on, as the student.
        extractor: Reads motion features with the LoRA off.
        latents: Clean reference latents (B, C, F, h, w).
        noise: The true noise (B, C, F, h, w).
        timesteps: One a batch element (B,).
        text_states: The reference's encoded prompt (B, T, D).
        settings: Step length, mode and weights.
    """
    noisy = add_noise(latents, noise, timesteps, base.schedule)  # z_t (B, C, F, h, w)
    earlier = timesteps - settings.motion_extractor.num_denoise_steps
    weights = settings.loss_weights.spatial_loss, settings.loss_weights.temporal_loss

    # One short step from z_t with the true prediction.
    truth = true_prediction(latents, noise, timesteps, base.schedule)
    true_latents = ddim_step(noisy, truth, timesteps, earlier, base.schedule)

    if settings.motion_extractor.mode == "tangent":
        # The same step with the student's prediction ends this much further.
        error = base.denoiser.predict(noisy, timesteps, text_states) - truth
        scale = prediction_scale(timesteps, earlier, base.schedule, like=error)
        return weigh_change(
            extractor.change(true_latents, scale * error, earlier, text_states), *weights
        )

    with torch.no_grad():  # before the student: no graph takes memory yet
        target = extractor(true_latents, earlier, text_states)
    # The same step from the same z_t with the student's prediction.
    prediction = base.denoiser.predict(noisy, timesteps, text_states)
    predicted_latents = ddim_step(noisy, prediction, timesteps, earlier, base.schedule)
    predicted = extractor(predicted_latents, earlier, text_states)
    return match_features(predicted, target, *weights)


def pixel_loss(
    base: BaseModel,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    text_states: Tensor,
    anchor_frame: int,
    settings: TrainSettings,
) -> TrainingLoss:
    """Compute one of the objectives that the method is compared with, on the prediction itself.

    Args:
        base: The base model; its LoRA is on, as the student.
        latents: Clean reference latents (B, C, F, h, w).
        noise: The true noise (B, C, F, h, w).
        timesteps: One a batch element (B,).
        text_states: The reference's encoded prompt (B, T, D).
        anchor_frame: The frame that MotionDirector's loss takes off.
        settings: The objective.
    """
    noisy = add_noise(latents, noise, timesteps, base.schedule)
    truth = true_prediction(latents, noise, timesteps, base.schedule)
    prediction = base.denoiser.predict(noisy, timesteps, text_states)
    match settings.objective:
        case "denoising":
            return denoising_loss(prediction, truth)
        case "frame_difference":
            return frame_difference_loss(prediction, truth)
        case "vmc":
            return vmc_loss(prediction, truth)
        case "motiondirector":
            return debiased_loss(prediction, truth, anchor_frame)
    raise AssertionError(settings.objective)
