"""What a training step costs, known without weights.

The program's own step runs on fake tensors: loss and backward, with gradient checkpointing or
without. So what is counted follows the code, whatever the settings. Of a transformer's equal blocks
only some run, and are counted as often as there are such blocks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)

from motionmatcher.bases.base_model import BaseModel
from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.lora import add_lora, target_modules
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost.meter import CostMeter, tensor_bytes
from motionmatcher.devices import weight_dtype
from motionmatcher.diffusion.schedules import Schedule
from motionmatcher.errors import UserError
from motionmatcher.features.dual_attention import Slices, slicing_by
from motionmatcher.objectives.objective import Batch, Objective, TrainingLoss
from motionmatcher.objectives.registry import make_objective


class UncountableError(UserError):
    """A step's cost cannot be counted, for it depends on numbers that fake tensors do not have."""


@dataclass(frozen=True)
class StepCost:
    """What one update of the LoRA takes.

    Attributes:
        flops: Two per multiply-add.
        parts: Bytes that are there for the whole run, by name: "weights", "lora", "optimizer".
        activations: Bytes of saved activations, gradients and transients at the peak.
    """

    flops: int
    parts: dict[str, int]
    activations: int

    @property
    def peak_bytes(self) -> int:
        """Peak memory of a step."""
        return sum(self.parts.values()) + self.activations

    def values(self) -> dict[str, Any]:
        """All values, for JSON."""
        return {**asdict(self), "peak_bytes": self.peak_bytes}


def empty_denoiser(
    denoiser_class: type[Denoiser], config: Mapping[str, Any], settings: TrainSettings
) -> Denoiser:
    """Build a denoiser with its LoRA on the meta device, where weights take no memory."""
    with init_empty_weights():
        denoiser: Denoiser = denoiser_class.from_config(config)
        add_lora(denoiser, settings.lora_rank, settings.lora_targets, settings.lora_unet_dropout)
    return denoiser


def lora_size(
    denoiser_class: type[Denoiser], config: Mapping[str, Any], settings: TrainSettings
) -> int:
    """Count the LoRA's parameters, A (rank, in) and B (out, rank) of each module, without making them."""
    with init_empty_weights():
        denoiser: Denoiser = denoiser_class.from_config(config)
    modules = map(denoiser.get_submodule, target_modules(denoiser, settings.lora_targets))
    weights = [module.weight for module in modules]  # (out, in, *kernel)
    return sum(settings.lora_rank * (weight[0].numel() + len(weight)) for weight in weights)


def sampling_peak_bytes(
    denoiser_class: type[Denoiser],
    config: Mapping[str, Any],
    latents_shape: Sequence[int],
    num_tokens: int,
    dtype: torch.dtype,
    device: torch.device,
) -> int:
    """Count the peak memory of one pass of sampling, weights included, on fake tensors.

    Args:
        denoiser_class: The denoiser's class.
        config: Its config.
        latents_shape: Of all that one pass denoises (B, C, F, h, w), both halves of guidance.
        num_tokens: Length of an encoded prompt.
        dtype: Of the weights.
        device: Which device to imitate.
    """
    with init_empty_weights():
        denoiser: Denoiser = denoiser_class.from_config(config).eval()
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), CostMeter() as meter:
        _make_fake(denoiser, dtype, device)
        latents = torch.zeros(*latents_shape, device=device)
        states = torch.zeros(len(latents), num_tokens, denoiser.text_width, device=device)
        denoiser.predict(latents, torch.zeros(1, device=device), states)
    return meter.peak_bytes


@dataclass(frozen=True)
class TrainingStep:
    """All that one step's loss depends on.

    Attributes:
        base: The base model with its LoRA; a step needs its denoiser and its schedule only.
        settings: As in training.
        objective: What is minimised; prepared.
        batch: What was drawn.
    """

    base: BaseModel
    settings: TrainSettings
    objective: Objective
    batch: Batch

    def loss(self) -> TrainingLoss:
        """Compute the batch's loss as training does."""
        return self.objective.loss(self.batch)


