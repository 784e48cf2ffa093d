"""Generate videos: denoising with guidance, the noise prior, and the LoRA on at high noise only.

Previews and inference both come here, so that they cannot differ.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.denoiser import PassMode
from motionmatcher.config.settings import TrainSettings
from motionmatcher.diffusion.inversion import invert_ddim, mix_noise, to_unit_variance
from motionmatcher.diffusion.schedules import Predictor, Schedule
from motionmatcher.diffusion.solvers import check_solver, make_solver, solve
from motionmatcher.errors import UserError
from motionmatcher.finiteness import require_finite
from motionmatcher.random_streams import video_noise

Progress = Callable[[Iterable], Iterable]

_NOT_FINITE_ADVICE = (
    "lower guidance_scale or lora_scale, take an earlier checkpoint, or use mixed_precision bf16 or "
    "no."
)


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How videos are generated.

    Attributes:
        num_frames: Frames.
        width: Pixels.
        height: Pixels.
        num_inference_steps: Steps of the solver.
        guidance_scale: Classifier-free guidance; 1 is off.
        lora_scale: Scale of the LoRA; 0 is the base model.
        noise_prior: Share of the reference's inversion noise in the start noise, 0 … 1.
        min_timestep: Lowest place in the schedule at which the LoRA is on; below, the base paints the
            details.
        negative_prompt: What guidance leads away from.
        scheduler: The solver, one of `settings.SCHEDULERS`; None for the base's own.
    """

    num_frames: int
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    lora_scale: float
    noise_prior: float
    min_timestep: int
    negative_prompt: str = ""
    scheduler: str | None = None

    @property
    def further_prompts(self) -> list[str]:
        """What is encoded beside the videos' prompts: the negative one, and the inversion's empty one."""
        return [self.negative_prompt, *([""] if self.noise_prior > 0 else [])]

    @classmethod
    def of_run(cls, settings: TrainSettings) -> "SamplingSettings":
        """Take the previews' sampling settings of a run's resolved settings."""
        validation = settings.validation_data
        assert validation.num_frames is not None
        assert validation.width is not None
        assert validation.height is not None
        return cls(
            num_frames=validation.num_frames,
            width=validation.width,
            height=validation.height,
            num_inference_steps=validation.num_inference_steps,
            guidance_scale=validation.guidance_scale,
            lora_scale=validation.lora_scale,
            noise_prior=validation.noise_prior,
            min_timestep=settings.min_timestep,
            negative_prompt=validation.negative_prompt,
            scheduler=validation.scheduler,
        )


def settle_solver(settings: TrainSettings, schedule: Schedule) -> TrainSettings:
    """Settle what `validation_data.scheduler` leaves to the base by null."""
    validation = settings.validation_data
    solver = validation.scheduler or schedule.own_solver
    return replace(settings, validation_data=replace(validation, scheduler=solver))


def check_sampling(schedule: Schedule, sampling: SamplingSettings, steps_key: str) -> None:
    """Refuse a solver, or more steps, than the base's schedule goes with.

    Args:
        schedule: The base's.
        sampling: How videos shall be generated.
        steps_key: What the number of steps is called.

    Raises:
        UserError: Names the setting and what it can be.
    """
    if sampling.scheduler is not None:
        check_solver(sampling.scheduler, schedule)
    most, num_steps = schedule.max_sampling_steps, sampling.num_inference_steps
    if num_steps > most:
        raise UserError(
            f"{steps_key} must be at most {most} for this base's schedule, not {num_steps}."
        )


@torch.no_grad()
def sample_latents(
    base: BaseModel,
    text_states: Tensor,
    negative_states: Tensor,
    seeds: Sequence[int],
    settings: SamplingSettings,
    inversion_noise: Tensor | None,
    progress: Progress = iter,
) -> Tensor:
    """Generate one batch of videos' latents.

    Args:
        base: The base model with the LoRA.
        text_states: One encoded prompt a video (B, T, D).
        negative_states: The encoded negative prompt (1, T, D).
        seeds: One seed a video; fixes its fresh noise, whatever the batch.
        settings: How to sample.
        inversion_noise: The reference's inversion (1, C, F, h, w); needed when noise_prior > 0.
        progress: Wraps the steps, e.g. in a progress bar.

    Returns:
        Latents (B, C, F, h, w), fp32.

    Raises:
        NotFiniteError: The latents hold NaN or infinity.
    """
    shape = base.codec.latent_shape(settings.num_frames, settings.width, settings.height)
    latents = video_noise(seeds, shape).to(base.device)  # (B, C, F, h, w)
    if settings.noise_prior > 0:
        assert inversion_noise is not None, "a noise prior needs the reference's inversion"
        # z_T = sqrt(p) inv + sqrt(1 - p) eps, which keeps unit variance; eps is each seed's own.
        latents = mix_noise(inversion_noise.to(base.device), latents, settings.noise_prior)

    return denoise_with_gate(base, latents, text_states, negative_states, settings, progress)


