"""Check what shall be generated, and fill in what the run knows, before any weight is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from motionmatcher.bases.layout import find_base
from motionmatcher.clips.clip_choice import find_clip
from motionmatcher.clips.video import MAX_GIF_FPS
from motionmatcher.config.bounds import MAX_REPEATS, MAX_TIMESTEPS, MAX_UPDATES, check_bounds
from motionmatcher.config.declaration import limits
from motionmatcher.config.loading import with_preview_defaults
from motionmatcher.config.settings import (
    INFERENCE_DIR,
    PRECISIONS,
    PUBLISHED_MODEL,
    PUBLISHED_REPEATS,
    SCHEDULERS,
    TrainData,
    TrainSettings,
    ValidationData,
)
from motionmatcher.diffusion.sampling import SamplingSettings, check_sampling
from motionmatcher.errors import UserError
from motionmatcher.files import check_writable
from motionmatcher.generation.generate import GenerationRequest
from motionmatcher.options import given_options
from motionmatcher.prompts import repetition_notes
from motionmatcher.random_streams import check_seeds
from motionmatcher.runs.choice import Choice, choice_file, read_choice
from motionmatcher.runs.manifest import read_manifest
from motionmatcher.runs.pack_folder import Pack
from motionmatcher.runs.run_folder import Run, open_checkpoint

_LIMITS = {
    "checkpoint": (0, MAX_UPDATES),
    "lora_rank": limits(TrainSettings, "lora_rank"),
    "width": limits(ValidationData, "width"),
    "height": limits(ValidationData, "height"),
    "repeat_num": (1, MAX_REPEATS),
    "batch_size": limits(TrainSettings, "train_batch_size"),
    "num_frames": limits(ValidationData, "num_frames"),
    "num_steps": limits(ValidationData, "num_inference_steps"),
    "guidance_scale": limits(ValidationData, "guidance_scale"),
    "lora_scale": limits(ValidationData, "lora_scale"),
    "noise_prior": limits(ValidationData, "noise_prior"),
    "min_timestep": (0, MAX_TIMESTEPS),  # 0: the LoRA is on to the end
    "seed": limits(ValidationData, "seed"),
    "fps": limits(TrainData, "fps"),
}
_CHOICES = {"scheduler": SCHEDULERS, "mixed_precision": PRECISIONS}
# Options that are SamplingSettings under the same name, and the one that is not.
_OF_SAMPLING = {
    name: name
    for name in (
        *("num_frames", "width", "height", "guidance_scale", "lora_scale"),
        *("noise_prior", "min_timestep", "negative_prompt", "scheduler"),
    )
} | {"num_steps": "num_inference_steps"}


class GenerationOptions(TypedDict, total=False):
    """What may be asked of a generation; left out or None is as the run was trained.

    Where the run has a `choice.json`, that comes first for `checkpoint`, `noise_prior` and `lora_scale`.

    Attributes:
        checkpoint: Step of the checkpoint; the last by default.
        model: The base model's folder or hub id.
        motion_adapter: That of the motion adapter, where the base is a Stable Diffusion; by default the
            run's, unless another model is given.
        lora_rank: Only checked against the checkpoint.
        lora_scale: Scale of the LoRA; 0 is the base model.
        min_timestep: Lowest timestep with the LoRA on.
        width: Pixels.
        height: Pixels.
        num_frames: Frames of each video.
        num_steps: Steps of sampling.
        scheduler: "ddim", "euler" (flow matching), "dpm++" or "unipc".
        guidance_scale: Classifier-free guidance; 1 is off.
        noise_prior: Share of the reference's noise in the start noise, 0 to 1.
        noise_clip: Of a run with several clips, the one whose noise is mixed in: its name, or its index from
            0 on; by default one drawn for each video by its seed.
        negative_prompt: What guidance leads away from.
        seed: Of each prompt's first video; the previews' by default. The next ones count up.
        repeat_num: Videos per prompt; 10 by default.
        batch_size: Videos at a time; 1 by default.
        output_dir: Gets videos, manifest and contact sheet; "outputs/inference" by default.
        fps: Frames per second of the files.
        gif: Write a GIF beside each video.
        mixed_precision: "no", "fp16" or "bf16".
        compile: Compile the denoiser's layers: pays on CUDA for many videos.
        vae_tiling: Encode and decode in tiles: less memory, slightly other numbers.
    """

    checkpoint: int | None
    model: str | None
    motion_adapter: str | None
    lora_rank: int | None
    lora_scale: float | None
    min_timestep: int | None
    width: int | None
    height: int | None
    num_frames: int | None
    num_steps: int | None
    scheduler: str | None
    guidance_scale: float | None
    noise_prior: float | None
    noise_clip: str | int | None
    negative_prompt: str | None
    seed: int | None
    repeat_num: int | None
    batch_size: int | None
    output_dir: Path | str | None
    fps: float | None
    gif: bool | None
    mixed_precision: str | None
    compile: bool | None
    vae_tiling: bool | None


def make_request(
    run: Pack | Path | str,
    prompts: Sequence[str],
    names: Mapping[str, str] | None = None,
    **options: Unpack[GenerationOptions],
) -> GenerationRequest:
    """Check what shall be generated and fill in what the run knows.

    Args:
        run: A run folder, ours or published, or a checkpoint folder; or a pack.
        prompts: What to show; each gets `repeat_num` videos.
        names: What errors call `run`, `prompts` and the options; by default as they are called here.
        options: See `GenerationOptions`.

    Raises:
        UserError: Names the option, file or folder that does not fit.
    """

    def name(option: str) -> str:
        return (names or {}).get(option, option)

    given = given_options(options, GenerationOptions)
    for option, choices in _CHOICES.items():
        if given.get(option, choices[0]) not in choices:
            raise UserError(
                f"{name(option)} must be one of {', '.join(choices)}, not '{given[option]}'."
            )
    for option, (minimum, maximum) in _LIMITS.items():
        if option in given:
            check_bounds(given[option], minimum, maximum, name(option))
    prompts = [prompt.strip() for prompt in prompts]
    if not prompts:
        raise UserError(f"no prompt: give {name('prompts')}, what the videos shall show.")
    if not all(prompts):
        raise UserError(f"{name('prompts')} is blank: say what the videos shall show.")
    opened, checkpoint, choice_notes = _open(run, given, name)
    trained = opened.settings()
    known = trained or _published_settings()
    sampling = replace(
        SamplingSettings.of_run(known),
        **{key: given[option] for option, key in _OF_SAMPLING.items() if option in given},
    )
    noise_clip = _find_noise_clip(opened, known.train_data, sampling.noise_prior, given, name)
    fps = given.get("fps", known.train_data.fps)
    notes = choice_notes + repetition_notes(prompts, "its videos are made once")
    if given.get("gif") and fps > MAX_GIF_FPS:
        notes.append(f"no GIF plays faster than {MAX_GIF_FPS} fps: {fps:g} is for the mp4 alone.")
    adapter = given.get("motion_adapter")
    if adapter is None and "model" not in given and known.motion_adapter_path is not None:
        adapter = opened.find_path(known.motion_adapter_path)
    model = given.get("model") or opened.find_path(known.pretrained_model_path)
    layout = find_base(model, motion_adapter=adapter)
    layout.require_weights()
    shape = layout.latent_shape(sampling.num_frames, sampling.width, sampling.height)
    if isinstance(opened, Pack) and sampling.noise_prior > 0:
        opened.check_noise(shape, name("noise_prior"))
    mixed_precision = given.get("mixed_precision", known.mixed_precision)
    layout.check_precision(mixed_precision, name("mixed_precision"))
    schedule = layout.read_schedule(known.rescale_schedule, known.flow_shift)
    check_sampling(schedule, sampling, name("num_steps"))
    sampling = replace(sampling, scheduler=sampling.scheduler or schedule.own_solver)
    output_dir = Path(given.get("output_dir", INFERENCE_DIR))
    check_writable(output_dir, name("output_dir"))
    read_manifest(output_dir)  # a damaged one is better known now
    assert known.validation_data.seed is not None
    seed = given.get("seed", known.validation_data.seed)
    repeat_num = given.get("repeat_num", PUBLISHED_REPEATS)
    check_seeds(seed, repeat_num)
    return GenerationRequest(
        prompts=list(dict.fromkeys(prompts)),
        seed=seed,
        repeat_num=repeat_num,
        batch_size=given.get("batch_size", 1),
        sampling=sampling,
        run=opened,
        trained=trained,
        checkpoint=checkpoint,
        lora_rank=given.get("lora_rank"),
        layout=layout,
        mixed_precision=mixed_precision,
        fps=fps,
        compile=given.get("compile", known.compile),
        vae_tiling=given.get("vae_tiling", known.vae_tiling),
        gif=given.get("gif", False),
        output_dir=output_dir,
        noise_clip=noise_clip,
        notes=notes,
    )


def _find_noise_clip(
    opened: Run | Pack,
    data: TrainData,
    noise_prior: float,
    given: Mapping[str, Any],
    name: Callable[[str], str],
) -> int | None:
    """Find the clip whose noise shall be mixed in; None where no option says which."""
    wanted = given.get("noise_clip")
    if wanted is None:
        return None
    place = f"{name('noise_clip')} {wanted}"
    if isinstance(opened, Pack):
        raise UserError(f"{place}: the pack {opened.folder} is of one clip: leave it out.")
    if not data.first.single_video_path:
        raise UserError(
            f"{place}: {opened.folder} does not say which clips it is of: leave it out."
        )
    if noise_prior == 0:
        raise UserError(
            f"{place}: with {name('noise_prior')} 0 no noise is mixed in: raise that, or leave the clip out."
        )
    return find_clip(data, wanted, name("noise_clip"))


def _published_settings() -> TrainSettings:
    """What a published run was made with, which holds no settings: the defaults."""
    unknown = TrainData(single_video_path="", single_video_prompt="")
    return with_preview_defaults(
        TrainSettings(pretrained_model_path=PUBLISHED_MODEL, train_data=unknown)
    )


def _open(
    run: Pack | Path | str, given: dict[str, Any], name: Callable[[str], str]
) -> tuple[Run | Pack, Path, list[str]]:
    """Open what videos shall be made with: it, its checkpoint's folder, and what a choice gave to `given`."""
    if isinstance(run, Pack):
        if "checkpoint" in given:
            raise UserError(
                f"{name('checkpoint')} {given['checkpoint']}: the pack {run.folder} holds one checkpoint: "
                "leave it out."
            )
        return run, run.folder, []
    opened = _find_run(Path(run), given, name)
    choice_notes = _take_choice(opened, given, name)
    return opened, opened.find_checkpoint(given.get("checkpoint")), choice_notes


