"""Check a training run before any weight is read: settings, clip, base, map sizes."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from motionmatcher.bases.layout import BaseLayout, find_base
from motionmatcher.clips.clip_file import ClipFile
from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.clips.video import bucket_size
from motionmatcher.config.loading import idle_keys, with_preview_defaults
from motionmatcher.config.settings import TrainSettings
from motionmatcher.config.train_data import TrainData
from motionmatcher.diffusion.sampling import SamplingSettings, check_sampling, settle_solver
from motionmatcher.errors import UserError
from motionmatcher.features.maps import Size
from motionmatcher.files import check_writable, nearest_folder
from motionmatcher.inspection.notes import rate_notes
from motionmatcher.inspection.report import examine
from motionmatcher.objectives.objective import Objective
from motionmatcher.objectives.registry import make_objective
from motionmatcher.paths import find_path
from motionmatcher.prompts import repetition_notes
from motionmatcher.runs.run_folder import Run


@dataclass(frozen=True)
class TrainingPlan:
    """What a checked run will do.

    Attributes:
        settings: With sizes resolved: no bucketing left, no null in the preview's sizes.
        objective: What is minimised; not prepared yet.
        layout: The base model's folder and configs.
        sizes: Heights and widths to show, by name: of the latents, and of what the objective reads.
        notes: Things the user should know, one line each.
        resume: The run and step to continue from; None starts a new run.
    """

    settings: TrainSettings
    objective: Objective
    layout: BaseLayout
    sizes: Mapping[str, Size]
    notes: tuple[str, ...]
    resume: tuple[Run, int] | None = None


def check_training(
    settings: TrainSettings,
    *,
    resume: tuple[Run, int] | None = None,
    objective: Objective | None = None,
    dry_run: bool = False,
) -> TrainingPlan:
    """Check everything that can be checked without reading weights.

    Args:
        settings: The settings as read.
        resume: The run and step to continue from. It has its reference, so the clip need not be there,
            and knows where its paths led. None makes a new run in the output_dir.
        objective: What is minimised; None takes the one that the settings name.
        dry_run: Weights may be missing; that is a note then.

    Raises:
        UserError: Something does not fit; names it and what to do.
    """
    notes: list[str] = []
    objective = objective or make_objective(settings.objective)
    settings = with_preview_defaults(replace(settings, objective=objective.name))
    run_folder = resume[0].folder if resume else None
    if not resume:
        settings = _resolve_sizes(settings, notes, inspect=dry_run)
    base = find_path(settings.pretrained_model_path, run_folder)
    adapter = settings.motion_adapter_path and find_path(settings.motion_adapter_path, run_folder)
    layout = find_base(base, configs_only=dry_run, motion_adapter=adapter)
    if not dry_run:
        layout.require_weights()
    else:
        layout.check_weights()
        if layout.missing_weights():
            notes.append(
                f"{layout.folder} has no weights yet for {', '.join(layout.missing_weights())}."
            )
    data, validation = settings.train_data, settings.validation_data
    *_, height, width = layout.latent_shape(data.n_sample_frames, data.width, data.height)
    assert validation.num_frames is not None
    assert validation.width is not None
    assert validation.height is not None
    layout.latent_shape(validation.num_frames, validation.width, validation.height)
    _check_denoiser(settings, layout)
    settings = _check_schedule(settings, layout)

    sizes = {"latent_size": (height, width), **objective.check(settings, layout)}
    _check_folders(settings, run_folder)
    if run_folder is not None:
        check_writable(run_folder, "--resume")
    else:
        check_writable(Path(settings.output_dir), "output_dir")
    _check_packages(settings)
    _check_room(settings, layout, run_folder or Path(settings.output_dir))
    if settings.lr_warmup_steps >= settings.max_train_steps:
        notes.append(
            f"lr_warmup_steps {settings.lr_warmup_steps} lasts all of max_train_steps "
            f"{settings.max_train_steps}: the full learning rate is never reached."
        )
    if validation.sample_preview:
        notes += repetition_notes(validation.prompt, "its previews will be the same")
    notes += idle_keys(settings)
    return TrainingPlan(settings, objective, layout, sizes, tuple(notes), resume)


def _resolve_sizes(settings: TrainSettings, notes: list[str], inspect: bool) -> TrainSettings:
    """Settle all sizes, so that the run's config no longer needs the clip.

    Args:
        settings: The settings as read.
        notes: Gets what is to be known of the clip.
        inspect: Look at its frames for that, too.
    """
    data, validation = settings.train_data, settings.validation_data
    asked = data.width, data.height
    sizes = {
        clip.single_video_path: _clip_size(settings, clip, place, notes, inspect)
        for clip, place in zip(data.each, data.places, strict=True)
    }
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{path} {width}x{height}" for path, (width, height) in sizes.items())
        raise UserError(
            f"train_data.use_bucketing gives clips of other shapes other sizes ({found}), and all must have "
            "one: set it to false, or cut the clips to one shape."
        )
    width, height = next(iter(sizes.values()))
    preview = validation.width, validation.height
    # A preview asked for at the training's size follows it into its bucket.
    preview_width, preview_height = (width, height) if preview == asked else preview
    return replace(
        settings,
        train_data=replace(data, width=width, height=height, use_bucketing=False),
        validation_data=replace(validation, width=preview_width, height=preview_height),
    )


def _clip_size(
    settings: TrainSettings, data: TrainData, place: str, notes: list[str], inspect: bool
) -> tuple[int, int]:
    """Check that a clip has the frames that are read of it; gives its width and height in training.

    Args:
        settings: The settings as read.
        data: The clip's.
        place: Where the settings have it.
        notes: Gets what is to be known of the clip.
        inspect: Look at its frames for that, too.
    """
    path, choice = data.single_video_path, FrameChoice.of(data)
    clip = ClipFile(find_path(path), choice.grid_fps)
    preview_frames = settings.validation_data.num_frames
    assert preview_frames is not None
    num_frames, fps = len(clip), clip.timeline.fps
    frames = choice.indices(path, num_frames, fps, data.n_sample_frames)
    choice.indices(path, num_frames, fps, preview_frames)  # the noise prior reads as many
    notes += examine(clip, data, place, frames).notes if inspect else rate_notes(clip, data)
    if data.use_bucketing:
        return bucket_size(data.width, data.height, clip.width, clip.height)
    return data.width, data.height


def _check_denoiser(settings: TrainSettings, layout: BaseLayout) -> None:
    denoiser = layout.denoiser.part_class
    for target in settings.lora_targets:
        if target not in denoiser.lora_kinds:
            raise UserError(
                f"lora_targets: this base has no {target}: expected of {', '.join(denoiser.lora_kinds)}."
            )
    layout.check_precision(settings.mixed_precision, "mixed_precision")


def _check_schedule(settings: TrainSettings, layout: BaseLayout) -> TrainSettings:
    """Check what the schedule has to go with, and settle which solver previews take."""
    schedule = layout.read_schedule(settings.rescale_schedule, settings.flow_shift)
    if settings.min_timestep >= schedule.num_train_timesteps:
        raise UserError(
            f"min_timestep {settings.min_timestep} must be below the base's "
            f"{schedule.num_train_timesteps} timesteps."
        )
    check_sampling(
        schedule, SamplingSettings.of_run(settings), "validation_data.num_inference_steps"
    )
    if settings.rescale_schedule and schedule.prediction_type == "epsilon":
        raise UserError(
            "rescale_schedule wants a v-prediction base: at zero SNR an epsilon-prediction base "
            f"({settings.pretrained_model_path}) has nothing to say. Set it to false."
        )
    return settle_solver(settings, schedule)


def _check_packages(settings: TrainSettings) -> None:
    optional = {
        "bitsandbytes": ("use_8bit_adam", settings.use_8bit_adam, "false"),
        "wandb": ("logger_type: wandb", settings.logger_type == "wandb", "tensorboard"),
    }
    for package, (setting, wanted, otherwise) in optional.items():
        if wanted and find_spec(package) is None:
            raise UserError(
                f"{setting} needs the package {package}: pip install {package}, "
                f"or set it to {otherwise}."
            )


def _check_room(settings: TrainSettings, layout: BaseLayout, folder: Path) -> None:
    from motionmatcher.cost.step import lora_size

    denoiser = layout.denoiser
    files = 8 if denoiser.part_class.comfyui_modules else 4  # bytes of both, or of the one there is
    moments = 2 if settings.use_8bit_adam else 8  # bytes of both
    needed = lora_size(denoiser.part_class, denoiser.config, settings) * (files + moments)
    disk = shutil.disk_usage(nearest_folder(folder))
    if disk.total and disk.free < needed:  # some file systems do not say, and have no total either
        raise UserError(
            f"{folder}: a checkpoint takes {needed / 2**20:.1f} MiB and {disk.free / 2**20:.1f} MiB are "
            "free there: make room, or choose another output_dir."
        )


def _check_folders(settings: TrainSettings, run_folder: Path | None) -> None:
    for key in ("lora_path", "cached_latent_dir"):
        folder = getattr(settings, key)
        if folder is not None and not Path(find_path(folder, run_folder)).is_dir():
            raise UserError(f"{key}: {folder} is not a folder.")
