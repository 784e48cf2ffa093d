"""Checkpoints: the LoRA, and beside it what training needs to go on as if never stopped."""

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionmatcher.bases.denoiser import Denoiser
from motionmatcher.bases.lora import ADAPTER_FILE, LoraInfo, save_lora
from motionmatcher.errors import UserError, WriteError
from motionmatcher.finiteness import is_finite
from motionmatcher.runs.run_folder import STATE_FILE
from motionmatcher.tensor_files import read_tensors, require_sound, write_tensors

_MOMENT = re.compile(r"optimizer\.(0|[1-9][0-9]{0,9})\.(\w+)", re.ASCII)
_Moments = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        step: Steps made.
        skipped_updates: Those of them whose update was skipped because fp16 overflowed.
        num_threads: Threads of the CPU it computed with; None when the checkpoint does not say.
    """

    step: int = 0
    skipped_updates: int = 0
    num_threads: int | None = None


START = Progress()


def save_checkpoint(
    folder: Path,
    step: int,
    denoiser: Denoiser,
    info: LoraInfo,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    skipped_updates: int = 0,
) -> None:
    """Write a checkpoint folder whole, or the LoRA alone where only that fits, or nothing.

    The random streams need no state (see `random_streams`), nor does the learning rate, which is a
    function of the step.

    Args:
        folder: `checkpoint-N`; replaced when it is there.
        step: Updates made so far.
        denoiser: Carries the LoRA.
        info: What the LoRA is.
        optimizer: Its moments are kept, not its settings: those are the config's.
        scaler: The loss scaler of fp16, or None.
        skipped_updates: See `Progress`.

    Raises:
        UserError: The file system refuses; says what is kept. Earlier checkpoints are as they were.
    """
    temporary = folder.with_name(f".{folder.name}-unfinished")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        save_lora(denoiser, temporary / "lora", info)
        _save_training_state(temporary / STATE_FILE, step, optimizer, scaler, skipped_updates)
    except WriteError as error:
        kept = (temporary / "lora" / ADAPTER_FILE).is_file() and not folder.exists()
        if kept:
            temporary.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        what = (
            "only its LoRA is kept, which inference.py can use" if kept else "nothing of it is kept"
        )
        whole = any(folder.parent.glob(f"checkpoint-*/{STATE_FILE}"))
        go_on = f"go on with: train.py --resume {folder.parent}" if whole else "start anew."
        raise UserError(
            f"{folder} cannot be saved: {error.reason}; {what}. Make room, then {go_on}"
        ) from error
    replaced = folder.with_name(f".{folder.name}-replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    temporary.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _save_training_state(
    file: Path,
    step: int,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    skipped_updates: int,
) -> None:
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        # Not by state_dict(), whose form differs among optimisers.
        for name, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers[f"optimizer.{index}.{name}"] = value
    state = {
        "step": step,
        "skipped_updates": skipped_updates,
        "num_threads": torch.get_num_threads(),
        "scaler": scaler.state_dict() if scaler else None,
        "numbers": numbers,
    }
    write_tensors(file, tensors, state)


def load_training_state(
    folder: Path, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
) -> Progress:
    """Restore optimizer and scaler from a checkpoint; everything is checked before anything is set.

    Args:
        folder: `checkpoint-N`.
        optimizer: Made anew with the config's settings; gets its moments back.
        scaler: The loss scaler of fp16, or None.

    Returns:
        How far the training had come.

    Raises:
        UserError: The checkpoint has no training state, or it is damaged, or of other settings.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        raise UserError(
            f"{folder} has no {STATE_FILE}: it can be used by inference.py, or as lora_path of a new "
            "run, but not resumed."
        )
    tensors, state = read_tensors(file)
    numbers = state.get("numbers")
    moments = _sort_moments(file, {**tensors, **(numbers if isinstance(numbers, dict) else {})})
    progress = _read_progress(file, state, moments)
    parameters = _parameters(optimizer)
    num_updates = progress.step - progress.skipped_updates
    # Before its first update an optimiser may have no moments yet.
    if (moments or num_updates) and sorted(moments) != list(range(len(parameters))):
        raise UserError(
            f"{file} belongs to a LoRA with other targets: resume with the run's own settings."
        )
    for index, expected in enumerate(_fresh_moments(optimizer) if moments else []):
        _check_moments(f"{file}: optimizer.{index}", moments[index], expected, num_updates)
    scaler_state = state.get("scaler")
    if scaler is not None and scaler_state is not None:
        _check_scaler(file, scaler_state, scaler)
        scaler.load_state_dict(scaler_state)
    for index, parameter_moments in moments.items():
        parameter = parameters[index]
        optimizer.state[parameter] = {
            # Scalars stay on the CPU, where the optimiser reads them.
            name: value.to(parameter.device) if isinstance(value, Tensor) and value.ndim else value
            for name, value in parameter_moments.items()
        }
    return progress


