"""Results of the comparison's cells that nobody made, and rows of videos that nobody sampled."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from experiments.compare.cells import Cell, CellJob
from experiments.compare.rows import Row
from testbed.measurement import METRICS

NUM_FRAMES = 8


def made_up_metrics(cell: Cell, step: int, noise_prior: float) -> dict[str, float]:
    """Nearer to the reference with more steps and noise prior, and no leakage."""
    return {
        "path_error": 20.0 - step / 10 - 5 * noise_prior,
        "correlation": step / 1000,
        "leakage": 0.0,
        "leakage_with_object": 0.0,
    }


Metrics = Callable[[Cell, int, float], Mapping[str, float]]


class MadeUp(Executor):
    """Makes up results at once, or fails."""

    def __init__(
        self,
        fails: Callable[[Cell], BaseException | None] = lambda _: None,
        metrics: Metrics = made_up_metrics,
    ) -> None:
        self.fails = fails
        self.metrics = metrics
        self.made: list[Cell] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        (job,) = args
        error = self.fails(job.cell)
        if error is not None:
            future.set_exception(error)
        else:
            self.made.append(job.cell)
            write_result(job, self.metrics)
            future.set_result(None)
        return future


def write_result(job: CellJob, metrics: Metrics) -> None:
    """Write what `make_cell` would: 1 s a step, and 10 s a video."""
    cell = job.cell
    videos = [
        {
            "step": step,
            "noise_prior": noise_prior,
            "prompt": prompt,
            "sample": sample,
            "metrics": metrics(cell, step, noise_prior),
        }
        for step, noise_prior in cell.samplings
        for prompt in range(len(job.prompts))
        for sample in range(job.samples)
    ]
    result = {
        "cell": dataclasses.asdict(cell),
        "identity": job.identity,
        "code_version": job.code_version,
        "diverged": None,
        "training_seconds": float(cell.steps[-1]),
        "sampling_seconds": 10.0 * len(videos),
        "wall_seconds": 1.0,
        "printed": [],
        "videos": videos,
    }
    job.result.parent.mkdir(parents=True, exist_ok=True)
    if cell.kept_step is not None:
        frames = np.zeros((len(job.prompts), NUM_FRAMES, 64, 64, 3), np.uint8)
        np.savez_compressed(job.result.with_suffix(".npz"), frames=frames)
    job.result.write_text(json.dumps(result), encoding="utf-8")


def make_row(stage: str, method: str, motion: str, /, **values: Any) -> Row:
    """One video; what is not given is zero."""
    metrics = {name: float(values.pop(name, 0.0)) for name in METRICS}
    return Row(
        **{"stage": stage, "method": method, "motion": motion, "prompt": 0, **values},
        metrics=metrics,
    )


CONDITIONS = ("gated", "full"), ("open", "unsaid")
REPORT_MOTIONS = ("a", "b", "c", "d")
# Method -> step and noise prior -> path error, correlation, leakage.
_MADE_UP = {
    "base": {(0, 0.0): (20.0, 0.0, 0.0), (0, 0.3): (15.0, 0.2, 0.0)},
    "denoising": {
        (50, 0.0): (14.0, 0.3, 0.2),
        (100, 0.0): (10.0, 0.4, 0.5),
        (100, 0.3): (9.0, 0.4, 0.5),
    },
    "feature_matching": {
        (50, 0.0): (12.0, 0.3, 0.05),
        (100, 0.0): (8.0, 0.5, 0.1),
        (100, 0.3): (7.0, 0.6, 0.1),
    },
}


def report_rows(
    changes: Mapping[tuple[str, str, int, float], Mapping[str, float]] | None = None,
) -> list[Row]:
    """A whole comparison in which all motions and prompts agree; tuning chooses 100 steps.

    Args:
        changes: Method, regime, step, noise prior -> metrics that are others.
    """
    rows = [
        make_row(
            "tuning",
            method,
            "tuned",
            regime=regime,
            caption="full",
            learning_rate=2e-3,
            step=step,
            path_error=1000.0 - step,
        )
        for method in ("denoising", "feature_matching")
        for regime, _ in CONDITIONS
        for step in (50, 100)
    ]
    for motion in REPORT_MOTIONS:
        for prompt in range(2):
            for method, videos in _MADE_UP.items():
                conditions = CONDITIONS if method != "base" else [("", "")]
                for (step, prior), (error, correlation, leakage) in videos.items():
                    for regime, caption in conditions:
                        metrics = {
                            "path_error": error,
                            "correlation": correlation,
                            "leakage": leakage,
                        }
                        metrics |= (changes or {}).get((method, regime, step, prior), {})
                        how: dict[str, Any] = {"regime": regime, "caption": caption, "step": step}
                        rows.append(
                            make_row(
                                "report",
                                method,
                                motion,
                                prompt=prompt,
                                noise_prior=prior,
                                **how,
                                **metrics,
                            )
                        )
            unknown = dict.fromkeys(METRICS, math.nan) | {"path_error": 16.0, "correlation": 0.0}
            rows.append(make_row("report", "resting_object", motion, prompt=prompt, **unknown))
    return rows
