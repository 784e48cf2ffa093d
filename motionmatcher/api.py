"""The Python API; `motionmatcher` itself exports these functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from motionmatcher.config.settings import TrainSettings
from motionmatcher.devices import choose_device
from motionmatcher.generation.generate import GeneratedVideo
from motionmatcher.generation.generate import generate as generate_videos
from motionmatcher.generation.request import GenerationOptions, make_request
from motionmatcher.maps.plan import MapOptions, plan_maps
from motionmatcher.maps.writing import RunMaps
from motionmatcher.maps.writing import write_maps as write_planned_maps
from motionmatcher.objectives.objective import Objective
from motionmatcher.packing.plan import PackOptions, plan_pack
from motionmatcher.packing.writing import write_pack as write_planned_pack
from motionmatcher.reporting import quiet as quiet_within
from motionmatcher.runs.pack_folder import Pack
from motionmatcher.runs.run_folder import Run, open_checkpoint
from motionmatcher.training.assembly import TrainedRun, start_training
from motionmatcher.training.planning import plan_resumed_training, plan_training


def train(
    settings: TrainSettings | Path | str,
    overrides: Sequence[str] = (),
    *,
    objective: str | Objective | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> TrainedRun:
    """Train a LoRA on the motion of a reference clip, as train.py does.

    Args:
        settings: Settings of `load_settings`, or the YAML file that holds them.
        overrides: `key=value` each; changes to the file's settings.
        objective: What is minimised: an object of one's own, or a registered name; None takes the one
            that the settings name.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quiet: Print neither notes nor progress.

    Returns:
        The run folder, with the loss of each step.

    Raises:
        UserError: Something does not fit, before any weight is read; or training failed.
    """
    where = choose_device(device)
    with quiet_within(quiet):
        plan = plan_training(settings, overrides, device=where, objective=objective)
        return start_training(plan, where)


def resume(
    run: Run | Path | str,
    overrides: Sequence[str] = (),
    *,
    objective: str | Objective | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> TrainedRun:
    """Let a run go on, as `train.py --resume` does: the result is that of an unbroken one to the bit.

    Args:
        run: A run, its folder, or one of its checkpoints' folders.
        overrides: `key=value` each; changes to the run's own settings.
        objective: What is minimised; needed for a run with an object of one's own.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quiet: Print neither notes nor progress.

    Returns:
        The run folder, with the loss of each step made now.

    Raises:
        UserError: As `train`; or a change would make it another run.
    """
    where = choose_device(device)
    with quiet_within(quiet):
        plan = plan_resumed_training(run, overrides, device=where, objective=objective)
        return start_training(plan, where)


def generate(
    run: Run | Pack | Path | str,
    prompts: str | Sequence[str],
    *,
    device: str = "auto",
    quiet: bool = False,
    **options: Unpack[GenerationOptions],
) -> list[GeneratedVideo]:
    """Generate videos that move as a run's reference clip does, as inference.py does.

    Args:
        run: A run, its folder, or one of its checkpoints' folders; ours or published. Or a pack.
        prompts: What to show.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quiet: Print neither notes nor progress.
        options: Number, size, sampling, output folder: see `GenerationOptions`. What is left out is as
            the run was trained.

    Returns:
        The videos, in the order of prompts and seeds.

    Raises:
        UserError: Something does not fit, before any weight is read; or sampling failed.
    """
    where = choose_device(device)
    texts = [prompts] if isinstance(prompts, str) else prompts
    with quiet_within(quiet):
        folder = run.folder if isinstance(run, Run) else run
        return generate_videos(make_request(folder, texts, **options), where)


def open_run(path: Path | str) -> Run:
    """Open a run folder, or the run of a checkpoint folder; ours or published.

    Raises:
        UserError: It is not there or holds no checkpoint.
    """
    return open_checkpoint(path)[0]


def open_pack(folder: Path | str) -> Pack:
    """Open a motion pack, for `generate`.

    Raises:
        UserError: It is not there, of a newer form, damaged, or lacks a file.
    """
    return Pack.open(folder)


def write_pack(
    run: Run | Path | str,
    *,
    device: str = "auto",
    quiet: bool = False,
    **options: Unpack[PackOptions],
) -> Pack:
    """Write a motion pack of a run, as `python -m motionmatcher.pack` does.

    Args:
        run: A run, its folder, or one of its checkpoints' folders.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quiet: Print neither notes nor progress.
        options: What it shall hold, and where: see `PackOptions`.

    Returns:
        The pack, for `generate`.

    Raises:
        UserError: Something does not fit, before any weight is read; or sampling failed.
    """
    where = choose_device(device)
    with quiet_within(quiet):
        folder = run.folder if isinstance(run, Run) else run
        return write_planned_pack(plan_pack(folder, **options), where)


def write_maps(
    run: Run | Path | str,
    *,
    device: str = "auto",
    quiet: bool = False,
    **options: Unpack[MapOptions],
) -> RunMaps:
    """Draw what the motion features see in a run's reference, as `python -m motionmatcher.maps` does.

    Args:
        run: A run, its folder, or one of its checkpoints' folders.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quiet: Print neither notes nor progress.
        options: Words and timesteps: see `MapOptions`.

    Returns:
        The maps themselves, and the folder with page and pictures.

    Raises:
        UserError: Something does not fit, before any weight is read.
    """
    where = choose_device(device)
    with quiet_within(quiet):
        folder = run.folder if isinstance(run, Run) else run
        return write_planned_maps(plan_maps(folder, **options), where)