def _read_progress(
    file: Path, state: Mapping[str, Any], moments: Mapping[int, _Moments]
) -> Progress:
    """Check what the file says of the steps made, and that they are those of its folder's name."""
    counts = {name: state.get(name) for name in ("step", "skipped_updates", "num_threads")}
    for name, value in counts.items():
        may_be_missing = name != "step" and name not in state
        if not (type(value) is int and value >= 0) and not may_be_missing:
            raise UserError(f"{file} is damaged: its {name} is {value!r}, not a whole number.")
    step, skipped, num_threads = counts.values()
    assert step is not None
    if skipped is None:  # an older file, which leaves it to the optimiser's own count
        skipped = max(step - _count_updates(moments), 0) if state.get("scaler") is not None else 0
    if file.parent.name != f"checkpoint-{step}":
        raise UserError(f"{file} is of step {step}, not of {file.parent.name}.")
    if skipped > step:
        raise UserError(f"{file} is damaged: it counts more skipped updates than steps.")
    return Progress(step, skipped, num_threads)


def _count_updates(moments: Mapping[int, _Moments]) -> int:
    counted = moments.get(0, {}).get("step")
    if isinstance(counted, Tensor) and counted.shape == () and counted.dtype == torch.float32:
        return int(counted) if is_finite(counted) else 0
    return counted if type(counted) is int else 0


def _sort_moments(file: Path, entries: Mapping[str, Any]) -> dict[int, _Moments]:
    """Sort entries `optimizer.INDEX.NAME` by the index of their parameter."""
    moments: dict[int, _Moments] = {}
    for entry, value in entries.items():
        match = _MOMENT.fullmatch(entry)
        if not match:
            raise UserError(
                f"{file} is damaged: it holds {entry!r}, which is no state of an optimiser."
            )
        moments.setdefault(int(match[1]), {})[match[2]] = value
    return moments


def _fresh_moments(optimizer: torch.optim.Optimizer) -> list[_Moments]:
    """Let the optimiser show what its state looks like after an update, and take the update back."""
    parameters = _parameters(optimizer)
    values = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [dict(optimizer.state[parameter]) for parameter in parameters]
    optimizer.state.clear()
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = None
        parameter.data.copy_(value)
    return moments


def _check_moments(place: str, found: _Moments, expected: _Moments, num_updates: int) -> None:
    """Refuse what would make an optimiser compute with a wrong state, or beyond its memory."""
    if found.keys() != expected.keys():
        raise UserError(f"{place} has {', '.join(found)}, not {', '.join(expected)}.")
    for name, wanted in expected.items():
        value = found[name]
        if type(value) is not type(wanted) or (
            isinstance(value, Tensor) and value.dtype != wanted.dtype
        ):
            raise UserError(f"{place}.{name} is {_kind(value)}, not {_kind(wanted)}.")
        if isinstance(value, Tensor):
            if value.is_floating_point():
                require_sound(f"{place}.{name}", value, wanted.shape)
            elif value.shape != wanted.shape:
                raise UserError(
                    f"{place}.{name} has the shape {list(value.shape)}, not {list(wanted.shape)}."
                )
    if found["step"] != num_updates:
        raise UserError(f"{place}.step is {float(found['step']):g}, not {num_updates}.")
    if "exp_avg_sq" in found and found["exp_avg_sq"].min() < 0:
        raise UserError(f"{place}.exp_avg_sq holds negative numbers, which no mean of squares is.")


def _check_scaler(file: Path, found: object, scaler: torch.amp.GradScaler) -> None:
    wanted = scaler.state_dict()
    sound = isinstance(found, dict) and found.keys() == wanted.keys()
    if sound:
        assert isinstance(found, dict)
        sound = all(type(found[name]) is type(value) for name, value in wanted.items())
        sound = sound and all(math.isfinite(value) for value in found.values())
        sound = sound and found["scale"] > 0
    if not sound:
        raise UserError(
            f"{file} is damaged: its scaler is {str(found)[:200]}, not fp16's loss scaler."
        )


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
