"""Windows of frames that training could read, what moves in them, and which of them is best."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from statistics import median

from motionmatcher.inspection.cuts import find_cuts, find_repeats
from motionmatcher.inspection.steps import Step

# In percent of the frame's diagonal. Less than this in all is hardly seen on the maps of a base, which
# has some twelve places a side; …
LITTLE_TRAVEL = 5.0
# … and from frame to frame no more than this should change its place, or be lost from sight,
FAST_STEP = 33.0
LOST = 0.5
# in no more than this share of the steps.
FAST_SHARE = 0.25
# Another window is worth its override from this many times the motion of the one read now.
WORTH_MORE = 1.25
# Steps up to this many times the one that has the wanted rate are tried.
MAX_STRETCH = 4
MAX_CANDIDATES = 4
MAX_LISTED = 6


@dataclass(frozen=True)
class Window:
    """Some frames of a clip in order, and what moves from each to the next.

    Attributes:
        frames: Their indices in the clip.
        camera: Length that the camera moves the picture by, percent of the diagonal, each step.
        objects: Length that what moves on its own does, likewise.
        lost: Whether most points are out of sight after a step, without a cut.
        cuts: Those frames that begin another scene.
        repeats: Those that repeat the frame before.
    """

    frames: tuple[int, ...]
    camera: tuple[float, ...]
    objects: tuple[float, ...]
    lost: tuple[bool, ...]
    cuts: tuple[int, ...]
    repeats: tuple[int, ...]

    @property
    def speeds(self) -> list[float]:
        """The faster of camera and objects, each step."""
        return [max(pair) for pair in zip(self.camera, self.objects, strict=True)]

    @property
    def travel(self) -> float:
        """Length of all that moves."""
        return sum(self.speeds)

    @property
    def typical_speed(self) -> float:
        """The median of the steps: something moves throughout where it is high."""
        return median(self.speeds) if self.speeds else 0.0

    @property
    def is_still(self) -> bool:
        """Whether hardly anything moves."""
        return bool(self.speeds) and self.travel < LITTLE_TRAVEL

    @property
    def is_fast(self) -> bool:
        """Whether too much changes its place from frame to frame."""
        fast = [
            speed > FAST_STEP or lost for speed, lost in zip(self.speeds, self.lost, strict=True)
        ]
        return sum(fast) > FAST_SHARE * len(fast)


class Survey:
    """The steps between consecutive frames of a part of a clip.

    Attributes:
        first: Index of the part's first frame.
        steps: From frame `first + i` to the next.
        cuts: Indices of frames that begin another scene.
        repeats: Indices of frames that repeat the one before.
    """

    def __init__(self, first: int, steps: Sequence[Step]) -> None:
        """Find cuts and repeats in the steps."""
        self.first = first
        self.steps = steps
        self.cuts = frozenset(first + step + 1 for step in find_cuts(steps))
        self.repeats = frozenset(first + step + 1 for step in find_repeats(steps))

    @property
    def moving(self) -> float:
        """Share of the picture that moves on its own, averaged over the steps that are no cuts."""
        shares = [
            step.moving
            for frame, step in enumerate(self.steps, self.first + 1)
            if frame not in self.cuts
        ]
        return sum(shares) / max(len(shares), 1)

    def window(self, frames: Sequence[int]) -> Window:
        """Sum up the steps between frames, ascending indices of the part."""
        camera, objects, lost, cuts, repeats = [], [], [], [], []
        for here, there in pairwise(frames):
            between = range(here + 1, there + 1)
            moved = [
                self.steps[frame - 1 - self.first] for frame in between if frame not in self.cuts
            ]
            camera.append(sum(step.camera for step in moved))
            objects.append(sum(step.objects for step in moved))
            lost.append(any(step.found < LOST for step in moved))
            if len(moved) < len(between):
                cuts.append(there)
            if self.repeats.issuperset(between):  # a frame that is held, too
                repeats.append(there)
        return Window(
            tuple(frames), tuple(camera), tuple(objects), tuple(lost), tuple(cuts), tuple(repeats)
        )


def list_frames(frames: Sequence[int]) -> str:
    """List frames, of many the first ones."""
    shown = ", ".join(map(str, frames[:MAX_LISTED]))
    return shown if len(frames) <= MAX_LISTED else f"{shown}, …"


def rank(window: Window, step: float, natural_step: int) -> tuple[float, ...]:
    """Order windows, the best first.

    No cut counts most, then few repeated frames, then that motion is neither too little nor too fast,
    then a rate near the one wanted, then much motion in its median step, then an early start.

    Args:
        window: With frames `step` apart.
        step: Distance between its frames.
        natural_step: The distance that gives the rate wanted.
    """
    unfit = window.is_still or window.is_fast
    stretch = abs(log(step / natural_step))
    speed, start = round(window.typical_speed, 1), window.frames[0]  # finer is noise
    return len(window.cuts), len(window.repeats), unfit, stretch, -speed, start


def find_candidates(
    survey: Survey, count: int, natural_step: int, steps: Sequence[int] | None = None
) -> list[Window]:
    """Find the best windows of a part of a clip that lie apart.

    Args:
        survey: Of the part.
        count: Frames of a window.
        natural_step: The distance between frames that gives the rate wanted.
        steps: The distances to try; None for all up to `MAX_STRETCH` times the natural one.

    Returns:
        At most `MAX_CANDIDATES`, the best first; none shares more than half of its span with a better.
    """
    end = survey.first + len(survey.steps) + 1
    # A long clip has some hundred thousand windows: their ranks and frames are all that is kept.
    ranked = []
    for step in steps or range(1, MAX_STRETCH * natural_step + 1):
        span = (count - 1) * step + 1
        for start in range(survey.first, end - span + 1):
            frames = range(start, start + span, step)
            ranked.append((rank(survey.window(frames), step, natural_step), frames))
    chosen: list[Window] = []
    for _, frames in sorted(ranked, key=lambda entry: entry[0]):
        window = survey.window(frames)
        if all(_shared(window, other) <= 0.5 for other in chosen):
            chosen.append(window)
        if len(chosen) == MAX_CANDIDATES:
            break
    return chosen


def is_better(other: tuple[float, ...], now: tuple[float, ...]) -> bool:
    """Tell whether the window of a rank is worth more than a mere difference to the one read now."""
    *others, other_speed, _ = other
    *ours, our_speed, _ = now
    return others < ours or (others == ours and -other_speed > WORTH_MORE * -our_speed)


def _shared(window: Window, other: Window) -> float:
    """Tell which share of the shorter one's span lies in the other."""
    (start, end), (other_start, other_end) = (
        (frames[0], frames[-1] + 1) for frames in (window.frames, other.frames)
    )
    common = min(end, other_end) - max(start, other_start)
    return common / min(end - start, other_end - other_start)
