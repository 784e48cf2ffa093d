"""Make one cell: train by `motionmatcher.train`, sample, measure, write down.

A cell depends on nothing but what it is: the base is loaded again for each, and every random number
comes from a stream named by the cell.
"""

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.compare.cells import SCRATCH_PREFIX, Cell, CellJob
from experiments.compare.methods import BASE
from motionmatcher import train
from motionmatcher.bases.base_model import BaseModel, load_base_model
from motionmatcher.bases.layout import find_base
from motionmatcher.bases.lora import load_lora
from motionmatcher.clips.reference import Reference, ReferenceClip
from motionmatcher.clips.video import Frames
from motionmatcher.devices import compute_exactly
from motionmatcher.diffusion.sampling import SamplingSettings, sample_latents
from motionmatcher.errors import DivergedError, NotFiniteError, UserError
from motionmatcher.files import atomic_path, write_json
from motionmatcher.random_streams import stream_seed
from motionmatcher.runs.run_folder import Run
from testbed.measurement import measure_video
from testbed.renderer import FRAME_SIZE
from testbed.tracker import ClipMeasurement, measure_clip
from testbed.truth import read_truth

DEVICE = torch.device("cpu")


def make_cell(job: CellJob) -> None:
    """Make a cell and write its result, whole or not at all.

    Raises:
        UserError: Base or clip cannot be read, or it is no longer the base of the other cells.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    compute_exactly(DEVICE)
    folder = job.result.parent
    folder.mkdir(parents=True, exist_ok=True)
    # Warnings of the trainer: they and its bar would tear the one over cells.
    printed = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=folder) as scratch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        begun = time.process_time()  # of the processor, for the machine may have other work
        run, diverged = (None, None) if job.cell.method == BASE else _train(job, scratch)
        trained = time.process_time()
        videos, kept = _sample(job, run)
        sampled = time.process_time()
    if kept:
        with atomic_path(job.result.with_suffix(".npz")) as path:
            np.savez_compressed(path, frames=np.stack(kept))
    result: dict[str, Any] = {
        "cell": asdict(job.cell),
        "identity": job.identity,
        "code_version": job.code_version,
        "diverged": diverged,
        "training_seconds": trained - begun,
        "sampling_seconds": sampled - trained,
        "wall_seconds": time.perf_counter() - started,
        "printed": printed.getvalue().splitlines(),
        "videos": videos,
    }
    write_json(job.result, result)


def _train(job: CellJob, folder: str) -> tuple[Run, str | None]:
    """Train in a folder; gives the run, and why it diverged or None."""
    diverged = None
    try:
        if not train(replace(job.settings, output_dir=folder), device=DEVICE.type).finished:
            raise KeyboardInterrupt
    except DivergedError as error:  # what was saved before counts
        diverged = str(error)
    (run_folder,) = Path(folder).iterdir()
    return Run(run_folder), diverged


def _sample(job: CellJob, run: Run | None) -> tuple[list[dict[str, Any]], list[Frames]]:
    """Sample and measure the videos of all samplings and prompts, of a run or else the base.

    Returns:
        One entry per video, and the frames of those kept: of `kept_step`, without noise prior, the first
        sample of each prompt.
    """
    cell, settings = job.cell, job.settings
    layout = find_base(settings.pretrained_model_path, motion_adapter=settings.motion_adapter_path)
    base = load_base_model(layout, DEVICE, flow_shift=settings.flow_shift)
    if base.fingerprint != job.identity["base"]:
        raise UserError(
            f"{settings.pretrained_model_path} was changed while the comparison ran: start it again, or "
            "give it a copy that stays as it is with --base"
        )
    data = settings.train_data.first  # of several clips, which move alike
    truth = read_truth(Path(data.single_video_path))
    sampling = SamplingSettings.of_run(settings)
    # Named by the clip's content, for one rendered once more has the same path.
    shared = job.result.parent / "references" / f"{cell.motion}-{job.identity['clip'][:16]}"
    iterations = settings.validation_data.inversion_iterations
    clip = ReferenceClip.of(data)
    reference = Reference(clip, base, settings.seed, shared, shared, iterations)
    inversion_noise = reference.inversion_noise(
        sampling.num_frames, sampling.width, sampling.height, sampling.num_inference_steps
    )
    length = sampling.num_frames
    videos: list[dict[str, Any]] = []
    kept: list[Frames] = []
    for step, noise_prior in sorted(cell.samplings):
        trained = step == 0 or (run is not None and step in run.checkpoint_steps())
        if run is not None and trained:
            load_lora(base.denoiser, run.find_checkpoint(step) / "lora")
        one = replace(sampling, noise_prior=noise_prior)
        for prompt, sample, frames in _videos(job, base, one, inversion_noise, trained):
            found = ClipMeasurement.of_nothing(length) if frames is None else measure_clip(frames)
            place = {"step": step, "noise_prior": noise_prior, "prompt": prompt, "sample": sample}
            metrics = measure_video(found, asdict(job.prompts[prompt]), truth)
            defined = {name: value for name, value in metrics.items() if math.isfinite(value)}
            videos.append({**place, "metrics": defined})
            if step == cell.kept_step and noise_prior == 0 and sample == 0:
                empty = np.zeros((length, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
                kept.append(empty if frames is None else frames)
    return videos, kept


def _videos(
    job: CellJob,
    base: BaseModel,
    sampling: SamplingSettings,
    inversion_noise: torch.Tensor,
    trained: bool,
) -> Iterator[tuple[int, int, Frames | None]]:
    """Sample one set of videos: prompt, sample and frames, None where nothing is left to show."""
    text_states = base.text.encode([prompt.text for prompt in job.prompts])
    negative_states = base.text.encode([sampling.negative_prompt])
    wanted = list(product(range(len(job.prompts)), range(job.samples)))
    for first in range(0, len(wanted), job.batch_size):
        batch = wanted[first : first + job.batch_size]
        frames: list[Frames | None] = [None] * len(batch)
        if trained:  # nothing is left of a training that diverged before
            seeds = [video_seed(job.cell, job.prompts[index].text, each) for index, each in batch]
            states = torch.stack([text_states[index] for index, _ in batch])
            try:
                latents = sample_latents(
                    base, states, negative_states, seeds, sampling, inversion_noise
                )
                frames = [base.codec.decode(video) for video in latents]
            except NotFiniteError:
                if job.cell.method == BASE:
                    raise
        for (index, sample), video in zip(batch, frames, strict=True):
            yield index, sample, video


def video_seed(cell: Cell, prompt: str, sample: int) -> int:
    """Seed of a video's fresh noise: the same for all methods, conditions, steps and noise priors."""
    return stream_seed(cell.seed, f"video of {cell.motion}: {prompt}", sample)
