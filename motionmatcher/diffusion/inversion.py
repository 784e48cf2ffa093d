"""The noise prior: the reference's noise by inversion, and how it is mixed into fresh noise.

Latents and noise are (B, C, F, h, w).
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from motionmatcher.diffusion.schedules import Predictor, Schedule, ddim_step


def invert_ddim(
    latents: Tensor,
    predictor: Predictor,
    steps: Sequence[tuple[float, float]],
    schedule: Schedule,
    progress: Callable[[Iterable], Iterable] = iter,
    repetitions: int = 0,
) -> Tensor:
    """Find the noise from which DDIM would generate given latents (DDIM, Sec. 4.3).

    The step from t' up to t evaluates the model at t on the latents at t', as is usual. Sampling
    evaluates it on those at t: each repetition of a step does so with the latents at t that were
    found last (a fixed-point iteration), and comes nearer to what sampling undoes.

    Args:
        latents: Clean latents (B, C, F, h, w).
        predictor: The base model under the empty prompt, without guidance.
        steps: What `schedule.sampling_steps` lists; walked backwards.
        schedule: The base's schedule.
        progress: Wraps the steps, e.g. in a progress bar.
        repetitions: Of each step, one evaluation of the model each.

    Returns:
        Noise (B, C, F, h, w).
    """
    for timestep, lower_timestep in progress(list(reversed(steps))):
        found = latents
        for _ in range(1 + repetitions):
            prediction = predictor(found, timestep)
            found = ddim_step(latents, prediction, lower_timestep, timestep, schedule)
        latents = found
    return latents


def to_unit_variance(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each channel of a video's noise to unit variance, as `mix_noise` takes for granted.

    Args:
        noise: Inversion noise (1, C, F, h, w).

    Returns:
        The scaled noise, and the standard deviations that it had (C,).
    """
    deviations = noise.std(dim=(0, 2, 3, 4))  # (C,)
    safe = deviations.clamp(min=torch.finfo(noise.dtype).tiny)
    return noise / safe.reshape(-1, 1, 1, 1), deviations


def mix_noise(inverted: Tensor, fresh: Tensor, noise_prior: float) -> Tensor:
    """Mix the reference's inversion noise into fresh noise: `sqrt(p) inv + sqrt(1 - p) fresh`.

    Args:
        inverted: DDIM inversion of the reference (1 or B, C, F, h, w).
        fresh: Standard normal noise (B, C, F, h, w).
        noise_prior: p in 0 … 1; the mix keeps unit variance.
    """
    return noise_prior**0.5 * inverted.to(fresh) + (1 - noise_prior) ** 0.5 * fresh
