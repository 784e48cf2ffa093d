"""Check a training before any weight is read: a new one, or a run that goes on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from motionmatcher.config.loading import check_settings, load_settings
from motionmatcher.config.settings import TrainSettings
from motionmatcher.cost.estimate import check_memory
from motionmatcher.errors import UserError
from motionmatcher.objectives.objective import Objective
from motionmatcher.objectives.registry import make_objective
from motionmatcher.runs.run_folder import Run, find_resumable
from motionmatcher.training.checks import TrainingPlan, check_training
from motionmatcher.training.resuming import plan_resuming


def plan_training(
    settings: TrainSettings | Path | str,
    overrides: Sequence[str] = (),
    *,
    device: torch.device,
    objective: str | Objective | None = None,
    dry_run: bool = False,
) -> TrainingPlan:
    """Check a new training, or the one that `resume_from_checkpoint` names.

    Args:
        settings: Settings, or the YAML file that holds them.
        overrides: `key=value` each; changes to the file's settings.
        device: Where it shall run.
        objective: What is minimised, or its name; None takes the one that the settings name.
        dry_run: Weights may be missing, and memory is not checked.

    Raises:
        UserError: Something does not fit; names it and what to do.
    """
    own = _own_objective(objective)
    if isinstance(settings, TrainSettings):
        if overrides:
            raise UserError("overrides change the settings of a file; use dataclasses.replace.")
        # The name in the settings does not count beside an objective that is given.
        settings = check_settings(replace(settings, objective=own.name) if own else settings)
    else:
        settings = load_settings(settings, overrides)
    if settings.resume_from_checkpoint:
        found = find_resumable(settings.resume_from_checkpoint, settings.output_dir)
        return _plan_going_on(found, overrides, device, own, dry_run)
    plan = check_training(settings, objective=own, dry_run=dry_run)
    return _with_memory_checked(plan, device, dry_run)


def plan_resumed_training(
    run: Run | Path | str,
    overrides: Sequence[str] = (),
    *,
    device: torch.device,
    objective: str | Objective | None = None,
    dry_run: bool = False,
) -> TrainingPlan:
    """Check how a run is to go on; arguments and errors as of `plan_training`.

    Args:
        run: A run, its folder, or one of its checkpoints' folders.
        overrides: `key=value` each; changes to the run's own settings.
        device: Where it shall run.
        objective: What is minimised, or its name; None takes the one that the run's settings name.
        dry_run: Weights may be missing, and memory is not checked.
    """
    found = find_resumable(str(run.folder if isinstance(run, Run) else run))
    return _plan_going_on(found, overrides, device, _own_objective(objective), dry_run)


def _plan_going_on(
    found: tuple[Run, int],
    overrides: Sequence[str],
    device: torch.device,
    objective: Objective | None,
    dry_run: bool,
) -> TrainingPlan:
    plan = plan_resuming(found, overrides, objective=objective, dry_run=dry_run)
    return _with_memory_checked(plan, device, dry_run)


def _with_memory_checked(plan: TrainingPlan, device: torch.device, dry_run: bool) -> TrainingPlan:
    if not dry_run:
        check_memory(plan.layout, plan.settings, device, plan.objective)
    return plan


def _own_objective(objective: str | Objective | None) -> Objective | None:
    return make_objective(objective) if isinstance(objective, str) else objective
