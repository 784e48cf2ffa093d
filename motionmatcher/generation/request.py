"""Turn inference.py's flags into a checked request, before any weight is read."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from motionmatcher.bases.layout import find_base
from motionmatcher.clips.video import MAX_GIF_FPS
from motionmatcher.config.bounds import check_bounds
from motionmatcher.config.settings import (
    MAX_REPEATS,
    MAX_TIMESTEPS,
    MAX_UPDATES,
    TrainData,
    TrainSettings,
    ValidationData,
    limits,
)
from motionmatcher.diffusion.sampling import SamplingSettings
from motionmatcher.errors import UserError
from motionmatcher.files import check_writable
from motionmatcher.generation.generate import GenerationRequest
from motionmatcher.prompts import read_prompts, repetition_notes
from motionmatcher.random_streams import check_seeds
from motionmatcher.runs.manifest import read_manifest
from motionmatcher.runs.run_folder import Run, open_checkpoint
from motionmatcher.training.assembly import sampling_settings
from motionmatcher.training.checks import check_num_steps

# What the published program takes when a run does not say (published runs hold no settings).
PUBLISHED_MODEL = "models/zeroscope_v2_576w/"
PUBLISHED_FPS = 8.0
PUBLISHED_SAMPLING = SamplingSettings(
    num_frames=16,
    width=384,
    height=384,
    num_inference_steps=75,
    guidance_scale=12.0,
    lora_scale=1.0,
    noise_prior=0.3,
    min_timestep=500,
)
_LIMITS = {
    "--checkpoint_index": (0, MAX_UPDATES),
    "--lora_rank": limits(TrainSettings, "lora_rank"),
    "--width": limits(ValidationData, "width"),
    "--height": limits(ValidationData, "height"),
    "--repeat_num": (1, MAX_REPEATS),
    "--batch-size": limits(TrainSettings, "train_batch_size"),
    "--num-frames": limits(ValidationData, "num_frames"),
    "--num-steps": limits(ValidationData, "num_inference_steps"),
    "--guidance-scale": limits(ValidationData, "guidance_scale"),
    "--lora_scale": limits(ValidationData, "lora_scale"),
    "--noise_prior": limits(ValidationData, "noise_prior"),
    "--min_timestep": (0, MAX_TIMESTEPS),  # 0: the LoRA is on to the end
    "--seed": limits(ValidationData, "seed"),
    "--fps": limits(TrainData, "fps"),
}


def make_request(arguments: argparse.Namespace) -> GenerationRequest:
    """Check the flags and fill in what the run knows.

    Args:
        arguments: inference.py's flags; None where one was not given.

    Raises:
        UserError: Names the flag, file or folder that does not fit.
    """
    for flag, (minimum, maximum) in _LIMITS.items():
        value = getattr(arguments, flag.strip("-").replace("-", "_"))
        if value is not None:
            check_bounds(value, minimum, maximum, flag)
    given_prompts = _gather_prompts(arguments.prompt, arguments.prompts)
    run, checkpoint = _find_checkpoint(arguments.checkpoint_folder, arguments.checkpoint_index)
    trained = run.settings()
    given = {
        "num_frames": arguments.num_frames,
        "width": arguments.width,
        "height": arguments.height,
        "num_inference_steps": arguments.num_steps,
        "guidance_scale": arguments.guidance_scale,
        "lora_scale": arguments.lora_scale,
        "noise_prior": arguments.noise_prior,
        "min_timestep": arguments.min_timestep,
        "negative_prompt": arguments.negative_prompt,
        "scheduler": arguments.scheduler,
    }
    known = sampling_settings(trained) if trained else PUBLISHED_SAMPLING
    sampling = replace(known, **{name: value for name, value in given.items() if value is not None})

    def choose(flag: Any, of_run: Any) -> Any:
        return of_run if flag is None else flag

    fps = choose(arguments.fps, trained.train_data.fps if trained else PUBLISHED_FPS)
    notes = repetition_notes(given_prompts, "its videos are made once")
    if arguments.gif and fps > MAX_GIF_FPS:
        notes.append(f"no GIF plays faster than {MAX_GIF_FPS} fps: {fps:g} is for the mp4 alone.")
    of_run = run.find_path(trained.pretrained_model_path) if trained else PUBLISHED_MODEL
    layout = find_base(choose(arguments.model, of_run))
    layout.require_weights()
    layout.latent_shape(sampling.num_frames, sampling.width, sampling.height)
    check_num_steps(layout, sampling.num_inference_steps, "--num-steps")
    check_writable(arguments.output_dir, "--output_dir")
    read_manifest(arguments.output_dir)  # a damaged one is better known now
    seed = choose(arguments.seed, (trained.validation_data.seed if trained else None) or 0)
    check_seeds(seed, arguments.repeat_num)
    return GenerationRequest(
        prompts=list(dict.fromkeys(given_prompts)),
        seed=seed,
        repeat_num=arguments.repeat_num,
        batch_size=arguments.batch_size,
        sampling=sampling,
        run=run,
        trained=trained,
        checkpoint=checkpoint,
        lora_rank=arguments.lora_rank,
        layout=layout,
        mixed_precision=choose(
            arguments.mixed_precision, trained.mixed_precision if trained else "fp16"
        ),
        fps=fps,
        compile=choose(arguments.compile, trained.compile if trained else False),
        gif=arguments.gif,
        output_dir=arguments.output_dir,
        notes=notes,
    )


def _find_checkpoint(folder: Path, index: int | None) -> tuple[Run, Path]:
    """Find the checkpoint that --checkpoint_folder and --checkpoint_index mean together."""
    run, step = open_checkpoint(folder)
    is_checkpoint = folder.resolve() == run.checkpoint_folder(step).resolve()
    if is_checkpoint and index not in (None, step):
        raise UserError(
            f"--checkpoint_index {index}: --checkpoint_folder {folder} is a checkpoint already; "
            f"give the run, {run.folder}, or leave the index out."
        )
    return run, run.find_checkpoint(step if index is None else index)


def _gather_prompts(given: list[str], file: Path | None) -> list[str]:
    prompts = [prompt.strip() for prompt in given]
    if not all(prompts):
        raise UserError("--prompt is blank: say what the videos shall show.")
    if file is not None:
        prompts += read_prompts(file)
    if not prompts:
        raise UserError('no prompt: give --prompt "…", or --prompts FILE with one prompt a line.')
    return prompts
