"""What a training run will cost and whether it fits, known before any weight is read."""

from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from transformers import CLIPTokenizer

from motionmatcher.base_layout import BaseLayout
from motionmatcher.cost import FakeStep, StepCost, empty_unet
from motionmatcher.diffusion import NoiseSchedule
from motionmatcher.settings import TrainSettings

# For what an estimate leaves out: workspaces, fragmentation, the runtime's own memory.
HEADROOM = 1.15


@dataclass(frozen=True)
class RunCost:
    """What a training run will cost.

    Attributes:
        lora_modules: Modules that get an adapter.
        lora_parameters: Trainable parameters.
        plain: An update's cost without gradient checkpointing; with `recompute_activations` if set.
        checkpointed: The same with it.
        dtype: Of the frozen weights.
        device: Where it shall run.
        available_bytes: Memory that is free there now.
        settings: The run's.
    """

    lora_modules: int
    lora_parameters: int
    plain: StepCost
    checkpointed: StepCost
    dtype: torch.dtype
    device: torch.device
    available_bytes: int
    settings: TrainSettings

    @property
    def chosen(self) -> StepCost:
        """The cost of an update as the settings have it."""
        return self.checkpointed if self.settings.gradient_checkpointing else self.plain

    @property
    def flops_of_run(self) -> int:
        """FLOPs of all updates together."""
        return self.chosen.flops * self.settings.max_train_steps

    def fits(self, step: StepCost) -> bool:
        """Tell whether a step's memory is there, with some headroom."""
        return step.peak_bytes * HEADROOM <= self.available_bytes

    def advice(self) -> str:
        """Say whether the run fits into memory, and what to do when it does not."""
        if self.fits(self.chosen):
            return "this fits"
        if self.fits(self.checkpointed):
            milder = (
                "" if self.settings.recompute_activations else " (try recompute_activations first)"
            )
            return f"this does not fit: set gradient_checkpointing: true{milder}"
        settings = self.settings
        remedies = [] if settings.gradient_checkpointing else ["gradient_checkpointing: true"]
        if settings.mixed_precision == "no":
            remedies.append("mixed_precision: bf16")
        remedies.append("fewer train_data.n_sample_frames, or a smaller width and height")
        return f"this does not fit: try {', '.join(remedies)}"

    def figures(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return {
            "lora_modules": self.lora_modules,
            "lora_parameters": self.lora_parameters,
            "steps": self.settings.max_train_steps,
            "flops_per_step": self.chosen.flops,
            "flops_of_run": self.flops_of_run,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "available_bytes": self.available_bytes,
            "fits": self.fits(self.chosen),
            "without_checkpointing": self.plain.figures(),
            "with_checkpointing": self.checkpointed.figures(),
        }

    def lines(self) -> list[str]:
        """All figures, for people."""
        dtype = str(self.dtype).removeprefix("torch.")
        lines = [
            f"lora modules: {self.lora_modules}",
            f"lora parameters: {self.lora_parameters:,}",
            f"steps: {self.settings.max_train_steps:,}",
            f"compute: {self.chosen.flops / 1e12:.4g} TFLOP a step, "
            f"{self.flops_of_run / 1e15:.4g} PFLOP in all",
        ]
        for name, step in (("without", self.plain), ("with", self.checkpointed)):
            sizes = {**step.parts, "activations and gradients": step.activations}
            parts = ", ".join(f"{part} {size / 2**30:.2f}" for part, size in sizes.items())
            lines.append(
                f"memory in {dtype} {name} gradient checkpointing: "
                f"{step.peak_bytes / 2**30:.2f} GiB ({parts})"
            )
        available = f"{self.available_bytes / 2**30:.2f} GiB are free on {self.device}"
        return [*lines, f"{available}: {self.advice()}."]


def estimate_run(layout: BaseLayout, settings: TrainSettings, device: torch.device) -> RunCost:
    """Estimate a run's cost from the base's configs alone.

    Args:
        layout: The base model's folder and configs.
        settings: With sizes resolved, as `preflight.check_training` leaves them.
        device: Where it shall run.
    """
    data = settings.train_data
    unet = empty_unet(layout.unet_config, settings)
    step = FakeStep.build(
        unet,
        NoiseSchedule.from_config(layout.scheduler_config, settings.rescale_schedule),
        settings,
        layout.latent_size(data.width, data.height),
        CLIPTokenizer.from_pretrained(layout.folder / "tokenizer").model_max_length,
        device,
    )
    if settings.recompute_activations:
        unet.recompute_in_backward("activations")
    plain = step.cost()
    unet.enable_gradient_checkpointing()
    return RunCost(
        lora_modules=len(unet.lora_layers()),
        lora_parameters=sum(weight.numel() for weight in unet.lora_parameters().values()),
        plain=plain,
        checkpointed=step.cost(),
        dtype=step.base.dtype,
        device=device,
        available_bytes=available_bytes(device),
        settings=settings,
    )


def available_bytes(device: torch.device) -> int:
    """Memory that is free on a device now; the RAM's for the CPU and what shares its memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
