"""Make the cells that are missing, and tell how long what is left takes."""

import math
import statistics
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.comparison.cells import Cell, CellJob, cell_settings, num_videos
from experiments.comparison.config import ComparisonConfig
from experiments.comparison.identity import code_version, identify, result_path
from experiments.comparison.methods import BASE
from experiments.jobs.resumable import keep_traceback, run_missing
from motionmatcher.bases.layout import BaseLayout
from motionmatcher.errors import UserError
from motionmatcher.text_files import read_json

Result = dict[str, Any]

TRACEBACK_SUFFIX = ".traceback.txt"


class Bench:
    """Makes the cells of one comparison on one base, those that are not there yet.

    Attributes:
        config: What is compared.
        base_folder: The base, instead of the shared settings' own; None for that.
        layout: The base's folder and configs.
        fingerprint: The base's.
        failures: Cells that could not be made, and why.
    """

    def __init__(
        self, config: ComparisonConfig, base_folder: str | None, layout: BaseLayout
    ) -> None:
        self.config = config
        self.base_folder = base_folder
        self.layout = layout
        self.fingerprint = layout.fingerprint()
        self.failures: dict[Cell, Exception] = {}
        self._code_version = code_version()
        self._jobs: dict[Cell, CellJob] = {}

    def job(self, cell: Cell) -> CellJob:
        """Put together what a worker needs for a cell.

        Raises:
            UserError: A setting is unknown or wrong, or does not fit the comparison.
        """
        if cell not in self._jobs:
            settings = cell_settings(self.config, self.base_folder, cell)
            identity = identify(self.config, cell, settings, self.fingerprint)
            self._jobs[cell] = CellJob(
                cell,
                settings,
                tuple(prompt.text for prompt in self.config.prompts),
                self.config.samples,
                self.config.batch_size,
                identity,
                self._code_version,
                result_path(Path(self.config.cells_dir), cell, identity),
            )
        return self._jobs[cell]

    def path(self, cell: Cell) -> Path:
        """Where the result of a cell is or will be."""
        return self.job(cell).result

    def results(self, cells: Iterable[Cell]) -> list[Result]:
        """Read the results of those cells that are made."""
        paths = [self.path(cell) for cell in cells]
        return [read_json(path) for path in paths if path.is_file()]

    def make(self, cells: Sequence[Cell], pool: Executor, bar: Any) -> list[Result]:
        """Make the cells that are not there, and read all.

        One that cannot be made goes to `failures` and stops no other.

        Args:
            cells: What to make.
            pool: Makes them.
            bar: A tqdm bar that counts cells.

        Returns:
            The results of those made, in the order of the cells.

        Raises:
            UserError: A worker was killed; the cells finished are kept.
        """
        for job, error in run_missing([self.job(cell) for cell in cells], _make_cell, pool):
            keep_traceback(error, job.result.with_suffix(TRACEBACK_SUFFIX))
            if error is not None:
                self.failures[job.cell] = error
            bar.set_postfix_str(job.cell.label)
            bar.update()
        return self.results(cells)

    def require_made(self, stages: Container[str]) -> None:
        """Check that no cell of some stages failed.

        Raises:
            UserError: Names the cells, each with what went wrong.
        """
        failed = {cell: error for cell, error in self.failures.items() if cell.stage in stages}
        if failed:
            reasons = "; ".join(
                f"{cell.description}: {type(error).__name__}: {' '.join(str(error).split())}"
                for cell, error in failed.items()
            )
            raise UserError(
                f"{len(failed)} cells could not be made, the others are kept in "
                f"{self.config.cells_dir}, with tracebacks in *{TRACEBACK_SUFFIX}; the same command tries "
                f"again. {reasons}"
            )

    def estimate_seconds(self, cells: Iterable[Cell], measured: Sequence[Result]) -> float:
        """Estimate what the missing ones of some cells need on one core.

        Args:
            cells: Which.
            measured: Results of any cells, from which seconds are taken where there are some.
        """
        cost = self.config.cost
        per_step = {
            method: _ratio([r for r in measured if r["cell"]["method"] == method], _steps)
            for method in {result["cell"]["method"] for result in measured}
        }
        per_video = _ratio(measured, _videos) or cost.seconds_per_video
        total = 0.0
        for cell in cells:
            if self.path(cell).is_file():
                continue
            if cell.method != BASE:
                total += max(cell.steps) * (per_step.get(cell.method) or cost.seconds_per_step)
            total += num_videos(self.config, cell) * per_video
        return total


def _make_cell(job: CellJob) -> None:
    """Make a cell in a worker; only there is torch imported."""
    from experiments.comparison.make_cell import make_cell

    make_cell(job)


def seconds_per_step(results: Sequence[Result], method: str) -> float:
    """Take the median over a method's trainings of their seconds per step.

    Args:
        results: Of the report, whose cells take turns among the methods, so that other work on the
            machine slows all alike.
        method: Its name.

    Returns:
        Seconds of one core; NaN when all its trainings diverged.
    """
    timed = [_steps(result) for result in results if result["cell"]["method"] == method]
    return statistics.median([seconds / steps for seconds, steps in timed if steps] or [math.nan])


def _steps(result: Result) -> tuple[float, int]:
    # One that diverged has made fewer steps than asked for.
    steps = 0 if result["diverged"] else max(result["cell"]["steps"])
    return (result["training_seconds"] if steps else 0.0), steps


def _videos(result: Result) -> tuple[float, int]:
    return result["sampling_seconds"], len(result["videos"])


def _ratio(results: Sequence[Result], parts: Any) -> float | None:
    pairs = [parts(result) for result in results]
    count = sum(number for _, number in pairs)
    return sum(seconds for seconds, _ in pairs) / count if count else None


def bar_over(num_cells: int) -> Any:
    """Make the progress bar over cells."""
    return tqdm(total=num_cells, desc="comparing", unit="cell", dynamic_ncols=True)
