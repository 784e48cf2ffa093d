"""The training step as one would first write it, and as the published program does: the yardstick.

The same maths as ours, and the same weights. It differs in what it spends:

* every attention layer of every pass of a UNet forms its probabilities, and keeps their average over
  heads; of a transformer each layer that is read forms the probabilities of all tokens at once;
* the pass over the true latents builds a graph that nobody walks;
* the features' passes run all down blocks, or all blocks;
* the LoRA is multiplied by zero where it shall be off, and computed by peft's own forward;
* caches are emptied after each step.

In fp32 only. The published program also encodes the prompt in each step, which is left out.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.lora_linear import separate_lora
from motionmatcher.bases.unet3d import MotionUNet
from motionmatcher.bases.wan import MotionWan
from motionmatcher.cost.step import TrainingStep
from motionmatcher.diffusion.schedules import add_noise, ddim_step, true_prediction
from motionmatcher.features.attention_maps import probabilities
from motionmatcher.features.maps import FeatureLayers, MotionFeatures, gather_features
from motionmatcher.features.recording import AttentionRecorder, Recorder
from motionmatcher.features.watching import AttentionMode
from motionmatcher.objectives.feature_matching import FeatureMatching, weigh_change
from motionmatcher.objectives.objective import Batch, TrainingLoss

Mark = Callable[[str], None]
# Denoiser -> the blocks that a pass for its features goes through.
_BLOCKS: dict[type[Denoiser], str] = {MotionUNet: "down_blocks", MotionWan: "blocks"}


def straightforward_loss(step: TrainingStep, mark: Mark = lambda phase: None) -> TrainingLoss:
    """Compute the loss of a step of feature matching in `difference` mode.

    Args:
        step: The step.
        mark: Called with a phase's name at its end.
    """
    base, settings, objective = step.base, step.settings, step.objective
    assert isinstance(objective, FeatureMatching)
    network, schedule = base.denoiser, base.schedule
    batch, timesteps = step.batch, step.batch.timesteps
    earlier = timesteps - settings.motion_extractor.num_denoise_steps
    noisy = add_noise(batch.latents, batch.noise, timesteps, schedule)  # z_t (B, C, F, h, w)

    layers = objective.extractors[0].layers
    blocks: Any = network.get_submodule(_BLOCKS[type(network)])
    recorder = _recorder(network, layers)

    def features(latents: Tensor) -> MotionFeatures:
        network.run_blocks(latents, earlier, batch.text_states, len(blocks) - 1)
        return gather_features(dict(recorder.maps), layers, len(latents))

    with recorder.attached(network), separate_lora(network):
        prediction = base.denoiser.predict(noisy, timesteps, batch.text_states)
        mark("student")
        with lora_times_zero(network):
            predicted = features(ddim_step(noisy, prediction, timesteps, earlier, schedule))
            mark("prediction features")
            truth = true_prediction(batch.latents, batch.noise, timesteps, schedule)
            # Gradients are on for the LoRA's weights, though the result is taken as a constant.
            target = features(ddim_step(noisy, truth, timesteps, earlier, schedule))
            mark("target features")
    weights = settings.loss_weights.spatial_loss, settings.loss_weights.temporal_loss
    constant = MotionFeatures(target.cross_attention.detach(), target.temporal_attention.detach())
    return weigh_change(predicted - constant, *weights)


class StraightforwardMatching(FeatureMatching):
    """Feature matching whose loss is computed so."""

    def loss(self, batch: Batch) -> TrainingLoss:
        return straightforward_loss(TrainingStep(self.base, self.settings, self, batch))


def _recorder(network: Denoiser, layers: FeatureLayers) -> Recorder:
    """Make what forms probabilities in a network's attention."""
    if isinstance(network, MotionUNet):
        return AttentionRecorder(
            [name for name, module in network.named_modules() if isinstance(module, Attention)]
        )
    return SoftmaxRecorder(layers)


class SoftmaxRecorder:
    """Reads a transformer's maps off the probabilities of all tokens, which are formed for it.

    Attributes:
        compiles: Passes that are recorded can be compiled.
        layers: What is read.
        maps: Module path -> map, as `gather_features` takes it. Filled by the pass.
    """

    compiles: ClassVar[bool] = False

    def __init__(self, layers: FeatureLayers) -> None:
        assert layers.temporal_map == "same_place"
        self.layers = layers
        self.maps: dict[str, Tensor] = {}

    def blank(self) -> "SoftmaxRecorder":
        """Make a recorder of the same modules with no maps, for a pass that is repeated."""
        return SoftmaxRecorder(self.layers)

    @contextmanager
    def attached(self, denoiser: nn.Module) -> Iterator[None]:
        """Record every pass of `denoiser` within the block."""
        names = [*self.layers.cross_attention, *self.layers.temporal_attention]
        modules: dict[str, Any] = {name: denoiser.get_submodule(name) for name in names}
        for name, module in modules.items():
            module.forward = partial(self._record, name, module.forward)
        try:
            yield
        finally:
            for module in modules.values():
                del module.forward

    def _record(
        self, name: str, forward: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        with _KeptSoftmax() as attention:
            output = forward(*args, **kwargs)
        height, width = self.layers.cross_size
        kept = attention.probabilities  # (B, H, N, N), or (B, H, N, T) of the text
        if name in self.layers.temporal_attention:
            axes = "b heads (f p) (g q) -> b heads f p g q"
            by_place = rearrange(kept, axes, p=height * width, q=height * width)
            same = by_place.diagonal(dim1=3, dim2=5).movedim(-1, 2)  # (B, H, P, F, F)
            self.maps[name] = (same / same.sum(-1, keepdim=True)).mean(1).flatten(0, 1)
        else:
            self.maps[name] = rearrange(kept.mean(1), "b (f p) t -> (b f) p t", p=height * width)
        return output


class _KeptSoftmax(AttentionMode):
    """Computes attention within the block explicitly, at once, and keeps its probabilities."""

    probabilities: Tensor

    def attend(self, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        self.probabilities = probabilities(query, key)
        return self.probabilities @ value


def empty_caches() -> None:
    """Hand back all memory that is held in reserve."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def lora_times_zero(network: Denoiser) -> Iterator[None]:
    """Multiply the LoRA's share by zero within the block; it is computed all the same."""
    layers: list[Any] = network.lora_layers()
    found = [dict(layer.scaling) for layer in layers]
    try:
        for layer in layers:
            layer.scaling = dict.fromkeys(layer.scaling, 0.0)
        yield
    finally:
        for layer, scaling in zip(layers, found, strict=True):
            layer.scaling = scaling
