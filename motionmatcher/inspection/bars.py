"""Black bars at the borders of a clip's pictures (letterbox, pillarbox)."""

from dataclasses import dataclass

import numpy as np

from motionmatcher.clips.clip_file import Frames

# Levels of 255: black, with what encoding makes of it.
BLACK = 32
SPREAD = 12
# Beside a bar this share of the picture's border is something else, in some frame: what lies on a
# black background touches it in a few places only.
BORDER_SHARE = 0.5
# Of the picture's side; less is the border of the encoding.
MIN_BAR = 0.02


@dataclass(frozen=True)
class Bars:
    """Shares of the picture's height and width that bars take; 0 where there is none."""

    top: float
    bottom: float
    left: float
    right: float

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any((self.top, self.bottom, self.left, self.right))


class BarFinder:
    """Looks at frames one by one for borders that stay black in all of them."""

    def __init__(self) -> None:
        """Begin without a frame."""
        self.darkest: Frames | None = None
        self.brightest: Frames | None = None

    def add(self, frame: Frames) -> None:
        """Look at a frame, uint8 (H, W, 3)."""
        self.darkest = frame if self.darkest is None else np.minimum(self.darkest, frame)
        self.brightest = frame if self.brightest is None else np.maximum(self.brightest, frame)

    def bars(self) -> Bars:
        """Tell the bars that all frames have; there must be one."""
        assert self.darkest is not None
        assert self.brightest is not None
        low = self.darkest.min(axis=2).astype(int)  # (H, W)
        high = self.brightest.max(axis=2).astype(int)
        top, bottom = _bar(low, high), _bar(low[::-1], high[::-1])
        left, right = _bar(low.T, high.T), _bar(low.T[::-1], high.T[::-1])
        return Bars(top, bottom, left, right)


def _bar(low: np.ndarray, high: np.ndarray) -> float:
    """Measure a bar at the first rows of a picture, as a share of its rows."""
    rows = len(low)
    row_high = np.maximum.accumulate(high.max(axis=1))
    row_low = np.minimum.accumulate(low.min(axis=1))
    is_bar = (row_high <= BLACK) & (row_high - row_low <= SPREAD)
    thickness = int(is_bar.argmin()) if not is_bar.all() else 0
    # The row after a bar may be a mixture of both.
    beside = high[min(thickness + 1, rows - 1)]
    differs = (beside > row_high[max(thickness - 1, 0)] + SPREAD).mean()
    if thickness < MIN_BAR * rows or differs < BORDER_SHARE:
        return 0.0
    return thickness / rows
