"""When a clip's frames are shown, and which of them to take so that time runs evenly."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil
from pathlib import Path
from statistics import median_low

import numpy as np

from motionmatcher.errors import UserError

# A clip is of constant rate when no step between its frames is further from their mean.
RATE_TOLERANCE = Fraction(1, 100)
# Containers round times to ticks; steps of fewer ticks do not tell rounding from a lost frame.
MIN_TICKS_OF_ROUNDED_STEP = 3
# More are taken for damage in the times: this is an hour at 24 fps.
MAX_FRAMES_IN_TIME = 100_000
# What ffmpeg takes when a file does not say.
UNKNOWN_RATE = Fraction(25)


@dataclass(frozen=True)
class FrameTimes:
    """When a file's frames are shown.

    Attributes:
        starts: Seconds, one a frame; None where the file does not say.
        last_duration: Seconds that the last frame is shown; 0 when the file does not say.
        tick: Seconds that times are multiples of.
        header_rate: Frames per second by the file's header, or None.
    """

    starts: Sequence[Fraction | None]
    last_duration: Fraction
    tick: Fraction
    header_rate: Fraction | None

    @property
    def steps(self) -> list[Fraction]:
        """Seconds from frame to frame; empty when times are missing or do not run forward."""
        starts = [start for start in self.starts if start is not None]
        steps = [there - here for here, there in pairwise(starts)]
        return steps if len(starts) == len(self.starts) and min(steps, default=0) > 0 else []

    def end_before(self, declared_end: Fraction) -> bool:
        """Tell whether frames are missing at the end, if the last one should end when declared."""
        steps, start = self.steps or [self.last_duration], self.starts[-1]
        if start is None:
            return False
        end = start + (self.last_duration or max(steps))
        return end + min(steps) / 2 < declared_end


@dataclass(frozen=True)
class Timeline:
    """The frames to take of a clip.

    Attributes:
        sources: Index of each one in the file, ascending; a frame that is held is there repeatedly.
        fps: Frames per second.
        note: What was done to a clip whose rate varies, one line; None for any other.
    """

    sources: Sequence[int]
    fps: float
    note: str | None = None


def plan_timeline(path: Path, times: FrameTimes, grid_fps: float | None) -> Timeline:
    """Take all frames of a clip at constant rate, and those of any other on an even grid.

    Args:
        path: The clip, to be named in errors.
        times: When its frames are shown.
        grid_fps: Frames per second of the grid; None: those of the clip's usual step.

    Raises:
        UserError: The times are so far apart that they must be damaged.
    """
    count, steps = len(times.starts), times.steps
    if count == 1 and grid_fps is not None:
        steps_alike, usual_step = True, 1 / Fraction(grid_fps)
    elif steps:
        steps_alike, usual_step = _are_alike(steps, times.tick), _usual(steps)
    else:  # nothing is known but the header
        return Timeline(range(count), _constant_rate(times))
    hold = times.last_duration or usual_step
    if steps_alike and hold < 1.5 * usual_step:
        return Timeline(range(count), _constant_rate(times))

    rate = Fraction(grid_fps) if grid_fps is not None else 1 / usual_step
    # A frame that comes a little late is taken in time: the nearest one counts, and not the last.
    slack = min(usual_step, 1 / rate) / 2
    num_frames = max(ceil((sum(steps, hold) - slack) * rate), 1)
    if num_frames > MAX_FRAMES_IN_TIME:
        raise UserError(
            f"{path} would be {num_frames} frames at {float(rate):g} fps, by its frames' times: are "
            "they right? Encode it again at a constant rate."
        )
    due = [ceil((start - slack) * rate) for start in accumulate(steps, initial=Fraction(0))]
    sources = np.searchsorted(due, range(num_frames), side="right") - 1
    return Timeline(
        sources.tolist(),
        float(rate),
        f"its frame rate varies: {num_frames} frames are taken at even steps ({float(rate):g} fps) "
        f"from the {count} in the file",
    )


def _usual(steps: Sequence[Fraction]) -> Fraction:
    """Average the steps about the median, so that neither pauses nor rounding count."""
    median = median_low(steps)
    near = [step for step in steps if abs(step - median) <= median / 2]
    return sum(near, Fraction(0)) / len(near)


def _are_alike(steps: Sequence[Fraction], tick: Fraction) -> bool:
    """Tell whether steps differ by no more than the tolerance, or than rounding to ticks explains."""
    mean = sum(steps, Fraction(0)) / len(steps)
    if all(abs(step - mean) <= RATE_TOLERANCE * mean for step in steps):
        return True
    drifts = accumulate(step - mean for step in steps)
    return mean >= MIN_TICKS_OF_ROUNDED_STEP * tick and all(abs(drift) <= tick for drift in drifts)


def _constant_rate(times: FrameTimes) -> float:
    """Frames per second of a clip at constant rate: the header's, unless the times contradict it."""
    measured = None
    if times.steps:
        measured = len(times.steps) / sum(times.steps, Fraction(0))
    elif len(times.starts) == 1 and times.last_duration:
        measured = 1 / times.last_duration
    rate = times.header_rate or measured or UNKNOWN_RATE
    if measured and abs(rate - measured) > RATE_TOLERANCE * measured:
        rate = measured
    return float(rate)
