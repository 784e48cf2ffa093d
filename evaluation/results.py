"""What was measured, as text, JSON and CSV."""

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.intervals import Interval
from evaluation.metrics import Metric
from evaluation.scoring import ScoredFolder, Scores
from motionmatcher.files import atomic_path, write_json

JSON_FORMAT = 1


def print_folder(folder: ScoredFolder, metrics: Sequence[Metric], tag: str) -> None:
    """Print a folder's means in one line, and what could not be scored.

    Args:
        folder: The scored folder.
        metrics: Its columns.
        tag: What the scores depend on most: the model's or tracker's name.
    """
    means = ", ".join(
        f"{metric.label}: {folder.interval(metric).format(metric.digits)}" for metric in metrics
    )
    print(f"{means}  (n = {len(folder.videos)}, {tag})")
    unreadable = folder.folder.unreadable
    for video in unreadable:
        print(f"not scored: {video.reason}", file=sys.stderr)
    if unreadable:
        total = len(unreadable) + len(folder.videos)
        print(
            f"{folder.name}: {len(unreadable)} of {total} videos could not be scored.",
            file=sys.stderr,
        )


def print_comparison(scores: Scores) -> None:
    """Print several folders and the controls under each other, metric by metric."""
    names = scores.names
    width = max(map(len, [*names, *scores.controls]))
    for metric in scores.metrics:
        print(f"\n{metric.label} ({metric.better} is better), mean and 95 % interval")
        if metric.name in scores.doubts:
            print(f"  {doubt_line(metric, scores)}")
        for name, folder in zip(names, scores.folders, strict=True):
            interval = folder.interval(metric)
            print(f"  {name:<{width}}  {interval.format(metric.digits)}  n = {interval.n}")
        for name, values in scores.controls.items():
            if metric.name in values:
                print(f"  {name:<{width}}  {metric.format(values[metric.name])}  control")


def print_positions(scores: Scores) -> None:
    """Print where each folder lies between the reference itself and the worst control."""
    print("\nWhere the outputs lie: 0 % is the reference itself, 100 % the worst control")
    for metric in scores.metrics:
        if scores.is_trusted(metric) is None:
            continue
        if metric.name in scores.doubts:
            print(f"  {metric.label}: – {doubt_line(metric, scores)}")
            continue
        for name, folder in zip(scores.names, scores.folders, strict=True):
            place = position(folder.interval(metric), metric, scores)
            if place is not None:
                percent, worst = place
                print(f"  {name}  {metric.label}: {show_percent(percent)} (worst: {worst})")


def doubt_line(metric: Metric, scores: Scores) -> str:
    """Say that a metric is not to be trusted on this clip, and why."""
    return f"not to be trusted on this clip: {scores.doubts[metric.name]}"


def show_percent(percent: float) -> str:
    """Write a place on the controls' scale, which ends at the worst of them."""
    return f"{round(percent)} %" if percent <= 100 else "> 100 %"


def position(interval: Interval, metric: Metric, scores: Scores) -> tuple[float, str] | None:
    """Place a folder's mean between the best and the worst that the controls show.

    Args:
        interval: The folder's mean.
        metric: What was averaged.
        scores: Has the controls; the first is the reference against itself.

    Returns:
        Percent of the way from the reference itself to the worst control, and that one's name; None
        when there is no mean, or the controls do not bear the metric out on this clip.
    """
    if interval.mean is None or not scores.is_trusted(metric):
        return None
    values = {
        name: control[metric.name]
        for name, control in scores.controls.items()
        if math.isfinite(control[metric.name])
    }
    best = next(iter(values.values()))
    worst = max(values, key=lambda name: abs(values[name] - best))
    return 100 * (interval.mean - best) / (values[worst] - best), worst


def write_scores_json(path: Path, scores: Scores) -> None:
    """Write all scores as JSON; what is not defined becomes null."""
    write_json(path, scores_as_dict(scores))


def scores_as_dict(scores: Scores) -> dict[str, Any]:
    """Put the results into plain JSON types."""
    return {
        "format": JSON_FORMAT,
        "settings": dict(scores.settings),
        "metrics": {
            metric.name: {
                "label": metric.label,
                "better": metric.better,
                "trusted": scores.is_trusted(metric),
                "doubt": scores.doubts.get(metric.name),
            }
            for metric in scores.metrics
        },
        "folders": [_folder_as_dict(folder, scores.metrics) for folder in scores.folders],
        "controls": {name: _defined(values) for name, values in scores.controls.items()},
        "left_out": list(scores.left_out),
    }


def write_scores_csv(path: Path, scores: Scores) -> None:
    """Write one row per video, unreadable ones too; settings are columns, so rows can be pooled."""
    names = [metric.name for metric in scores.metrics]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["folder", "file", "seed", "prompt", *names, *scores.settings, "error"])
        for folder in scores.folders:
            for scored in folder.videos:
                video, values = scored.video, _defined(scored.scores.values)
                row = [folder.name, video.path.name, video.seed, video.prompt]
                columns = [values[name] for name in names]
                writer.writerow([*row, *columns, *scores.settings.values(), None])
            for broken in folder.folder.unreadable:
                row = [folder.name, broken.path.name, None, None, *[None] * len(names)]
                writer.writerow([*row, *scores.settings.values(), broken.reason])


def _folder_as_dict(folder: ScoredFolder, metrics: Sequence[Metric]) -> dict[str, Any]:
    return {
        "folder": folder.name,
        "baseline": folder.is_baseline,
        "mean": {metric.name: vars(folder.interval(metric)) for metric in metrics},
        "videos": [
            {
                "file": scored.video.path.name,
                "prompt": scored.video.prompt,
                "seed": scored.video.seed,
                "notes": list(scored.scores.notes),
                "scores": _defined(scored.scores.values),
            }
            for scored in folder.videos
        ],
        "unreadable": [
            {"file": video.path.name, "reason": video.reason} for video in folder.folder.unreadable
        ],
    }


def _defined(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
