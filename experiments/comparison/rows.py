"""The metrics of all videos, and tables of their means by motion and prompt."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.comparison.config import ComparisonConfig
from experiments.comparison.measurement import (
    METRICS,
    mean_of_defined,
    measure_video,
    resting_object_metrics,
)
from experiments.comparison.methods import RESTING
from motionmatcher.files import atomic_path
from testbed.truth import read_truth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One video.

    Attributes:
        stage: "tuning", "report" or "ablation".
        method: Of `methods`.
        variant: The trainer's settings beside the method's own.
        motion: Name of the reference clip.
        seed: Of the training.
        step: Training steps made.
        noise_prior: Share of the reference's inversion noise.
        prompt: Index of the prompt.
        sample: Which of the videos that differ in nothing but their noise.
        metrics: `measurement.METRICS`.
    """

    stage: str
    method: str
    variant: tuple[str, ...]
    motion: str
    seed: int
    step: int
    noise_prior: float
    prompt: int
    sample: int
    metrics: Mapping[str, float]


def rows_of(results: Iterable[Mapping[str, Any]], config: ComparisonConfig) -> list[Row]:
    """Measure all videos of cells against the reference's ground truth and their prompts."""
    rows = []
    truths = {}
    for result in results:
        cell = result["cell"]
        motion = cell["motion"]
        if motion not in truths:
            truths[motion] = read_truth(config.clip(motion))
        for video in result["videos"]:
            rows.append(
                Row(
                    cell["stage"],
                    cell["method"],
                    tuple(cell["variant"]),
                    motion,
                    cell["seed"],
                    video["step"],
                    video["noise_prior"],
                    video["prompt"],
                    video["sample"],
                    measure_video(video, config.prompts[video["prompt"]], truths[motion]),
                )
            )
    return rows


def resting_rows(config: ComparisonConfig, motions: Sequence[str]) -> list[Row]:
    """List an object at rest as if it were a video of each motion and prompt: computed, not sampled."""
    truths = {motion: read_truth(config.clip(motion)) for motion in motions}
    return [
        Row("", RESTING, (), motion, 0, 0, 0.0, prompt, 0, resting_object_metrics(truths[motion]))
        for motion in motions
        for prompt in range(len(config.prompts))
    ]


def table(rows: Iterable[Row], metric: str, motions: Sequence[str], num_prompts: int) -> Array:
    """Average a metric over seeds and samples.

    Args:
        rows: Videos of one method and setting.
        metric: One of `measurement.METRICS`.
        motions: The rows of the table.
        num_prompts: Its columns.

    Returns:
        (motions, prompts); NaN where the metric does not apply.
    """
    values: list[list[list[float]]] = [[[] for _ in range(num_prompts)] for _ in motions]
    for row in rows:
        values[motions.index(row.motion)][row.prompt].append(row.metrics[metric])
    return np.asarray([[mean_of_defined(cell) for cell in line] for line in values], np.float64)


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write one line per video."""
    names = [name for name in Row.__dataclass_fields__ if name != "metrics"]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *METRICS])
        for row in rows:
            values = [row.metrics[name] for name in METRICS]
            metrics = [f"{value:.4g}" if np.isfinite(value) else "" for value in values]
            plain = {**vars(row), "variant": " ".join(row.variant)}
            writer.writerow([*(plain[name] for name in names), *metrics])
