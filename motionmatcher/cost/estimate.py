"""What a training run will cost and whether it fits, known before any weight is read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from motionmatcher.bases.denoiser import ShortNetwork
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost.step import (
    FakeStep,
    StepCost,
    UncountableError,
    empty_denoiser,
    sampling_peak_bytes,
)
from motionmatcher.devices import available_bytes, show_gib, weight_dtype
from motionmatcher.diffusion.sampling import SamplingSettings
from motionmatcher.errors import UserError
from motionmatcher.objectives.names import BUILT_IN
from motionmatcher.objectives.objective import Objective
from motionmatcher.reporting import note

# For what an estimate leaves out: workspaces, fragmentation, the runtime's own memory.
HEADROOM = 1.15
# What is started is counted before only where about this many times the memory of its first layer is not
# there, for counting takes seconds.
LAYERS_OF_STEP = 400
LAYERS_OF_CHECKPOINTED_STEP = 100
LAYERS_OF_SAMPLING = 10
# Values of `gradient_checkpointing`, from most memory to least.
RECOMPUTATIONS = ("none", "selective", "full")


@dataclass(frozen=True)
class RunCost:
    """What a training run will cost.

    Attributes:
        lora_modules: Modules that get an adapter.
        lora_parameters: Trainable parameters.
        steps: The setting `gradient_checkpointing` -> what an update costs with it: of the one chosen,
            and where that does not fit, of those that take less, up to one that fits.
        dtype: Of the frozen weights.
        device: Where it shall run.
        available_bytes: Memory that is free there now.
        settings: The run's.
        tokens: Of a video in a transformer; None for other networks.
    """

    lora_modules: int
    lora_parameters: int
    steps: Mapping[str, StepCost]
    dtype: torch.dtype
    device: torch.device
    available_bytes: int
    settings: TrainSettings
    tokens: int | None = None

    @property
    def chosen(self) -> StepCost:
        """The cost of an update as the settings have it."""
        return self.steps[self.settings.gradient_checkpointing]

    @property
    def flops_of_run(self) -> int:
        """FLOPs of all updates together."""
        return self.chosen.flops * self.settings.max_train_steps

    def fits(self, step: StepCost) -> bool:
        """Tell whether a step's memory is there, with some headroom."""
        return fits(step, self.available_bytes)

    def advice(self) -> str:
        """Say whether the run fits into memory, and what to do when it does not."""
        if self.fits(self.chosen):
            return "this fits"
        for what, step in self.steps.items():
            if self.fits(step):
                return f"this does not fit: set gradient_checkpointing: {what}"
        settings = self.settings
        full = settings.gradient_checkpointing == "full"
        remedies = [] if full else ["gradient_checkpointing: full"]
        if settings.mixed_precision == "no":
            remedies.append("mixed_precision: bf16")
        remedies.append("fewer train_data.n_sample_frames, or a smaller width and height")
        return f"this does not fit: try {', '.join(remedies)}"

    def refusal(self) -> str:
        """Say what the run would take, for an error."""
        return (
            f"the run takes {show_gib(self.chosen.peak_bytes)}, and {show_gib(self.available_bytes)} are "
            f"free on {self.device}: {self.advice()}."
        )

    def values(self) -> dict[str, Any]:
        """All values, for JSON."""
        return {
            **({"tokens": self.tokens} if self.tokens else {}),
            "lora_modules": self.lora_modules,
            "lora_parameters": self.lora_parameters,
            "steps": self.settings.max_train_steps,
            "flops_per_step": self.chosen.flops,
            "flops_of_run": self.flops_of_run,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "available_bytes": self.available_bytes,
            "fits": self.fits(self.chosen),
            "gradient_checkpointing": {what: step.values() for what, step in self.steps.items()},
        }

    def lines(self) -> list[str]:
        """All values, for people."""
        dtype = str(self.dtype).removeprefix("torch.")
        lines = [
            *([f"tokens: {self.tokens:,}"] if self.tokens else []),
            f"lora modules: {self.lora_modules}",
            f"lora parameters: {self.lora_parameters:,}",
            f"steps: {self.settings.max_train_steps:,}",
            f"compute: {self.chosen.flops / 1e12:.4g} TFLOP a step, "
            f"{self.flops_of_run / 1e15:.4g} PFLOP in all",
        ]
        for what, step in self.steps.items():
            sizes = {**step.parts, "activations and gradients": step.activations}
            parts = ", ".join(f"{part} {size / 2**30:.2f}" for part, size in sizes.items())
            lines.append(
                f"memory in {dtype} with gradient_checkpointing {what}: "
                f"{show_gib(step.peak_bytes)} ({parts})"
            )
        available = f"{show_gib(self.available_bytes)} are free on {self.device}"
        return [*lines, f"{available}: {self.advice()}."]