@dataclass(frozen=True)
class FakeStep(TrainingStep):
    """A training step on fake tensors, to be run within `measured`."""

    _mode: FakeTensorMode = field(repr=False)
    _meter: CostMeter = field(repr=False)
    _repeats: Mapping[str, int] = field(repr=False)

    @classmethod
    def build(
        cls,
        denoiser: Denoiser,
        schedule: Schedule,
        settings: TrainSettings,
        latent_shape: Sequence[int],
        num_tokens: int,
        device: torch.device,
        objective: Objective | None = None,
        repeats: Mapping[str, int] | None = None,
    ) -> "FakeStep":
        """Set up the step.

        Args:
            denoiser: What `empty_denoiser` made; its weights become fake.
            schedule: The base's schedule.
            settings: All settings of the run.
            latent_shape: Of one video (C, F, h, w).
            num_tokens: Length of an encoded prompt.
            device: Which device to imitate, for kernels and precision differ among them.
            objective: What is minimised; None takes the one that the settings name.
            repeats: Path of each block of a shortened denoiser -> how often it counts.
        """
        shape = (1, *latent_shape)
        base = bare_base(denoiser, schedule, device)
        objective = copy(objective) if objective else make_objective(settings.objective)
        objective.prepare(base, settings, (shape[-2], shape[-1]))
        states = torch.zeros(1, num_tokens, denoiser.text_width)
        drawn = objective.draw(torch.zeros(shape), states, 0, 0, 0)
        mode, meter = FakeTensorMode(allow_non_fake_inputs=True), CostMeter()
        with mode, meter:
            _make_fake(denoiser, weight_dtype(settings.mixed_precision, device), device)
            return cls(
                base=base,
                settings=settings,
                objective=objective,
                batch=replace(
                    drawn,
                    latents=torch.zeros(shape, device=device).expand(drawn.latents.shape),
                    text_states=torch.zeros(states.shape, device=device).expand(
                        drawn.text_states.shape
                    ),
                    noise=torch.zeros(drawn.noise.shape, device=device),
                    timesteps=torch.zeros_like(drawn.timesteps, device=device),
                ),
                _mode=mode,
                _meter=meter,
                _repeats=repeats or {},
            )

    @contextmanager
    def measured(self) -> Iterator[CostMeter]:
        """Compute on fake tensors within the block, counting from zero.

        The memory counted is that of all there is, from the weights on.
        """
        self._meter.flops, self._meter.peak_bytes = 0, self._meter.live_bytes
        with self._mode, self._meter, slicing_by(self._one_slice_for_all):
            yield self._meter

    def _one_slice_for_all(
        self, attend_slice: Callable[[Tensor, Tensor | None], Tensor], slices: Slices
    ) -> Tensor:
        """Compute the last slice and another one, for all others, which are hundreds, are like it."""
        *alike, last = slices
        attended = []
        if alike:
            with self._meter.counting_times(len(alike)):
                attended = [attend_slice(*alike[0])] * len(alike)
        return torch.cat([*attended, attend_slice(*last)], dim=-2)

    def cost(self) -> StepCost:
        """Count what one update takes: forward and backward of all its batches.

        Raises:
            UncountableError: The objective asks for the numbers in a tensor.
        """
        denoiser, settings = self.base.denoiser, self.settings
        there = tensor_bytes(denoiser.parameters())
        lora = self._times_repeats(denoiser.lora_parameters(), lambda weight: weight.nbytes)
        weights = self._times_repeats(
            dict(denoiser.named_parameters()), lambda weight: weight.nbytes
        )
        weights -= lora
        denoiser.train()
        denoiser.zero_grad()
        with (
            self.measured() as meter,
            _repeating(denoiser, self._repeats, meter),
            _numbers_refused(self.objective.name),
        ):
            for _ in range(min(settings.gradient_accumulation_steps, 2)):
                # From the second batch on, the gradients of the first are there already.
                meter.flops = 0
                self.loss().total.backward()
        denoiser.zero_grad()
        return StepCost(
            flops=meter.flops * settings.gradient_accumulation_steps,
            parts={
                "weights": weights,
                "lora": lora,
                # Two moments, in fp32 or in 8 bits.
                "optimizer": lora // 2 if settings.use_8bit_adam else 2 * lora,
            },
            activations=meter.peak_bytes - there,
        )

    def lora_modules(self) -> int:
        """Count the modules that have a LoRA."""
        downs = {
            name: weight
            for name, weight in self.base.denoiser.lora_parameters().items()
            if ".lora_A." in name
        }
        return self._times_repeats(downs, lambda _: 1)

    def lora_parameters(self) -> int:
        """Count the LoRA's parameters."""
        return self._times_repeats(self.base.denoiser.lora_parameters(), Tensor.numel)

    def _times_repeats(self, weights: Mapping[str, Tensor], size: Callable[[Tensor], int]) -> int:
        """Sum up sizes of weights, each as often as its block counts."""
        blocks = {f"{path}.": times for path, times in self._repeats.items()}
        return sum(
            size(weight)
            * next((times for path, times in blocks.items() if name.startswith(path)), 1)
            for name, weight in weights.items()
        )


