"""One row per video: what it is of and all its metrics, as `cells.csv` holds it."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.compare.bench import Result
from experiments.compare.config import ComparisonConfig
from experiments.compare.methods import RESTING
from motionmatcher.errors import UserError
from motionmatcher.files import atomic_path
from testbed.measurement import METRICS, resting_object_metrics
from testbed.truth import read_truth


@dataclass(frozen=True, kw_only=True)
class Row:
    """One video.

    Attributes:
        stage: "tuning", "report", or "decide " and the decision's name.
        method: Of `methods`.
        regime: Of `REGIMES`; empty for the base.
        caption: Of `CAPTIONS`; empty for the base.
        changes: What the decisions change in the shared settings.
        learning_rate: As the cell sets it; NaN where it does not.
        motion: Name of the reference clip.
        seed: Of the training.
        step: Training steps made.
        noise_prior: Share of the reference's inversion noise.
        prompt: Index of the prompt.
        sample: Which of the videos that differ in nothing but their noise.
        metrics: `measurement.METRICS`, to four digits.
    """

    stage: str
    method: str
    regime: str = ""
    caption: str = ""
    changes: str = ""
    learning_rate: float = float("nan")
    motion: str
    seed: int = 0
    step: int = 0
    noise_prior: float = 0.0
    prompt: int
    sample: int = 0
    metrics: Mapping[str, float]


SEPARATOR = "; "  # of changes
_COLUMNS = [name for name in Row.__dataclass_fields__ if name != "metrics"]
_INTEGERS = ("seed", "step", "prompt", "sample")
_NUMBERS = ("learning_rate", "noise_prior")


def rows_of(stage: str, results: Iterable[Result]) -> list[Row]:
    """List all videos of cells."""
    rows = []
    for result in results:
        cell = result["cell"]
        rate = cell["learning_rate"]
        rows += [
            Row(
                stage=stage,
                changes=SEPARATOR.join(cell["changes"]),
                learning_rate=float("nan") if rate is None else rate,
                **{name: cell[name] for name in ("method", "regime", "caption", "motion", "seed")},
                **{name: video[name] for name in ("step", "noise_prior", "prompt", "sample")},
                metrics=_rounded(video["metrics"]),
            )
            for video in result["videos"]
        ]
    return rows


def resting_rows(stage: str, config: ComparisonConfig, motions: Sequence[str]) -> list[Row]:
    """List an object at rest as if it were a video of each motion and prompt: computed, not sampled."""
    return [
        Row(
            stage=stage,
            method=RESTING,
            motion=motion,
            prompt=prompt,
            metrics=_rounded(resting_object_metrics(read_truth(config.clip(motion)))),
        )
        for motion in motions
        for prompt in range(len(config.prompts))
    ]


def _rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """As the file has them, so that it tells the same choices as the cells do."""
    return {name: float(f"{metrics.get(name, math.nan):.4g}") for name in METRICS}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one line per video."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, *METRICS])
        for row in rows:
            plain = [getattr(row, name) for name in _COLUMNS]
            metrics = [row.metrics[name] for name in METRICS]
            writer.writerow([_as_text(value) for value in (*plain, *metrics)])


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote.

    Raises:
        UserError: The file is missing, or has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not lines or set(lines[0]) != {*_COLUMNS, *METRICS}:
        raise UserError(f"{path} is no cells.csv of a comparison: its columns are others.")
    return [_row(line) for line in lines]


def _row(line: Mapping[str, str]) -> Row:
    values: dict[str, Any] = {name: line[name] for name in _COLUMNS}
    values |= {name: int(line[name]) for name in _INTEGERS}
    values |= {name: float(line[name] or "nan") for name in _NUMBERS}
    return Row(**values, metrics={name: float(line[name] or "nan") for name in METRICS})


def _as_text(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.12g}" if math.isfinite(value) else ""
    return value
