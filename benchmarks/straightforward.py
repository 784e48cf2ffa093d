"""The training step as one would first write it, and as the published program does: the yardstick.

The same maths as ours, and the same weights. It differs in what it spends:

* every attention layer of every pass forms its probabilities, and keeps their average over heads;
* the pass over the true latents builds a graph that nobody walks;
* the features' passes run all down blocks;
* the LoRA is multiplied by zero where it shall be off, and computed by peft's own forward;
* caches are emptied after each step.

In fp32 only. The published program also encodes the prompt in each step, which is left out.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.lora_linear import separate_lora
from motionmatcher.cost.step import TrainingStep
from motionmatcher.diffusion.schedules import add_noise, ddim_step, true_prediction
from motionmatcher.features.maps import MotionFeatures, gather_features
from motionmatcher.features.recording import AttentionRecorder
from motionmatcher.objectives.feature_matching import FeatureMatching, match_features
from motionmatcher.objectives.objective import TrainingLoss

Mark = Callable[[str], None]


def straightforward_loss(step: TrainingStep, mark: Mark = lambda phase: None) -> TrainingLoss:
    """Compute the loss of a step of feature matching in `difference` mode.

    Args:
        step: The step.
        mark: Called with a phase's name at its end.
    """
    base, settings, objective = step.base, step.settings, step.objective
    assert isinstance(objective, FeatureMatching)
    unet, schedule = base.denoiser, base.schedule
    batch, timesteps = step.batch, step.batch.timesteps
    earlier = timesteps - settings.motion_extractor.num_denoise_steps
    noisy = add_noise(batch.latents, batch.noise, timesteps, schedule)  # z_t (B, C, F, h, w)

    recorder = AttentionRecorder(
        [name for name, module in unet.named_modules() if isinstance(module, Attention)]
    )

    def features(latents: Tensor) -> MotionFeatures:
        unet.run_blocks(latents, earlier, batch.text_states, len(unet.down_blocks) - 1)
        return gather_features(dict(recorder.maps), objective.extractor.layers, len(latents))

    with recorder.attached(unet), separate_lora(unet):
        prediction = base.denoiser.predict(noisy, timesteps, batch.text_states)
        mark("student")
        with lora_times_zero(unet):
            predicted = features(ddim_step(noisy, prediction, timesteps, earlier, schedule))
            mark("prediction features")
            truth = true_prediction(batch.latents, batch.noise, timesteps, schedule)
            # Gradients are on for the LoRA's weights, though the result is taken as a constant.
            target = features(ddim_step(noisy, truth, timesteps, earlier, schedule))
            mark("target features")
    weights = settings.loss_weights.spatial_loss, settings.loss_weights.temporal_loss
    constant = MotionFeatures(target.cross_attention.detach(), target.temporal_attention.detach())
    return match_features(predicted, constant, *weights)


def empty_caches() -> None:
    """Hand back all memory that is held in reserve."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def lora_times_zero(unet: Denoiser) -> Iterator[None]:
    """Multiply the LoRA's share by zero within the block; it is computed all the same."""
    layers: list[Any] = unet.lora_layers()
    found = [dict(layer.scaling) for layer in layers]
    try:
        for layer in layers:
            layer.scaling = dict.fromkeys(layer.scaling, 0.0)
        yield
    finally:
        for layer, scaling in zip(layers, found, strict=True):
            layer.scaling = scaling
