"""Make the cells that are missing, each a file named by a digest of what its result depends on.

So a result is never taken for that of other settings, another base or another clip, and none is made
again for a change that cannot matter to it.
"""

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import MISSING, asdict, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.compare.cells import Cell, CellJob, base_cells, cell_settings
from experiments.compare.config import ComparisonConfig
from experiments.compare.methods import BASE, OF_FEATURE_MATCHING, TITLES, TRAINED
from experiments.jobs.resumable import keep_traceback, run_missing
from motionmatcher.bases.layout import BaseLayout, find_base
from motionmatcher.config.settings import WITHOUT_EFFECT, TrainSettings
from motionmatcher.environment import processor_name
from motionmatcher.errors import UserError
from motionmatcher.text_files import read_json

Result = dict[str, Any]

# Raised by hand when the same settings come to mean something else: a default that changes, or how a
# cell is trained, sampled or tracked. Cells of an older version are made again.
CELL_VERSION = 2
TRACEBACK_SUFFIX = ".traceback.txt"

# Keys that cannot change a result: the base counts by its content, and nothing is shown on the way.
_WHERE = ("pretrained_model_path", "motion_adapter_path", "output_dir")
_WITHOUT_INFLUENCE = (*_WHERE, "logger_type", "validation_steps", *WITHOUT_EFFECT)
_OF_SAMPLING = ("train_data", "validation_data", "flow_shift")  # all that the base depends on
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "numpy")


