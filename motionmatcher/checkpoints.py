"""Checkpoints: the LoRA, and beside it what training needs to go on as if never stopped."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionmatcher.errors import UserError
from motionmatcher.lora import LoraInfo, save_lora
from motionmatcher.tensor_files import read_tensors, write_tensors
from motionmatcher.unet import MotionUNet

STATE_FILE = "training_state.safetensors"


def save_checkpoint(
    folder: Path,
    step: int,
    unet: MotionUNet,
    info: LoraInfo,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
) -> None:
    """Write a checkpoint folder whole or not at all.

    The random streams need no state (see `random_streams`), nor does the learning rate, which is a
    function of the step.

    Args:
        folder: `checkpoint-N`; replaced when it is there.
        step: Updates made so far.
        unet: Carries the LoRA.
        info: What the LoRA is.
        optimizer: Its moments are kept, not its settings: those are the config's.
        scaler: The loss scaler of fp16, or None.
    """
    temporary = folder.with_name(f".{folder.name}-unfinished")
    shutil.rmtree(temporary, ignore_errors=True)
    save_lora(unet, temporary / "lora", info)
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        # Not by state_dict(), whose form differs among optimisers.
        for name, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers[f"optimizer.{index}.{name}"] = value
    state = {"step": step, "scaler": scaler.state_dict() if scaler else None, "numbers": numbers}
    write_tensors(temporary / STATE_FILE, tensors, state)
    replaced = folder.with_name(f".{folder.name}-replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    temporary.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def load_training_state(
    folder: Path, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
) -> int:
    """Restore optimizer and scaler from a checkpoint.

    Args:
        folder: `checkpoint-N`.
        optimizer: Made anew with the config's settings; gets its moments back.
        scaler: The loss scaler of fp16, or None.

    Returns:
        The step of the checkpoint.

    Raises:
        UserError: The checkpoint has no training state, or it belongs to other settings.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        raise UserError(
            f"{folder} has no {STATE_FILE}: it can be used by inference.py, or as lora_path of a new "
            "run, but not resumed."
        )
    moments: dict[int, dict[str, Any]] = {}
    entries, state = read_tensors(file)
    for name, value in {**entries, **state["numbers"]}.items():
        _, index, key = name.split(".", 2)
        moments.setdefault(int(index), {})[key] = value
    parameters = _parameters(optimizer)
    if sorted(moments) != list(range(len(parameters))):
        raise UserError(
            f"{file} belongs to a LoRA with other targets: resume with the run's own settings."
        )
    for index, parameter in enumerate(parameters):
        optimizer.state[parameter] = {
            # Scalars stay on the CPU, where the optimiser reads them.
            name: value.to(parameter.device) if isinstance(value, Tensor) and value.ndim else value
            for name, value in moments[index].items()
        }
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    return int(state["step"])


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
