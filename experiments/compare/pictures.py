"""Pictures: path error against leakage over each training, and videos to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.intervals import Interval
from experiments.compare.analysis import Arm, Report, mean_of
from experiments.compare.bench import Bench
from experiments.compare.cells import Cell
from experiments.compare.methods import BASE, RESTING, TITLES
from motionmatcher.clips.contact_sheet import write_contact_sheet
from motionmatcher.clips.video import read_video
from motionmatcher.files import atomic_path

SHEET_MOTIONS = 3  # the first ones of the report
SHEET_PROMPTS = 2


def picture_name(condition: tuple[str, str]) -> str:
    """File name of a condition's trade-off curves."""
    return f"{'_'.join(condition)}.png"


def write_pictures(folder: Path, report: Report) -> None:
    """Draw the trade-off of all methods under each condition; best is at the lower left."""
    from matplotlib.figure import Figure

    for condition in report.conditions:
        figure = Figure(figsize=(9.5, 5), layout="constrained")
        axes = figure.subplots()
        for number, method in enumerate(report.methods(condition)):
            curve = report.curve(condition, method)
            points = [
                [report.interval(name, arm) for arm in curve] for name in ("leakage", "path_error")
            ]
            leakage, error = ([mean_of(interval) for interval in values] for values in points)
            axes.plot(leakage, error, marker=".", color=f"C{number}", label=TITLES[method])
            chosen = report.arm(condition, method)
            _draw_bars(axes, report, chosen, color=f"C{number}")
        _draw_bars(axes, report, Arm(BASE), color="black", marker="s", label=TITLES[BASE])
        resting = mean_of(report.interval("path_error", Arm(RESTING)))
        axes.axhline(resting, color="black", linestyle=":", linewidth=1, label=TITLES[RESTING])
        axes.set_xlabel("leakage of the reference's looks")
        axes.set_ylabel("path error, px of 64")
        axes.set_title(f"{', '.join(condition)} captions; crosses: as tuned, 95 %", fontsize=9)
        figure.legend(loc="outside right center", fontsize=8)
        with atomic_path(folder / picture_name(condition)) as temporary:
            figure.savefig(temporary, dpi=110)


def _draw_bars(axes: Any, report: Report, arm: Arm, **style: Any) -> None:
    leakage, error = (report.interval(name, arm) for name in ("leakage", "path_error"))
    bars = {"xerr": _reach(leakage), "yerr": _reach(error), "elinewidth": 0.7}
    axes.errorbar(mean_of(leakage), mean_of(error), **bars, **style)


def _reach(interval: Interval) -> Any:
    """How far an interval reaches down and up (2, 1); None where there is none."""
    if interval.mean is None or interval.low is None or interval.high is None:
        return None
    reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
    return np.maximum(reach, 0.0)  # rounding may leave less, which matplotlib refuses


def write_sheets(folder: Path, bench: Bench, cells: Sequence[Cell]) -> None:
    """Show the videos kept of all methods under the reference, one sheet a motion.

    Args:
        folder: Gets the sheets.
        bench: Knows the cells' files.
        cells: Of the report.
    """
    config = bench.config
    for motion in config.report.motions[:SHEET_MOTIONS]:
        clips, labels = [read_video(config.clip(motion))[0]], [f"reference: {motion}"]
        kept = {
            cell: np.load(bench.job(cell).result.with_suffix(".npz"))["frames"]
            for cell in cells
            if cell.motion == motion and cell.kept_step is not None
        }
        for index, prompt in enumerate(config.prompts[:SHEET_PROMPTS]):
            for cell, videos in kept.items():
                under = f" ({cell.regime}, {cell.caption})" if cell.regime else ""
                clips.append(videos[index])
                labels.append(f"{TITLES[cell.method]}{under}: {prompt.text}")
        write_contact_sheet(folder / f"videos_{motion}.png", clips, labels, frame_height=64)
