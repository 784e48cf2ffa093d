"""The motion feature extractor: the frozen base, read at chosen attention modules."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.features.maps import MotionFeatures, Size


class MotionExtractor:
    """Reads motion features of noisy latents with the frozen base (Sec. 3.2).

    Calling it gives features in fp32 (fp64 for fp64 weights), weights in half precision upcast layer
    by layer: one DDIM step moves latents so little that half precision would put errors of 30 % and
    more on the difference of two calls. `change` gives that difference to first order without
    subtracting anything, so half precision does for it.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        latent_size: Size,
        settings: MotionExtractorSettings,
        num_own_tokens: int | None = None,
    ) -> None:
        """Choose the layers.

        Args:
            denoiser: The base, with or without a LoRA; the LoRA is off while features are extracted.
            latent_size: Height and width of the latents.
            settings: Which maps.
            num_own_tokens: How many of the text states are the prompt's own; None for all of them.

        Raises:
            UserError: The base has no such maps.
        """
        self.denoiser = denoiser
        layers = denoiser.choose_layers(denoiser.config, latent_size, settings)
        self.layers = replace(layers, num_own_tokens=num_own_tokens)

    def __call__(self, latents: Tensor, timesteps: Tensor, text_states: Tensor) -> MotionFeatures:
        """Extract the features of noisy latents.

        Args:
            latents: (B, C, F, h, w), fp32 or fp64.
            timesteps: One a batch element (B,).
            text_states: Encoded prompts (B, T, D).
        """
        return self._read(latents, timesteps, text_states, full_precision=True)

    def change(
        self, latents: Tensor, step: Tensor, timesteps: Tensor, text_states: Tensor
    ) -> MotionFeatures:
        """Compute how the features change with a small step of the latents, to first order.

        This is the features' Jacobian at the latents times the step: one pass with dual numbers.
        It keeps no graph, for it is linear in the step, and its gradient is the transposed Jacobian's
        product: an ordinary backward pass, with gradient checkpointing where that is on.

        Args:
            latents: Where the Jacobian is taken (B, C, F, h, w); no gradient flows here.
            step: The step, same shape; gradient flows here.
            timesteps: One a batch element (B,).
            text_states: Encoded prompts (B, T, D).

        Returns:
            The change of both kinds of maps, fp32 (fp64 for fp64 weights).
        """
        latents = latents.detach()

        def features_at(point: Tensor) -> tuple[Tensor, Tensor]:
            features = self._read(point, timesteps, text_states, full_precision=False)
            return features.cross_attention, features.temporal_attention

        with (
            torch.no_grad(),
            without_torch_s_warnings(),
            forward_ad.dual_level(),
            self.denoiser.taking_dual_numbers(),
        ):
            # A step of unit size stays within the range of half precision.
            size = _positive(step.detach().square().mean().sqrt())
            dual = forward_ad.make_dual(latents, step.detach() / size)
            tangents = [forward_ad.unpack_dual(maps).tangent for maps in features_at(dual)]
            change = [size * tangent.to(latents.dtype) for tangent in tangents]

        cross, temporal = _LinearInStep.apply(step, features_at, latents, *change)
        return MotionFeatures(cross, temporal)

    def _read(
        self, latents: Tensor, timesteps: Tensor, text_states: Tensor, full_precision: bool
    ) -> MotionFeatures:
        return self.denoiser.read_maps(latents, timesteps, text_states, self.layers, full_precision)


@contextmanager
def without_torch_s_warnings() -> Iterator[None]:
    """Keep back what torch's own forward mode is warned of by torch: `torch.jit.script` is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        yield


class _LinearInStep(torch.autograd.Function):
    """Ties a Jacobian's product to the step that it was taken with, for backward."""

    @staticmethod
    def forward(
        ctx: Any,
        step: Tensor,
        features_at: Callable[[Tensor], tuple[Tensor, ...]],
        latents: Tensor,
        *change: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.features_at, ctx.latents = features_at, latents
        return tuple(tensor.clone() for tensor in change)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        # Gradients of the loss are tiny: half precision sees them at unit size.
        size = _positive(torch.stack([cotangent.abs().amax() for cotangent in cotangents]).amax())
        point = ctx.latents.clone().requires_grad_()
        with torch.enable_grad():
            features = ctx.features_at(point)
        units = [
            (cotangent / size).to(maps.dtype)
            for cotangent, maps in zip(cotangents, features, strict=True)
        ]
        (gradient,) = torch.autograd.grad(features, point, units)
        return size * gradient, None, None, *[None] * len(cotangents)


def _positive(size: Tensor) -> Tensor:
    """Make a size safe to divide by: of a zero step or gradient it is zero."""
    return size.clamp(min=torch.finfo(size.dtype).tiny)
