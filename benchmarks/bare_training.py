"""Training by the program's own loop without a clip or a base's folder: random weights, made latents."""

from collections.abc import Callable, Mapping
from pathlib import Path

from accelerate import Accelerator

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.lora import LoraInfo, load_lora
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost.step import TrainingStep
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.assembly import make_accelerator
from motionmatcher.training.checkpoints import START, load_training_state
from motionmatcher.training.loop import prepare_optimizer, train


def start_anew(denoiser: Denoiser) -> None:
    """Let the LoRA change nothing yet, as a new one: B = 0."""
    for name, weight in denoiser.lora_parameters().items():
        if ".lora_B." in name:
            weight.data.zero_()


def train_lora(
    step: TrainingStep,
    settings: TrainSettings,
    folder: Path,
    checkpoint: Path | None = None,
    on_step: Callable[[Mapping[str, float]], None] | None = None,
) -> Accelerator:
    """Train the LoRA that a step's base has.

    Args:
        step: Gives base, latents and text states.
        settings: Of the run.
        folder: The run's, which gets its checkpoints.
        checkpoint: Where to go on from; None starts with the LoRA as it is.
        on_step: Called with what is logged of each step.

    Returns:
        What it was trained with.
    """
    base, progress = step.base, START
    accelerator = make_accelerator(settings, base.device)
    if checkpoint is not None:
        load_lora(base.denoiser, checkpoint / "lora")
    optimizer = prepare_optimizer(settings, base, accelerator)
    if checkpoint is not None:
        progress = load_training_state(checkpoint, optimizer.optimizer, accelerator.scaler)
    train(
        run=Run(folder),
        settings=settings,
        base=base,
        latents=step.batch.latents,
        text_states=step.batch.text_states,
        info=LoraInfo(settings.lora_rank, tuple(settings.lora_targets)),
        accelerator=accelerator,
        optimizer=optimizer,
        progress=progress,
        on_step=on_step,
    )
    return accelerator
