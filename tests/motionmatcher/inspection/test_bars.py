"""Black bars are told from black backgrounds, dark scenes and bright frames."""

import numpy as np
import pytest

from motionmatcher.clips.video import Frames
from motionmatcher.inspection.bars import BarFinder, Bars


def noise(height: int = 50, width: int = 100, frames: int = 3) -> Frames:
    """Bright noise, uint8 (F, H, W, 3)."""
    return np.random.default_rng(0).integers(60, 255, (frames, height, width, 3), np.uint8)


def bars_of(frames: Frames) -> Bars:
    finder = BarFinder()
    for frame in frames:
        finder.add(frame)
    return finder.bars()


def test_a_picture_without_bars() -> None:
    assert not bars_of(noise())


def test_each_bar_is_measured() -> None:
    frames = noise()
    frames[:, :5] = 16
    frames[:, -10:] = 16
    frames[:, :, -20:] = 10
    bars = bars_of(frames)
    assert bars == Bars(top=0.1, bottom=0.2, left=0, right=0.2)
    assert bars


def test_a_mixed_row_beside_a_bar() -> None:
    frames = noise()
    frames[:, :5] = 0
    frames[:, 5] = 10  # the encoding's
    assert bars_of(frames).top == pytest.approx(0.12)
    frames[:, 5] = 20
    assert bars_of(frames).top == pytest.approx(0.1)


def test_what_is_black_for_a_while_is_no_bar() -> None:
    frames = noise()
    frames[:2, :5] = 0
    assert not bars_of(frames)


@pytest.mark.parametrize("level", [80, 255])
def test_a_bright_border_is_no_bar(level: int) -> None:
    frames = noise()
    frames[:, :5] = level
    assert not bars_of(frames)


def test_a_black_background_is_no_bar() -> None:
    frames = np.zeros((3, 50, 100, 3), np.uint8)
    frames[:, 20:30, 40:60] = 200
    assert not bars_of(frames)
    assert not bars_of(np.zeros((3, 50, 100, 3), np.uint8))


def test_a_line_of_the_encoding_is_no_bar() -> None:
    frames = noise(height=100)
    frames[:, 0] = 0
    assert not bars_of(frames)
