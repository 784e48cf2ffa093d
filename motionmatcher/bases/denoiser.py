"""What every denoiser is: student and frozen base with one set of weights, and what its class says of it.

As the *student*, LoRA is on. As the *frozen base*, LoRA is off. Which part a pass plays is its
`PassMode`; a recomputation during backward takes the mode of the forward pass it repeats, whatever the
mode is by then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, ClassVar, NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.loaders.peft import PeftAdapterMixin
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motionmatcher.bases.config_file import BaseConfig
from motionmatcher.bases.full_precision import FullPrecisionLayers
from motionmatcher.bases.recomputation import keep_products_only
from motionmatcher.config.settings import MotionExtractorSettings
from motionmatcher.features.dual_attention import DualAttention
from motionmatcher.features.maps import FeatureLayers, MotionFeatures, Size, gather_features
from motionmatcher.features.recording import AttentionRecorder, Recorder


@dataclass(frozen=True)
class PassMode:
    """How a pass of the denoiser computes.

    Attributes:
        lora: LoRA is on (the student) or off (the frozen base).
        recorder: Records attention maps; None records nothing.
        full_precision: Weights stored in half precision are upcast to fp32 layer by layer.
    """

    lora: bool = True
    recorder: Recorder | None = None
    full_precision: bool = False


class ShortNetwork(NamedTuple):
    """A network with some of its blocks left out.

    Attributes:
        config: Its config.
        settings: Which maps are wanted, with its numbers of blocks.
        repeats: Path of each block -> how many of the whole network's it stands for. Neither the first
            nor the last block of a pass stands for others.
    """

    config: Mapping[str, Any]
    settings: MotionExtractorSettings
    repeats: Mapping[str, int]


class Denoiser(ModelMixin, ConfigMixin, PeftAdapterMixin):
    """A text-to-video network of diffusers that plays student and frozen base.

    A subclass is one network: it also derives from diffusers' class, says what is declared here, and
    needs no weights for any of it. The base is always in eval mode, for some networks have dropout
    that the pretrained weights never saw; `train()` wakes LoRA's own dropout alone.

    Attributes:
        layer_classes: The layers that are recomputed and compiled each as one.
        input_layer: Path of the first layer, which latents go into.
        channels_key: The key of its config that says how many channels latents have.
        text_width_key: The key of its config that says how wide text states are.
        precisions: Values of `mixed_precision` that its weights stand.
        uses_autocast: In half precision it computes under autocast, not as its weights are.
        lora_kinds: Kinds of modules that can get an adapter, of `LORA_TARGETS`.
        pipeline: The name of diffusers' pipeline that it is a part of.
        lora_prefix: What names in its adapter files begin with, as its diffusers pipeline reads them; empty
            where that reads none.
        comfyui_modules: What ComfyUI calls those modules of its blocks; empty when it has no such names.
    """

    layer_classes: ClassVar[tuple[type[nn.Module], ...]]
    input_layer: ClassVar[str]
    channels_key: ClassVar[str] = "in_channels"
    text_width_key: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("no", "fp16", "bf16")
    uses_autocast: ClassVar[bool] = True
    lora_kinds: ClassVar[tuple[str, ...]] = ("attention",)
    pipeline: ClassVar[str]
    lora_prefix: ClassVar[str] = ""
    comfyui_modules: ClassVar[Mapping[str, str]] = {}

    # --- what each network says

    @classmethod
    def check_config(cls, config: BaseConfig) -> None:
        """Check its `config.json`.

        Raises:
            UserError: Names the file and the key that it cannot be built with.
        """
        raise NotImplementedError

    @classmethod
    def choose_layers(
        cls, config: Mapping[str, Any], latent_size: Size, settings: MotionExtractorSettings
    ) -> FeatureLayers:
        """Choose the attention modules that motion features are made of.

        Args:
            config: The network's.
            latent_size: Height and width of the latents.
            settings: Which maps are wanted.

        Raises:
            UserError: It has no such maps; names the setting.
        """
        raise NotImplementedError

    @classmethod
    def shortened(
        cls, config: Mapping[str, Any], settings: MotionExtractorSettings
    ) -> ShortNetwork:
        """Leave out blocks that cost what others do, to count a step by those that are left.

        Args:
            config: The network's.
            settings: Which maps are wanted.

        Raises:
            UserError: As `choose_layers`.
        """
        return ShortNetwork(config, settings, {})

    @classmethod
    def max_frames(cls, config: Mapping[str, Any]) -> int | None:
        """The most frames that latents can have; None when there is no such bound."""
        return None

    @classmethod
    def max_side(cls, config: Mapping[str, Any]) -> int | None:
        """The most latents in a row, in height and in width; None when there is no such bound."""
        return None

    @classmethod
    def num_tokens(cls, config: Mapping[str, Any], latent_shape: Sequence[int]) -> int | None:
        """How many tokens a transformer makes of a video's latents (…, F, h, w); None for other networks."""
        return None

    @classmethod
    def patch_size(cls, config: Mapping[str, Any]) -> int:
        """How many latents in a row, in height and in width, it takes as one."""
        return 1

    @classmethod
    def least_values(cls, config: Mapping[str, Any], latent_shape: Sequence[int]) -> int:
        """How many numbers its first layer's output holds, for latents of a shape (B, C, F, h, w)."""
        raise NotImplementedError

    def lora_targets(self, kind: str) -> list[str]:
        """List the modules of one of its `lora_kinds`, without adapters' own `base_layer`."""
        raise NotImplementedError

    def recorder(self, layers: FeatureLayers, num_frames: int) -> Recorder:
        """Make what records the maps of a pass, in the layout that `gather_features` takes.

        Args:
            layers: What `choose_layers` chose.
            num_frames: F, of the latents.
        """
        return AttentionRecorder(layers.cross_attention + layers.temporal_attention)

    def run_blocks(
        self, latents: Tensor, timesteps: Tensor, text_states: Tensor, last_block: int
    ) -> None:
        """Run as far as one block, for the maps that a recorder takes on the way.

        Nothing after the last layer of that block that is read is computed.

        Args:
            latents: Noisy latents (B, C, F, h, w).
            timesteps: One a batch element (B,), or one for all (1,).
            text_states: Encoded prompts (B, T, D).
            last_block: Index of the last block to run.
        """
        raise NotImplementedError

    # --- what all of them do

    # The state of the pass under way. A class attribute as default, since diffusers builds the
    # module by itself; an instance holds its own once it enters a mode.
    _mode = PassMode()
    _recomputed = "none"
    _compiler: str | None = None
    # The LoRA layers inside the network, or a layer that is recomputed. To look for them at each change
    # of mode takes a tenth of a small base's training.
    _found_lora: Mapping[nn.Module, list[LoraLayer]] = {}

    def train(self, mode: bool = True) -> "Denoiser":
        """Switch LoRA's dropout on or off; the base stays in eval mode."""
        super().train(False)
        for layer in self.lora_layers():
            layer.lora_dropout.train(mode)
        self.training = mode
        return self

    @property
    def weight_dtype(self) -> torch.dtype:
        """Dtype of the frozen weights."""
        dtype: torch.dtype = self.get_submodule(self.input_layer).weight.dtype
        return dtype

    @property
    def text_width(self) -> int:
        """D, the width of the text states that it takes."""
        width: int = self.config[self.text_width_key]
        return width

    def predict(self, latents: Tensor, timesteps: Tensor | float, text_states: Tensor) -> Tensor:
        """Predict noise or velocity, in the precision of the weights.

        Args:
            latents: Noisy latents (B, C, F, h, w).
            timesteps: One timestep, or one a batch element (B,).
            text_states: Encoded prompts (B, T, D).

        Returns:
            The prediction (B, C, F, h, w): fp32, or fp64 for fp64 weights.
        """
        dtype = self.weight_dtype
        half = dtype.itemsize < 4
        with torch.autocast(latents.device.type, dtype, enabled=half and self.uses_autocast):
            prediction = self(latents.to(dtype), timesteps, text_states.to(dtype)).sample
        return prediction.float() if half else prediction

    def read_maps(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text_states: Tensor,
        layers: FeatureLayers,
        full_precision: bool,
    ) -> MotionFeatures:
        """Read motion features of noisy latents as the frozen base.

        Args:
            latents: (B, C, F, h, w), fp32 or fp64.
            timesteps: One a batch element (B,).
            text_states: Encoded prompts (B, T, D).
            layers: What `choose_layers` chose.
            full_precision: In the latents' precision, whatever that of the weights.
        """
        recorder = self.recorder(layers, latents.shape[2])
        half = self.weight_dtype.itemsize < 4
        dtype = latents.dtype if full_precision else self.weight_dtype
        frozen_base = PassMode(
            lora=False, recorder=recorder, full_precision=full_precision and half
        )
        autocast = half and not full_precision and self.uses_autocast
        with (
            torch.autocast(latents.device.type, self.weight_dtype, enabled=autocast),
            self.in_mode(frozen_base),
        ):
            self.run_blocks(latents.to(dtype), timesteps, text_states.to(dtype), layers.last_block)
        return gather_features(recorder.maps, layers, len(latents))

    @contextmanager
    def taking_dual_numbers(self) -> Iterator[None]:
        """Let passes within the block take dual numbers, which fused attention cannot."""
        with DualAttention(), uncompiled():
            yield

    def lora_layers(self) -> list[LoraLayer]:
        """List the LoRA layers, in module order; empty without an adapter."""
        return self._lora_layers(self)

    def add_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Add a LoRA, as diffusers does."""
        super().add_adapter(*args, **kwargs)
        self._found_lora = {}

    def lora_parameters(self) -> dict[str, nn.Parameter]:
        """List the trainable LoRA parameters by name, in module order."""
        return {name: weight for name, weight in self.named_parameters() if ".lora_" in name}

    @contextmanager
    def in_mode(self, mode: PassMode) -> Iterator[None]:
        """Run passes within the block in a mode; what was there before comes back after it."""
        with self._entered(mode, within=self):
            yield

    @property
    def merges_lora(self) -> bool:
        """Whether `lora_at` folds the LoRA into the weights, where it costs nothing per pass.

        bf16 would lose much of it there (16 % of a LoRA of 1 % of the weights).
        """
        return self.weight_dtype != torch.bfloat16

    @contextmanager
    def lora_at(self, scale: float = 1.0) -> Iterator[None]:
        """Have the LoRA on at a scale within the block, for passes without gradients or dropout.

        It is folded into the weights, or stays beside them (`merges_lora`). What was found comes back
        after the block, to the bit. A scale of 0 is the base model, untouched.

        Args:
            scale: Multiplies the LoRA's share.
        """
        with self._lora_merged(scale) if self.merges_lora else self._lora_scaled(scale):
            yield

    @contextmanager
    def _lora_merged(self, scale: float) -> Iterator[None]:
        # The very tensors found come back: subtracting the LoRA again would leave rounding.
        found: list[tuple[nn.Parameter, Tensor]] = []
        try:
            for layer in self.lora_layers() if scale else []:
                weight = layer.get_base_layer().weight
                share = scale * layer.get_delta_weight(layer.active_adapters[0])
                found.append((weight, weight.data))
                weight.data = (weight.data.to(share.dtype) + share).to(weight.dtype)
            with self.in_mode(PassMode(lora=False)):
                yield
        finally:
            for weight, original in found:
                weight.data = original

    @contextmanager
    def _lora_scaled(self, scale: float) -> Iterator[None]:
        layers, training = self.lora_layers(), self.training
        found = [dict(layer.scaling) for layer in layers]
        try:
            self.train(False)
            for layer, scalings in zip(layers, found, strict=True):
                layer.scaling.update({name: scale * each for name, each in scalings.items()})
            with self.in_mode(PassMode(lora=bool(scale))):
                yield
        finally:
            for layer, scalings in zip(layers, found, strict=True):
                layer.scaling.update(scalings)
            self.train(training)

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the inputs of each layer for backward and compute the rest again there."""
        self.recompute_in_backward("full")

    def recompute_in_backward(self, what: str) -> None:
        """Choose what is computed again in backward instead of being kept.

        Args:
            what: As the setting `gradient_checkpointing`: "none"; "selective", all that is cheap (see
                `recomputation`), which does not go together with compiled layers; or "full", whole
                layers.
        """
        assert what in ("none", "selective", "full")
        self._recomputed = what
        self._wrap_layers()

    def compile_layers(self, backend: str = "inductor") -> None:
        """Compile each layer with torch.compile, once for all layers of the same shapes.

        Passes with dual numbers, with weights upcast to fp32, or whose recorder cannot be followed stay
        as they are.

        Args:
            backend: torch.compile's.
        """
        self._compiler = backend
        # All layers of one class share their code, and each shape and mode of it counts.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 128)
        self._wrap_layers()

    @contextmanager
    def _entered(self, mode: PassMode, within: nn.Module) -> Iterator[None]:
        """Enter a mode, switching only the LoRA layers inside `within`."""
        found_mode = self._mode
        # LoRA layers may differ from the mode (someone merged or disabled them): keep what is found.
        switched = [
            layer for layer in self._lora_layers(within) if layer.disable_adapters == mode.lora
        ]
        with ExitStack() as states:
            if mode.recorder is not found_mode.recorder and mode.recorder is not None:
                states.enter_context(mode.recorder.attached(self))
            if mode.full_precision:
                states.enter_context(FullPrecisionLayers())
            if mode.full_precision or (mode.recorder is not None and not mode.recorder.compiles):
                states.enter_context(uncompiled())
            try:
                self._mode = mode
                _switch(switched, mode.lora)
                yield
            finally:
                self._mode = found_mode
                _switch(switched, not mode.lora)

    def _lora_layers(self, within: nn.Module) -> list[LoraLayer]:
        if within not in self._found_lora:
            found = [layer for layer in within.modules() if isinstance(layer, LoraLayer)]
            self._found_lora = {**self._found_lora, within: found}
        return self._found_lora[within]

    def _wrap_layers(self) -> None:
        for module in self.modules():
            if isinstance(module, self.layer_classes):
                forward = type(module).forward.__get__(module)
                if self._compiler is not None:
                    forward = torch.compile(forward, backend=self._compiler)
                if self._recomputed != "none":
                    forward = self._checkpointed(module, forward)
                module.forward = forward

    def _checkpointed(self, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def checkpointed_forward(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return forward(*args, **kwargs)
            mode = self._mode
            repeated = replace(mode, recorder=mode.recorder and mode.recorder.blank())

            def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
                repetition = self._entered(repeated, within=module)
                if self._recomputed == "full":
                    return nullcontext(), repetition
                ranks = {rank for layer in self._lora_layers(module) for rank in layer.r.values()}
                keeping, taking = keep_products_only(max(ranks, default=0))
                return keeping, _both(repetition, taking)

            return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

        return checkpointed_forward


@contextmanager
def _both(first: AbstractContextManager, second: AbstractContextManager) -> Iterator[None]:
    with first, second:
        yield


def uncompiled() -> AbstractContextManager[None]:
    """Run compiled layers as they are written, for what torch.compile cannot follow."""
    return torch.compiler.set_stance("force_eager")


def _switch(layers: Sequence[LoraLayer], lora: bool) -> None:
    # peft's `enable_adapters` says of each weight besides whether it needs a gradient, which takes a
    # small base as long as a layer of the network.
    for layer in layers:
        vars(layer)["_disable_adapters"] = not lora
