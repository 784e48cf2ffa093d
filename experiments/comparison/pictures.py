"""Pictures of the outcome: error against leakage, error against steps, and videos to look at."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Interval
from experiments.comparison.cells import Cell
from experiments.comparison.config import ComparisonConfig
from experiments.comparison.methods import BASE, short_title, title
from experiments.comparison.outcome import Outcome
from motionmatcher.clips.contact_sheet import write_contact_sheet
from motionmatcher.clips.video import read_video
from motionmatcher.files import atomic_path
from motionmatcher.paths import find_path

SHEET_MOTIONS = 3  # the first ones of the report
SHEET_PROMPTS = 2
_APART = 0.006  # of the horizontal axis
_MARKERS = ("o", "s", "^", "D", "v")  # one per noise prior


def sheet_name(motion: str) -> str:
    """File name of the contact sheet of a motion."""
    return f"videos_{motion}.png"


def plot_error_against_leakage(outcome: Outcome, path: Path) -> None:
    """Draw each method as a point with both intervals; best is at the lower left."""
    figure, axes = _figure(panels=1, legend_width=3)
    colors = _colors([arm.method for arm in outcome.arms])
    priors = sorted({arm.noise_prior for arm in outcome.arms})
    for arm in outcome.arms:
        leakage, error = arm.metrics["leakage"], arm.metrics["path_error"]
        axes.errorbar(
            _mean(leakage),
            _mean(error),
            xerr=_bars(leakage),
            yerr=_bars(error),
            fmt=_MARKERS[priors.index(arm.noise_prior) % len(_MARKERS)],
            color=colors[arm.method],
            elinewidth=0.7,
            label=arm.title,
        )
    _draw_resting(axes, outcome)
    axes.set_xlabel("leakage of the reference's appearance")
    axes.set_ylabel("path error, px of 64")
    figure.legend(loc="outside right center", fontsize=7)
    _save(figure, path)


def plot_error_against_steps(outcome: Outcome, path: Path) -> None:
    """Draw the path error of each method over its training with its intervals, a panel a prior."""
    priors = sorted({curve.noise_prior for curve in outcome.curves})
    figure, panels = _figure(len(priors))
    methods = list(dict.fromkeys(curve.method for curve in outcome.curves))
    colors = _colors([BASE, *methods])
    for curve in outcome.curves:
        axes = np.atleast_1d(panels)[priors.index(curve.noise_prior)]
        intervals = list(curve.steps.values())
        # A little apart, or the bars of all methods would cover each other.
        apart = _APART * max(curve.steps) * methods.index(curve.method)
        axes.errorbar(
            [step + apart for step in curve.steps],
            [_mean(interval) for interval in intervals],
            yerr=np.concatenate([_bars(interval) for interval in intervals], axis=1),
            marker="o",
            markersize=4,
            elinewidth=0.7,
            color=colors[curve.method],
            label=short_title(curve.method),
        )
    for noise_prior, axes in zip(priors, np.atleast_1d(panels), strict=True):
        _draw_resting(axes, outcome)
        axes.set_title(f"noise prior {noise_prior:g}", fontsize=9)
        axes.set_xlabel("training steps (0: the base)")
        axes.set_ylabel("path error, px of 64")
        axes.legend(fontsize=7)
    _save(figure, path)


def write_sheets(
    folder: Path, config: ComparisonConfig, kept: Mapping[Cell, Sequence[NDArray[np.uint8]]]
) -> None:
    """Show videos of all methods under the reference, one sheet a motion.

    Args:
        folder: Gets the sheets.
        config: What was compared.
        kept: Cell of the report -> its videos, in the order of noise priors and prompts.
    """
    prompts = config.prompts[:SHEET_PROMPTS]
    for motion in config.report.motions[:SHEET_MOTIONS]:
        reference, _ = read_video(Path(find_path(f"{config.reference_dir}/{motion}.mp4")))
        clips, labels = [reference], [f"reference: {motion}"]
        for index, prompt in enumerate(prompts):
            for prior_index, noise_prior in enumerate(config.noise_priors):
                for cell, videos in kept.items():
                    if cell.motion != motion:
                        continue
                    clips.append(videos[prior_index * len(config.prompts) + index])
                    labels.append(f"{title(cell.method, noise_prior)}: {prompt.text}")
        write_contact_sheet(folder / sheet_name(motion), clips, labels, frame_height=64)


def _figure(panels: int, legend_width: float = 0) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * panels + legend_width, 5), layout="constrained")
    return figure, figure.subplots(1, panels, sharey=True)


def _colors(methods: Sequence[str]) -> dict[str, str]:
    distinct = list(dict.fromkeys(methods))
    return {method: "black" if method == BASE else f"C{i}" for i, method in enumerate(distinct)}


def _mean(interval: Interval) -> float:
    return math.nan if interval.mean is None else interval.mean


def _bars(interval: Interval) -> NDArray[np.float64]:
    """How far an interval reaches down and up (2, 1); 0 where there is none."""
    if interval.mean is None or interval.low is None or interval.high is None:
        return np.zeros((2, 1))
    reach = np.asarray([[interval.mean - interval.low], [interval.high - interval.mean]])
    return np.maximum(reach, 0.0)  # rounding may leave less, which matplotlib refuses


def _draw_resting(axes: Any, outcome: Outcome) -> None:
    error = _mean(outcome.resting.metrics["path_error"])
    axes.axhline(error, color="black", linestyle=":", linewidth=1, label=outcome.resting.title)


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