def _find_run(folder: Path, given: dict[str, Any], name: Callable[[str], str]) -> Run:
    """Open the run of a folder; a checkpoint's folder gives the option `checkpoint` too."""
    run, step = open_checkpoint(folder)
    if folder.resolve() == run.checkpoint_folder(step).resolve():
        if given.get("checkpoint") not in (None, step):
            raise UserError(
                f"{name('checkpoint')} {given['checkpoint']}: {name('run')} {folder} is a checkpoint "
                f"already; give the run, {run.folder}, or leave the index out."
            )
        given["checkpoint"] = step
    return run


def _take_choice(run: Run, given: dict[str, Any], name: Callable[[str], str]) -> list[str]:
    """Give what no option says the value that was chosen for the run, and say which ones."""
    missing = [entry.name for entry in fields(Choice) if entry.name not in given]
    choice = read_choice(run.folder) if missing else None
    if choice is None:
        return []
    taken = {option: getattr(choice, option) for option in missing}
    file, step = choice_file(run.folder), taken.get("checkpoint")
    if step is not None and step not in run.checkpoint_steps():
        raise UserError(
            f"{file} names checkpoint {step}, which {run.folder} does not have: give "
            f"{name('checkpoint')}, delete the file, or choose again: python -m experiments.choose."
        )
    given |= taken
    values = ", ".join(f"{name(option)} {value:g}" for option, value in taken.items())
    return [f"from {file}: {values}."]
