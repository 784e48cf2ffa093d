"""A run's loss over its steps, from the log that training writes as it goes."""

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from motionmatcher.runs.run_folder import Run

if TYPE_CHECKING:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# The folder within the log's that training's tracker is called.
TRACKER = "motionmatcher"
# A curve of more points is thinned; steps that tell how fast it goes now.
MAX_POINTS = 1000
RECENT = 20
INK, LINE = "#808080", "#e07b39"  # seen on light and on dark

_reading = threading.Lock()


@dataclass(frozen=True)
class LoggedStep:
    """A step that was made.

    Attributes:
        step: Its number, from 1.
        loss: Its loss.
        time_s: When it was logged.
    """

    step: int
    loss: float
    time_s: float


def read_steps(run: Run) -> tuple[LoggedStep, ...]:
    """Read the steps that a run has logged so far; none where its curves go elsewhere."""
    folder = run.log_folder / TRACKER
    if not folder.is_dir():
        return ()
    with _reading:
        events = _events(folder)
        events.Reload()
        if "loss" not in events.Tags()["scalars"]:
            return ()
        return tuple(
            LoggedStep(entry.step, entry.value, entry.wall_time) for entry in events.Scalars("loss")
        )


def seconds_left(steps: Sequence[LoggedStep], total: int) -> float | None:
    """Say how long the steps to come will take at the pace of the last ones; None: nobody knows.

    Previews and pauses, which lie between two steps now and then, do not count.
    """
    paces = sorted(
        (later.time_s - step.time_s) / (later.step - step.step)
        for step, later in pairwise(steps[-RECENT:])
        if later.step > step.step
    )
    return paces[len(paces) // 2] * max(total - steps[-1].step, 0) if paces else None


@lru_cache(maxsize=4)  # it is looked at more often than it changes
def draw_curve(steps: tuple[LoggedStep, ...], total: int) -> str:
    """Draw a loss curve as SVG, without a size of its own.

    Args:
        steps: What was logged, at least one.
        total: Steps that the run shall make: the end of the axis.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = steps[:: len(steps) // MAX_POINTS + 1]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "curve"}):  # in the page's own font
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot([step.step for step in shown], [step.loss for step in shown], color=LINE, lw=1.2)
        axes.set(xlabel="step", ylabel="loss", xlim=(0, max(total, steps[-1].step)))
        axes.tick_params(colors=INK, labelcolor=INK)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
        picture = io.StringIO()
        figure.savefig(picture, format="svg", transparent=True, metadata={"Date": None})
    return picture.getvalue().partition("<svg")[2].join(("<svg", ""))


@lru_cache(maxsize=8)
def _events(folder: Path) -> "EventAccumulator":
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0})
