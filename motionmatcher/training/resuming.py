"""Check how a run is to go on, before any weight is read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from motionmatcher.config.loading import load_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError
from motionmatcher.objectives.objective import Objective
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.checks import TrainingPlan, check_training

_NUM_CLIPS = "the number of train_data.clips"
# What a LoRA and its optimiser state belong to; base and clip count by their content, not by path.
FIXED_KEYS = (
    "seed",
    "lora_rank",
    "lora_targets",
    "rescale_schedule",
    "flow_shift",
    "vae_tiling",
    "train_data.single_video_prompt",
    _NUM_CLIPS,
    "train_data.clips[].prompt",
    "train_data.clips[].sample_start_idx",
    "train_data.clips[].frame_step",
    "train_data.clips[].start_s",
    "train_data.clips[].duration_s",
    "train_data.width",
    "train_data.height",
    "train_data.use_bucketing",
    "train_data.n_sample_frames",
    "train_data.sample_start_idx",
    "train_data.frame_step",
    "train_data.start_s",
    "train_data.duration_s",
)
# How it was asked for, which says nothing about the run.
_OF_THE_COMMAND = "resume_from_checkpoint"
_INDEX = re.compile(r"\[[0-9]+\]")


def plan_resuming(
    resume: tuple[Run, int],
    overrides: Sequence[str] = (),
    *,
    objective: Objective | None = None,
    dry_run: bool = False,
) -> TrainingPlan:
    """Check how a run is to go on: with its own settings, whatever a config file says by now.

    Args:
        resume: The run and the step of the checkpoint to continue from.
        overrides: `key=value` each; changes to the run's settings.
        objective: What is minimised; None takes the one that the run's settings name.
        dry_run: As in `check_training`.

    Raises:
        UserError: As `check_training`; or a change would make it another run, or no step is left.
    """
    run, step = resume
    if not run.config_file.is_file():
        raise UserError(
            f"{run.folder} has no {run.config_file.name}, as published runs have none, and cannot be "
            "resumed: start a new run from its checkpoint with lora_path."
        )
    recorded = load_settings(run.config_file, recorded=True)
    settings = load_settings(run.config_file, overrides, recorded=objective is not None)
    if objective is not None:
        settings = replace(settings, objective=objective.name)
    changes = _list_changes(recorded, settings)
    _require_same_run(run, step, changes)
    notes = []
    if changes:
        changed = ", ".join(f"{key} {new!r} instead of {old!r}" for key, old, new in changes)
        notes.append(f"the run goes on with {changed}.")
    if step > settings.max_train_steps:
        raise UserError(
            f"{run.checkpoint_folder(step)} has made {step} steps, so with max_train_steps "
            f"{settings.max_train_steps} nothing is left to do: ask for more, or resume from an "
            "earlier checkpoint."
        )
    if step == settings.max_train_steps:
        notes.append(
            f"all {step} steps are made, so nothing is left to do; max_train_steps=N makes more."
        )
    plan = check_training(settings, resume=resume, objective=objective, dry_run=dry_run)
    return replace(plan, notes=(*notes, *plan.notes))


def _require_same_run(run: Run, step: int, changes: Sequence[tuple[str, Any, Any]]) -> None:
    differences = [
        f"{key} {old!r}, not {new!r}"
        for key, old, new in changes
        if _INDEX.sub("[]", key) in FIXED_KEYS
    ]
    if differences:
        raise UserError(
            f"{run.checkpoint_folder(step)} was trained with {' and '.join(differences)}: resume without "
            "this change, or start a new run from it with lora_path."
        )


def _list_changes(old: TrainSettings, new: TrainSettings) -> list[tuple[str, Any, Any]]:
    """List the keys that differ, dotted for groups, with both values."""
    before, after = dict(_flatten(asdict(old))), dict(_flatten(asdict(new)))
    return [
        (key, value, after[key])
        for key, value in before.items()
        if key in after and value != after[key] and key != _OF_THE_COMMAND
    ]


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        elif key == "clips":
            yield _NUM_CLIPS, len(value)
            for index, group in enumerate(value):
                yield from _flatten(group, f"{prefix}{key}[{index}].")
        else:
            yield f"{prefix}{key}", value
