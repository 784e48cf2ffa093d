"""Make one cell: train as the ordinary trainer does, sample, measure, write down.

A cell depends on nothing but what it is: the base is loaded again for each (a quarter of a second of
a minute), and every random number comes from a stream named by the cell.
"""

import contextlib
import io
import os
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.comparison.cells import SCRATCH_PREFIX, Cell, CellJob
from experiments.comparison.methods import BASE
from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import load_lora
from motionmatcher.clips.reference import Reference, ReferenceClip
from motionmatcher.config.settings import TrainSettings
from motionmatcher.devices import compute_exactly
from motionmatcher.diffusion.sampling import SamplingSettings, sample_latents
from motionmatcher.errors import DivergedError, NotFiniteError, UserError
from motionmatcher.files import atomic_path, write_json
from motionmatcher.random_streams import stream_seed
from motionmatcher.runs.run_folder import Run
from motionmatcher.training.assembly import attach_lora, make_accelerator
from motionmatcher.training.loop import prepare_optimizer, train
from testbed.renderer import FRAME_SIZE
from testbed.tracker import ClipMeasurement, measure_clip

DEVICE = torch.device("cpu")


def make_cell(job: CellJob) -> None:
    """Make a cell and write its result, whole or not at all.

    Args:
        job: What to make.

    Raises:
        UserError: Base or clip cannot be read, or it is no longer the base of the other cells.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    compute_exactly(DEVICE)
    cell, settings = job.cell, job.settings
    folder = job.result.parent
    folder.mkdir(parents=True, exist_ok=True)
    # Warnings of the trainer: they and its bar would tear the one over cells.
    printed = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=folder) as scratch,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(nowhere),
    ):
        run = Run(Path(scratch))
        layout = find_base(
            settings.pretrained_model_path, motion_adapter=settings.motion_adapter_path
        )
        base = load_base_model(layout, DEVICE)
        if base.fingerprint != job.identity["base"]:
            raise UserError(
                f"{settings.pretrained_model_path} was changed while the comparison ran: start it again, or "
                "give it a copy that stays as it is with --base"
            )
        # Named by the clip's content, for one rendered once more has the same path.
        shared = folder / "references" / f"{cell.motion}-{job.identity['clip'][:16]}"
        clip = ReferenceClip.of(settings.train_data)
        iterations = settings.validation_data.inversion_iterations
        reference = Reference(clip, base, settings.seed, shared, shared, iterations)
        diverged, training_seconds = None, 0.0
        if cell.method != BASE:
            diverged, training_seconds = _train(settings, base, reference, run)
        before = time.process_time()
        videos, frames = _sample(job, base, reference, run)
        sampling_seconds = time.process_time() - before
    if cell.kept_step is not None:
        with atomic_path(job.result.with_suffix(".npz")) as path:
            np.savez_compressed(path, frames=frames)
    result: dict[str, Any] = {
        "cell": asdict(cell),
        "identity": job.identity,
        "code_version": job.code_version,
        "diverged": diverged,
        "training_seconds": training_seconds,
        "sampling_seconds": sampling_seconds,
        "wall_seconds": time.perf_counter() - started,
        "printed": printed.getvalue().splitlines(),
        "videos": videos,
    }
    write_json(job.result, result)


def _train(
    settings: TrainSettings, base: BaseModel, reference: Reference, run: Run
) -> tuple[str | None, float]:
    """Train the LoRA, as `training.assembly.start_training` does, without previews and log files.

    Returns:
        Why it diverged, or None, and the seconds of one core that the steps took: of the processor,
        for the machine may have other work.
    """
    data = settings.train_data
    latents = reference.latents(data.n_sample_frames, data.width, data.height)
    text_states = base.text.encode([data.single_video_prompt])
    info = attach_lora(settings, base, latents)
    accelerator = make_accelerator(settings, DEVICE)
    optimizer = prepare_optimizer(settings, base, accelerator)
    diverged = None
    started = time.process_time()
    try:
        finished = train(
            run=run,
            settings=settings,
            base=base,
            latents=latents,
            text_states=text_states,
            info=info,
            accelerator=accelerator,
            optimizer=optimizer,
        )
    except DivergedError as error:  # what was saved before counts
        diverged = str(error)
    else:
        if not finished:
            raise KeyboardInterrupt
    return diverged, time.process_time() - started


def _sample(
    job: CellJob, base: BaseModel, reference: Reference, run: Run
) -> tuple[list[dict[str, Any]], NDArray[np.uint8]]:
    """Sample and measure the videos of all steps, noise priors and prompts.

    Returns:
        One entry per video, and the frames of those kept (videos, F, H, W, 3): of `kept_step`, the first
        sample of each noise prior and prompt.
    """
    cell = job.cell
    sampling = SamplingSettings.of_run(job.settings)
    inversion_noise = reference.inversion_noise(
        sampling.num_frames, sampling.width, sampling.height, sampling.num_inference_steps
    )
    text_states = base.text.encode(job.prompts)
    negative_states = base.text.encode([sampling.negative_prompt])
    wanted = [(index, sample) for index in range(len(job.prompts)) for sample in range(job.samples)]
    videos, kept = [], []
    for step in cell.steps:
        trained = step == 0 or step in run.checkpoint_steps()
        if step and trained:
            load_lora(base.denoiser, run.find_checkpoint(step) / "lora")
        for noise_prior in cell.noise_priors:
            settings = replace(sampling, noise_prior=noise_prior)
            for first in range(0, len(wanted), job.batch_size):
                batch = wanted[first : first + job.batch_size]
                # Nothing is left of a training that diverged.
                empty = (sampling.num_frames, FRAME_SIZE, FRAME_SIZE, 3)
                clips, shown = [np.zeros(empty, np.uint8) for _ in batch], False
                if trained:
                    try:
                        latents = sample_latents(
                            base,
                            torch.stack([text_states[index] for index, _ in batch]),
                            negative_states,
                            [
                                video_seed(cell, job.prompts[index], sample)
                                for index, sample in batch
                            ],
                            settings,
                            inversion_noise,
                        )
                        clips, shown = [base.codec.decode(video) for video in latents], True
                    except NotFiniteError:
                        if step == 0:
                            raise  # of the base itself
                for (index, sample), frames in zip(batch, clips, strict=True):
                    place = {"step": step, "noise_prior": noise_prior}
                    place |= {"prompt": index, "sample": sample}
                    found = measure_clip(frames) if shown else nothing_seen(len(frames))
                    videos.append({**place, **_as_plain_values(found)})
                    if step == cell.kept_step and sample == 0:
                        kept.append(frames)
    return videos, np.stack(kept) if kept else np.zeros((0,), np.uint8)


def video_seed(cell: Cell, prompt: str, sample: int) -> int:
    """Seed of a video's fresh noise: the same for all methods, steps and noise priors."""
    return stream_seed(cell.seed, f"video of {cell.motion}: {prompt}", sample)


def nothing_seen(num_frames: int) -> ClipMeasurement:
    """What counts as measured where there is no video: no object, no background."""
    return ClipMeasurement(
        color="",
        shape="",
        background_style="",
        background_color="",
        counts=np.zeros(num_frames, np.int64),
        path=np.full((num_frames, 2), np.nan),
        radius=np.full(num_frames, np.nan),
        camera=None,
    )


def _as_plain_values(measured: ClipMeasurement) -> dict[str, Any]:
    """The measurement as JSON holds it, what is not finite as null."""

    def plain(values: NDArray[Any]) -> list[Any]:
        rounded = values.astype(np.float64).round(4).astype(object)
        rounded[~np.isfinite(values)] = None
        return list(rounded.tolist())

    return {
        "color": measured.color,
        "shape": measured.shape,
        "background_style": measured.background_style,
        "background_color": measured.background_color,
        "counts": measured.counts.tolist(),
        "path": plain(measured.path),
        "radius": plain(measured.radius),
        "camera": None if measured.camera is None else plain(measured.camera),
    }