class Bench:
    """Makes the cells of one comparison on one base, those that are not there yet."""

    def __init__(
        self, config: ComparisonConfig, base_folder: str | None, layout: BaseLayout
    ) -> None:
        """Take the base at a layout; its folder, where it is another than the shared settings'."""
        self.config = config
        self.base_folder = base_folder
        self.layout = layout
        self.fingerprint = layout.fingerprint()
        self._code_version = code_version()
        self._jobs: dict[Cell, CellJob] = {}

    def job(self, cell: Cell) -> CellJob:
        """Put together what a worker needs for a cell.

        Raises:
            UserError: A setting is unknown or wrong, or does not fit the comparison.
        """
        if cell not in self._jobs:
            settings = cell_settings(self.config, self.base_folder, cell)
            identity = self._identify(cell, settings)
            digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
            self._jobs[cell] = CellJob(
                cell,
                settings,
                tuple(self.config.prompts),
                self.config.samples,
                self.config.batch_size,
                identity,
                self._code_version,
                Path(self.config.cells_dir) / f"{cell.label}-{digest}.json",
            )
        return self._jobs[cell]

    def _identify(self, cell: Cell, settings: TrainSettings) -> dict[str, Any]:
        """Tell everything that a cell's result depends on, as plain values."""
        clip = Path(settings.train_data.single_video_path)
        matter = _changed_keys(settings, without=_WITHOUT_INFLUENCE)
        del matter["train_data"]["single_video_path"]
        if cell.method == BASE:
            matter = {key: value for key, value in matter.items() if key in _OF_SAMPLING}
        elif settings.objective != "feature_matching":
            matter = {k: value for k, value in matter.items() if k not in OF_FEATURE_MATCHING}
        return {
            "version": CELL_VERSION,
            "cell": {**asdict(cell), "changes": None},  # as far as they matter: in the settings
            "settings": matter,
            "prompts": [prompt.text for prompt in self.config.prompts],
            "samples": self.config.samples,
            "batch_size": self.config.batch_size,  # changes rounding
            "base": self.fingerprint,
            "clip": hashlib.sha256(clip.read_bytes()).hexdigest(),
        }

    def results(self, cells: Iterable[Cell]) -> list[Result]:
        """Read the results of those cells that are made."""
        jobs = [self.job(cell) for cell in cells]
        # The file may be of a cell that said the same settings in other words.
        return [
            {**read_json(job.result), "cell": asdict(job.cell)} for job in jobs if job.is_done()
        ]

    def _distinct(self, cells: Iterable[Cell]) -> dict[Path, CellJob]:
        """Give the jobs of cells by their files; some settings come twice."""
        return {job.result: job for job in map(self.job, cells)}

    def all_made(self, cells: Iterable[Cell]) -> bool:
        """Whether all results of some cells are there."""
        return all(self.job(cell).is_done() for cell in cells)

    def make(self, cells: Sequence[Cell], pool: Executor) -> list[Result]:
        """Make the cells that are not there, and read all, in their order.

        Raises:
            UserError: Some could not be made, with what went wrong, or a worker was killed; the others
                are kept.
        """
        failures: dict[Cell, Exception] = {}
        jobs = self._distinct(cells).values()
        left = [job for job in jobs if not job.is_done()]
        made = len(jobs) - len(left)
        with tqdm(total=len(jobs), initial=made, desc="comparing", unit="cell") as bar:
            for job, error in run_missing(left, make_in_worker, pool):
                keep_traceback(error, job.result.with_suffix(TRACEBACK_SUFFIX))
                if error is not None:
                    failures[job.cell] = error
                bar.set_postfix_str(job.cell.label)
                bar.update()
        if failures:
            reasons = "; ".join(
                f"{cell.label}: {type(error).__name__}: {' '.join(str(error).split())}"
                for cell, error in failures.items()
            )
            raise UserError(
                f"{len(failures)} cells could not be made, the others are kept in {self.config.cells_dir}, "
                f"with tracebacks in *{TRACEBACK_SUFFIX}; the same command tries again. {reasons}"
            )
        return self.results(cells)

    def print_plan(self, stages: Sequence[tuple[str, Sequence[Cell]]], workers: int) -> None:
        """Print what there is to do, and the time it takes as far as cells that are made tell it."""
        measured = [result for _, cells in stages for result in self.results(cells)]
        per_step = {method: _per_step(measured, method) for method in TRAINED}
        any_step, per_video = _per_step(measured), _ratio(measured, "sampling_seconds", _num_videos)
        total, counted = 0.0, set[Path]()
        print(f"{'stage':<22}{'cells':>7}{'made':>6}{'steps':>9}{'videos':>8}{'hours left':>12}")
        for name, cells in stages:
            jobs = [job for path, job in self._distinct(cells).items() if path not in counted]
            counted.update(job.result for job in jobs)
            made, hours, steps, videos = 0, 0.0, 0, 0
            for job in jobs:
                num_steps = job.cell.steps[-1]
                num_videos = len(job.cell.samplings) * len(job.prompts) * job.samples
                made, steps, videos = made + job.is_done(), steps + num_steps, videos + num_videos
                if not job.is_done():
                    seconds = num_videos * per_video
                    if num_steps:
                        own = per_step[job.cell.method]
                        seconds += num_steps * (any_step if math.isnan(own) else own)
                    hours += seconds / 3600 / workers
            total += hours
            left = "?" if math.isnan(hours) else f"{hours:.2f}"
            print(f"{name:<22}{len(jobs):>7}{made:>6}{steps:>9}{videos:>8}{left:>12}")
        left = "unknown" if math.isnan(total) else f"{total:.1f}"
        print(f"hours left: {left}, with {workers} workers of one thread, by the cells made")

    def provenance(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Say how some cells came about."""
        results = self.results(job.cell for job in self._distinct(cells).values())
        hours = sum(r["training_seconds"] + r["sampling_seconds"] for r in results) / 3600
        diverged = sum(result["diverged"] is not None for result in results)
        packages = [f"{name} {version(name)}" for name in _PACKAGES]
        sampling = self.job(cells[0]).settings.validation_data
        solver = sampling.scheduler or self.layout.read_schedule().own_solver
        return {
            "sampling": f"{self.config.num_inference_steps} steps of {solver}, guidance "
            f"{sampling.guidance_scale:g}",
            "base": f"`{Path(self.layout.name).name}`, fingerprint {self.fingerprint}",
            "cells": f"{len(results)}, {sum(map(_num_steps, results))} training steps, "
            f"{sum(map(_num_videos, results))} videos, {hours:.2f} core-hours; "
            f"{diverged} trainings diverged",
            "machine": f"{processor_name()}, {os.cpu_count()} cores, {platform.system()}",
            "versions": ", ".join([f"Python {platform.python_version()}", *packages]),
            "commit": ", ".join(sorted({r["code_version"] or "unknown" for r in results})),
            "seconds per step": ", ".join(
                f"{TITLES[method]} {seconds:.2f}"
                for method in TRAINED
                if not math.isnan(seconds := _per_step(results, method))
            ),
            "date": time.strftime("%Y-%m-%d"),
        }


def open_bench(config: ComparisonConfig, base_folder: str | None) -> Bench:
    """Find the base and prepare to make cells with it; refused without its weights."""
    first = cell_settings(config, base_folder, base_cells(config, config.tuning.motions, 1)[0])
    layout = find_base(first.pretrained_model_path, motion_adapter=first.motion_adapter_path)
    layout.require_weights()
    return Bench(config, base_folder, layout)


def _num_steps(result: Result) -> int:
    """Training steps that a cell made; 0 for one that diverged, which made fewer than it should."""
    return 0 if result["diverged"] else max(step for step, _ in result["cell"]["samplings"])


def _num_videos(result: Result) -> int:
    return len(result["videos"])


def _per_step(results: Iterable[Result], method: str | None = None) -> float:
    """Seconds of one core per training step of a method, or of all."""
    found = [r for r in results if method in (None, r["cell"]["method"]) and _num_steps(r)]
    return _ratio(found, "training_seconds", _num_steps)


def _ratio(results: Sequence[Result], seconds: str, count: Callable[[Result], int]) -> float:
    total = sum(map(count, results))
    return sum(result[seconds] for result in results) / total if total else math.nan


def code_version() -> str | None:
    """Say which state of the program this is, as `git describe` does; None outside a repository."""
    if shutil.which("git") is None:
        return None
    command, here = ["git", "describe", "--always", "--dirty"], Path(__file__).parent
    described = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return described.stdout.strip() or None


def make_in_worker(job: CellJob) -> None:
    """Make a cell in a worker; only there is torch imported."""
    from experiments.compare.make_cell import make_cell

    make_cell(job)


def _changed_keys(settings: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """List the keys that are not at their default, so that a new key changes no identity."""
    changed: dict[str, Any] = {}
    for entry in fields(settings):
        if entry.name in without:
            continue
        value, default = getattr(settings, entry.name), entry.default  # MISSING equals nothing
        if is_dataclass(value):
            value, default = _changed_keys(value), {}
        elif entry.default_factory is not MISSING:
            default = entry.default_factory()
        if value != default:
            changed[entry.name] = value
    return changed