@contextmanager
def _repeating(denoiser: Denoiser, repeats: Mapping[str, int], meter: CostMeter) -> Iterator[None]:
    """Count each block as often as it is there, from where it begins to where the next one does.

    In backward it begins where the gradient of its output is there.
    """

    def begin(times: int, *_: Any) -> None:
        meter.repeat(times)

    def ask_for_gradient(times: int, _block: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(partial(begin, times))

    handles = []
    for path, times in repeats.items():
        block = denoiser.get_submodule(path)
        handles.append(block.register_forward_pre_hook(partial(begin, times)))
        handles.append(block.register_forward_hook(partial(ask_for_gradient, times)))
    try:
        yield
    finally:
        meter.repeat(1)
        for handle in handles:
            handle.remove()


@contextmanager
def _numbers_refused(objective: str) -> Iterator[None]:
    """Say which operation asked for the numbers in a fake tensor.

    Raises:
        UncountableError: In place of torch's errors.
    """
    try:
        yield
    except (
        DataDependentOutputException,
        DynamicOutputShapeException,
        UnsupportedOperatorException,
    ) as error:
        asked = str(error.func)
    except RuntimeError as error:
        if "not supported for tensor subclasses" not in str(error):
            raise
        asked = "Tensor.numpy"
    else:
        return
    raise UncountableError(
        f"what a step costs cannot be counted: the objective {objective!r} asks for the numbers in a "
        f"tensor ({asked}, as .item(), float() or a mask do), and counting goes by shapes alone."
    )


def bare_base(denoiser: Denoiser, schedule: Schedule, device: torch.device) -> BaseModel:
    """Make a base model without text encoder and codec: what a step needs."""
    absent: Any = None
    return BaseModel(schedule, absent, absent, denoiser, device, fingerprint="")


def stored_weights(
    denoiser: Denoiser, dtype: torch.dtype
) -> Iterator[tuple[nn.Module, str, nn.Parameter, torch.dtype]]:
    """List all weights with the dtype they have in training: the LoRA's in fp32, all others in `dtype`.

    Those that diffusers loads in fp32 whatever it is asked for stay so.

    Args:
        denoiser: With its LoRA.
        dtype: Of the frozen weights.

    Yields:
        Module, name there, weight, dtype.
    """
    in_full = set(denoiser._keep_in_fp32_modules or ())
    for path, module in denoiser.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            full = ".lora_" in path or bool(in_full.intersection([*path.split("."), name]))
            yield module, name, parameter, torch.float32 if full else dtype


def _make_fake(denoiser: Denoiser, dtype: torch.dtype, device: torch.device) -> None:
    """Turn parameters on the meta device into fake ones of the dtypes that they have in training.

    Buffers, which are no weights but small tables, move to the device too.
    """
    for module, name, parameter, stored in stored_weights(denoiser, dtype):
        weight = torch.empty(parameter.shape, dtype=stored, device=device)
        setattr(module, name, nn.Parameter(weight, requires_grad=parameter.requires_grad))
    states = denoiser.state_dict(keep_vars=True).keys()  # detaching each weight takes its time
    for name, buffer in list(denoiser.named_buffers()):
        owner, _, attribute = name.rpartition(".")
        loaded = name in states and buffer.is_floating_point()
        kind = dtype if loaded else buffer.dtype
        empty = torch.empty(buffer.shape, dtype=kind, device=device)
        setattr(denoiser.get_submodule(owner), attribute, empty)
