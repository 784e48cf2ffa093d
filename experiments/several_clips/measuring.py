"""What is trained and measured: cells of the comparison, on several clips or on one of them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from experiments.compare.bench import CELL_VERSION, TRACEBACK_SUFFIX, code_version, make_in_worker
from experiments.compare.cells import Cell, CellJob, cell_settings
from experiments.compare.config import ComparisonConfig
from experiments.compare.methods import BASE, FEATURE_MATCHING, OPEN, UNSAID
from experiments.compare.rows import Row, rows_of
from experiments.jobs.resumable import keep_traceback, run_missing
from experiments.jobs.workers import worker_pool
from experiments.several_clips.clips import clip_files
from motionmatcher.bases.layout import find_base
from motionmatcher.config.settings import TrainSettings
from motionmatcher.config.train_data import ClipData
from motionmatcher.errors import UserError
from motionmatcher.reporting import progress_bar
from motionmatcher.text_files import read_json
from testbed.captions import shape_caption
from testbed.truth import read_truth

ARMS = ONE, THREE = "one clip", "three clips"
STAGE = "several clips"
# Method -> regime: feature matching at the noise levels that its settings have, for at all of them it learns
# nothing in so few steps, and a loss on the prediction at all, where it is published and looks leak.
REGIMES_OF = {FEATURE_MATCHING: "", "denoising": OPEN}


@dataclass(frozen=True)
class Question:
    """How much is measured.

    Attributes:
        motions: Of `clips.LOOKS`.
        seeds: Trainings of each motion, method and arm.
        steps: Of each training.
        methods: Of `REGIMES_OF`.
    """

    motions: tuple[str, ...]
    seeds: int
    steps: int
    methods: tuple[str, ...]


def make_jobs(
    config: ComparisonConfig, question: Question, clips: Path, cells: Path
) -> list[CellJob]:
    """List the base and all trainings, whose captions leave the looks unsaid.

    With seed s, the clip of look s stands first: the arm of one clip trains on it alone, and the looks that
    leak are measured by it in both arms. So over the seeds each look counts alike.

    Args:
        config: Of the comparison; its prompts, sampling and shared settings are taken.
        question: How much.
        clips: Folder of the rendered clips.
        cells: Gets a file for each job.
    """
    places = list(product(question.motions, range(question.seeds)))
    found = [
        _job(config, Cell(BASE, motion, seed, ((0, 0.0),)), "", clips, cells)
        for motion, seed in places
    ]
    for (motion, seed), method, arm in product(places, question.methods, ARMS):
        samplings = ((question.steps, 0.0),)
        cell = Cell(method, motion, seed, samplings, REGIMES_OF[method], UNSAID)
        found.append(_job(config, cell, arm, clips, cells))
    return found


def _job(config: ComparisonConfig, cell: Cell, arm: str, clips: Path, cells: Path) -> CellJob:
    files = clip_files(clips, cell.motion)
    shift = cell.seed % len(files)
    trained_on = [*files[shift:], *files[:shift]][: None if arm == THREE else 1]
    settings = _with_clips(cell_settings(config, None, cell), trained_on)
    layout = find_base(settings.pretrained_model_path)
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in trained_on]
    identity = {
        "version": CELL_VERSION,
        "arm": arm,
        "cell": asdict(cell),
        "settings": _without_places(settings),
        "prompts": [prompt.text for prompt in config.prompts],
        "samples": config.samples,
        "batch_size": config.batch_size,
        "base": layout.fingerprint(),
        "clip": hashes[0],
        "clips": hashes,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    label = "-".join([cell.label, *arm.split()])
    return CellJob(
        replace(cell, changes=(arm,) if arm else ()),
        settings,
        tuple(config.prompts),
        config.samples,
        config.batch_size,
        identity,
        code_version(),
        cells / f"{label}-{digest}.json",
    )


def _with_clips(settings: TrainSettings, files: Sequence[Path]) -> TrainSettings:
    """Train on some clips; a single one in the plain way."""
    entries = [
        ClipData(path=str(file), prompt=shape_caption(read_truth(file).appearance["shape"]))
        for file in files
    ]
    several = replace(
        settings.train_data, single_video_path="", single_video_prompt="", clips=entries
    )
    return replace(settings, train_data=several if len(entries) > 1 else several.first)


def _without_places(settings: TrainSettings) -> dict[str, Any]:
    """Give the settings less what says where things lie; clips and base count by their content."""
    values = asdict(settings)
    for key in ("pretrained_model_path", "output_dir"):
        del values[key]
    data = values["train_data"]
    del data["single_video_path"]
    for clip in data["clips"]:
        del clip["path"]
    return values


def read_rows(jobs: Iterable[CellJob]) -> list[Row]:
    """Read the videos of jobs that are done, with their arm as what is changed."""
    return rows_of(STAGE, (read_json(job.result) for job in jobs))


def make_all(jobs: Sequence[CellJob], workers: int) -> None:
    """Make what is missing, in workers of one thread.

    Raises:
        UserError: Some could not be made; the others are kept.
    """
    failures = []
    with worker_pool(workers) as pool:
        made = run_missing(jobs, make_in_worker, pool)
        for job, error in progress_bar(made, "cells", total=len(jobs)):
            keep_traceback(error, job.result.with_suffix(TRACEBACK_SUFFIX))
            if error is not None:
                failures.append(f"{job.result.stem}: {type(error).__name__}: {error}")
    if failures:
        raise UserError(f"{len(failures)} cells could not be made: {'; '.join(failures)}")
