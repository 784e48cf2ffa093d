"""The two ways a denoiser of Moving Shapes learns: to predict noise, or a flow's velocity."""

from functools import cache

import torch
from torch import Tensor

from testbed.networks import TextToVideo, make_scheduler

MAX_SNR_WEIGHT = 5.0  # gamma of min-SNR
# Noise levels of flow matching: logit-normal (arXiv:2403.03206, section 3.1), since motion is
# chosen at high noise with more weight there, and a part evenly so that none is left out.
SIGMA_LOGIT_MEAN, SIGMA_LOGIT_DEVIATION = 0.8, 1.0
EVEN_SIGMAS = 0.2


def draw_noise(shape: torch.Size, offset: float, stream: torch.Generator) -> Tensor:
    """Draw noise (B, C, F, h, w) with a part of deviation `offset` that a clip's channel shares."""
    shared = torch.randn(*shape[:2], 1, 1, 1, generator=stream)
    return torch.randn(shape, generator=stream) + offset * shared


def draw_evenly(batch_size: int, stream: torch.Generator) -> Tensor:
    """Draw one number from each of `batch_size` equal parts of [0, 1), in random order."""
    parts = (torch.arange(batch_size) + torch.rand(batch_size, generator=stream)) / batch_size
    return parts[torch.randperm(batch_size, generator=stream)]


def draw_sigmas(batch_size: int, stream: torch.Generator) -> Tensor:
    """Draw the noise levels (B,) of flow matching, in (0, 1)."""
    even = draw_evenly(batch_size, stream)
    normal = torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6))
    logit_normal = torch.sigmoid(SIGMA_LOGIT_MEAN + SIGMA_LOGIT_DEVIATION * normal)
    return torch.where(torch.rand(batch_size, generator=stream) < EVEN_SIGMAS, even, logit_normal)


@cache
def _alphas_cumprod() -> Tensor:
    alphas: Tensor = make_scheduler("epsilon").alphas_cumprod
    return alphas


def min_snr_weights(alphas_cumprod: Tensor) -> Tensor:
    """Weights of the epsilon loss: min(SNR, gamma) / SNR (arXiv:2303.09556, equation 6)."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(max=MAX_SNR_WEIGHT) / snr


def epsilon_loss(
    model: TextToVideo, latents: Tensor, token_ids: Tensor, offset: float, stream: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Compute the loss of noise prediction with min-SNR weights.

    Args:
        model: Predicts the noise.
        latents: (B, C, F, h, w) clean latents.
        token_ids: (B, T) their captions.
        offset: Standard deviation of the part of the noise that a clip's channel shares.
        stream: Draws noise and timesteps.

    Returns:
        The loss, and values to log.
    """
    alphas_cumprod = _alphas_cumprod()
    noise = draw_noise(latents.shape, offset, stream)
    timesteps = (draw_evenly(len(latents), stream) * len(alphas_cumprod)).long()
    abar = alphas_cumprod[timesteps]  # (B,)
    scale = abar[:, None, None, None, None]
    noisy = scale.sqrt() * latents + (1 - scale).sqrt() * noise
    error = (model(noisy, timesteps, token_ids) - noise).square().mean(dim=(1, 2, 3, 4))
    return (min_snr_weights(abar) * error).mean(), {"mse": float(error.detach().mean())}


def flow_loss(
    model: TextToVideo, latents: Tensor, token_ids: Tensor, offset: float, stream: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Compute the loss of flow matching (arXiv:2209.03003): z = (1 - s) z_0 + s noise, v = noise - z_0.

    Args and Returns are those of `epsilon_loss`.
    """
    noise = draw_noise(latents.shape, offset, stream)
    sigmas = draw_sigmas(len(latents), stream)
    error = velocity_error(model, latents, token_ids, noise, sigmas).mean()
    return error, {"mse": float(error.detach())}


def velocity_error(
    model: TextToVideo, latents: Tensor, token_ids: Tensor, noise: Tensor, sigmas: Tensor
) -> Tensor:
    """Compute the mean squared error (B,) of the velocity at noise levels `sigmas` (B,)."""
    scale = sigmas[:, None, None, None, None]
    noisy = (1 - scale) * latents + scale * noise
    velocity = model(noisy, 1000 * sigmas, token_ids)
    return (velocity - (noise - latents)).square().mean(dim=(1, 2, 3, 4))


LOSSES = {"epsilon": epsilon_loss, "flow": flow_loss}