def estimate_run(
    layout: BaseLayout,
    settings: TrainSettings,
    device: torch.device,
    objective: Objective | None = None,
) -> RunCost:
    """Estimate a run's cost from the base's configs alone.

    Args:
        layout: The base model's folder and configs.
        settings: With sizes resolved, as `check_training` leaves them.
        device: Where it shall run.
        objective: What is minimised; None takes the one that the settings name.

    Raises:
        UncountableError: The objective asks for the numbers in a tensor.
    """
    data = settings.train_data
    denoiser_class, config = layout.denoiser.part_class, layout.denoiser.config
    latent_shape = layout.latent_shape(data.n_sample_frames, data.width, data.height)
    short = ShortNetwork(config, settings.motion_extractor, {})
    if objective is None or objective.name in BUILT_IN:  # another one may ask for any block
        short = denoiser_class.shortened(config, settings.motion_extractor)
    denoiser = empty_denoiser(denoiser_class, short.config, settings)
    step = FakeStep.build(
        denoiser,
        layout.read_schedule(settings.rescale_schedule, settings.flow_shift),
        replace(settings, motion_extractor=short.settings),
        latent_shape,
        layout.num_tokens,
        device,
        objective,
        short.repeats,
    )
    free = available_bytes(device)
    steps: dict[str, StepCost] = {}
    for what in RECOMPUTATIONS[RECOMPUTATIONS.index(settings.gradient_checkpointing) :]:
        denoiser.recompute_in_backward(what)
        steps[what] = step.cost()
        if fits(steps[what], free):
            break
    return RunCost(
        lora_modules=step.lora_modules(),
        lora_parameters=step.lora_parameters(),
        steps=steps,
        dtype=denoiser.weight_dtype,
        device=device,
        available_bytes=free,
        settings=settings,
        tokens=denoiser_class.num_tokens(config, latent_shape),
    )


def fits(step: StepCost, free: int) -> bool:
    """Tell whether a step's memory is among some free bytes, with some headroom."""
    return step.peak_bytes * HEADROOM <= free


def check_memory(
    layout: BaseLayout,
    settings: TrainSettings,
    device: torch.device,
    objective: Objective | None = None,
) -> None:
    """Refuse a run whose memory is not there, before any weight is read; a note if nobody can tell.

    Args:
        layout: The base model's folder and configs.
        settings: With sizes resolved, as `check_training` leaves them.
        device: Where it shall run.
        objective: What is minimised; None takes the one that the settings name.

    Raises:
        UserError: Says what it would take.
    """
    least = check_least_memory(layout, settings, device)
    full = settings.gradient_checkpointing == "full"
    layers = LAYERS_OF_CHECKPOINTED_STEP if full else LAYERS_OF_STEP
    if least * layers > available_bytes(device):
        try:
            cost = estimate_run(layout, settings, device, objective)
        except UncountableError as error:
            note(str(error))
        else:
            if cost.chosen.peak_bytes > cost.available_bytes:
                raise UserError(cost.refusal())
    check_preview_memory(layout, settings, device)


def check_least_memory(layout: BaseLayout, settings: TrainSettings, device: torch.device) -> int:
    """Refuse a run of a size so absurd that not even one layer fits; give the bytes of that layer.

    Args and errors as of `check_memory`. Costs nothing, unlike an estimate.
    """
    data = settings.train_data
    dtype = weight_dtype(settings.mixed_precision, device)
    size = data.n_sample_frames, data.width, data.height
    least = least_bytes(layout, settings.train_batch_size, *size, dtype)
    what = (
        f"a step with train_batch_size {settings.train_batch_size} and {data.n_sample_frames} frames of "
        f"{data.width}x{data.height}"
    )
    _require(least, what, device)
    return least


def check_preview_memory(layout: BaseLayout, settings: TrainSettings, device: torch.device) -> None:
    """Refuse previews whose memory is not there; args and errors as of `check_memory`."""
    check_sampling_memory(
        layout, SamplingSettings.of_run(settings), 1, settings.mixed_precision, device
    )


def check_sampling_memory(
    layout: BaseLayout,
    sampling: SamplingSettings,
    batch_size: int,
    mixed_precision: str,
    device: torch.device,
) -> None:
    """Refuse to generate what does not fit into memory, before any weight is read.

    Args:
        layout: The base model's folder and configs.
        sampling: Size and number of frames.
        batch_size: Videos at a time.
        mixed_precision: "no", "fp16" or "bf16".
        device: Where it shall run.

    Raises:
        UserError: Says what it would take.
    """
    dtype = weight_dtype(mixed_precision, device)
    size = sampling.num_frames, sampling.width, sampling.height
    passes = batch_size * (1 if sampling.guidance_scale == 1 else 2)
    what = (
        f"generating {batch_size} video{'s' if batch_size > 1 else ''} at a time of {size[0]} frames of "
        f"{size[1]}x{size[2]}"
    )
    least = least_bytes(layout, passes, *size, dtype)
    _require(least, what, device)
    if least * LAYERS_OF_SAMPLING > available_bytes(device):
        peak = sampling_peak_bytes(
            layout.denoiser.part_class,
            layout.denoiser.config,
            (passes, *layout.latent_shape(*size)),
            layout.num_tokens,
            dtype,
            device,
        )
        _require(peak, what, device)


def least_bytes(
    layout: BaseLayout, batch_size: int, frames: int, width: int, height: int, dtype: torch.dtype
) -> int:
    """Give the memory below which nothing goes: a first layer's input and output.

    That is the denoiser's for the whole batch, or the codec's.
    """
    shape = (batch_size, *layout.latent_shape(frames, width, height))
    denoiser, codec = layout.denoiser, layout.codec
    of_denoiser = denoiser.part_class.least_values(denoiser.config, shape) * dtype.itemsize
    of_codec = codec.part_class.least_values(codec.config, width, height) * 4
    return 2 * max(of_denoiser, of_codec)


def _require(size: int, what: str, device: torch.device) -> None:
    free = available_bytes(device)
    if size > free:
        raise UserError(
            f"{what} takes {show_gib(size)} or more, and {show_gib(free)} are free on {device}: choose "
            "fewer frames, a smaller width and height, or a smaller batch."
        )