@torch.no_grad()
def denoise_with_gate(
    base: BaseModel,
    latents: Tensor,
    text_states: Tensor,
    negative_states: Tensor,
    settings: SamplingSettings,
    progress: Progress = iter,
) -> Tensor:
    """Denoise start noise, with the LoRA for the steps down to `min_timestep` only.

    Args:
        base: The base model with the LoRA.
        latents: Start noise (B, C, F, h, w).
        text_states: One encoded prompt a video (B, T, D).
        negative_states: The encoded negative prompt (1, T, D).
        settings: How to sample.
        progress: Wraps the steps, e.g. in a progress bar.

    Returns:
        Latents (B, C, F, h, w).

    Raises:
        NotFiniteError: The latents hold NaN or infinity.
    """
    predictor = guided_predictor(base, text_states, negative_states, settings.guidance_scale)
    schedule = base.schedule
    solver = make_solver(
        settings.scheduler or schedule.own_solver, schedule, settings.num_inference_steps
    )
    lowest_with_lora = schedule.timestep_at(settings.min_timestep)
    num_with_lora = sum(timestep >= lowest_with_lora for timestep in solver.timesteps)
    # High noise decides motion: there the LoRA is on. Below min_timestep the base paints the details.
    remaining = iter(progress(solver.timesteps))
    with base.denoiser.lora_at(settings.lora_scale):
        with_lora = itertools.islice(remaining, num_with_lora)
        latents = solve(latents, predictor, with_lora, solver)
    with base.denoiser.in_mode(PassMode(lora=False)):
        latents = solve(latents, predictor, remaining, solver)
    require_finite(latents, "the generated latents", _NOT_FINITE_ADVICE)
    return latents


def guided_predictor(
    base: BaseModel, text_states: Tensor, negative_states: Tensor, guidance_scale: float
) -> Predictor:
    """Combine the prompt's and the negative prompt's predictions (arXiv:2207.12598, Eq. 6).

    Args:
        base: The base model.
        text_states: One encoded prompt a video (B, T, D).
        negative_states: The encoded negative prompt (1, T, D).
        guidance_scale: 1 is off.
    """
    both_states = torch.cat([negative_states.expand_as(text_states), text_states])  # (2B, T, D)

    def predict(latents: Tensor, timestep: float) -> Tensor:
        if guidance_scale == 1:
            return base.denoiser.predict(latents, timestep, text_states)
        # One pass for both halves: (2B, C, F, h, w).
        both = base.denoiser.predict(torch.cat([latents, latents]), timestep, both_states)
        unconditional, conditional = both.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    return predict


@dataclass(frozen=True)
class Inversion:
    """The noise that inverting the reference found.

    Attributes:
        noise: (1, C, F, h, w), fp32.
        deviations: Of a flow, the standard deviation that each channel had before it was brought to 1.
    """

    noise: Tensor
    deviations: tuple[float, ...] = ()


@torch.no_grad()
def invert_reference(
    base: BaseModel,
    latents: Tensor,
    empty_states: Tensor,
    num_steps: int,
    progress: Progress = iter,
    iterations: int | None = None,
) -> Inversion:
    """Invert the reference with the base model (LoRA off) under the empty prompt.

    The noise of a flow comes out too weak, and is brought to the unit variance that mixing it takes for
    granted; that of DDIM stays as it is, as published.

    Args:
        base: The base model.
        latents: Reference latents (1, C, F, h, w).
        empty_states: The encoded empty prompt (1, T, D).
        num_steps: Steps.
        progress: Wraps the steps, e.g. in a progress bar.
        iterations: How often each step is repeated; None for as often as the schedule wants it.
    """

    def predict(latents: Tensor, timestep: float) -> Tensor:
        return base.denoiser.predict(latents, timestep, empty_states)

    schedule = base.schedule
    repetitions = schedule.inversion_iterations if iterations is None else iterations
    steps = schedule.sampling_steps(num_steps)
    with base.denoiser.in_mode(PassMode(lora=False)):
        noise = invert_ddim(
            latents.to(base.device), predict, steps, schedule, progress, repetitions
        )
    if schedule.prediction_type != "flow_prediction":
        return Inversion(noise)
    scaled, deviations = to_unit_variance(noise)
    return Inversion(scaled, tuple(deviations.tolist()))
