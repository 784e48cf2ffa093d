"""Heat lies where the map has it, and frames stay to be seen elsewhere."""

import numpy as np
import torch

from motionmatcher.maps.heat import FRAME_HEIGHT, enlarged, overlay, scaled


def test_the_hottest_pixels_are_those_around_the_middle_of_the_hottest_place() -> None:
    frames = np.full((2, 64, 64, 3), 100, np.uint8)
    maps = torch.zeros(2, 4, 4)
    maps[1, 1, 2] = 0.3  # its middle is between the pixels 23 and 24 down, 39 and 40 across
    cold, hot = overlay(frames, maps)
    assert (cold == 100).all()
    changed = np.abs(hot.astype(int) - 100).sum(axis=2)
    hottest = np.argwhere(changed == changed.max())
    assert hottest.tolist() == [[23, 39], [23, 40], [24, 39], [24, 40]]
    assert (hot[:8] == 100).all()  # beyond the middle of the first places nothing is left of it
    assert (hot[:, :24] == 100).all()


def test_the_brightest_heat_is_of_the_largest_value() -> None:
    maps = torch.tensor([[[0.0, 0.5]], [[1.0, 0.25]]])
    drawn = overlay(np.zeros((2, 1, 2, 3), np.uint8), maps).astype(int).sum(-1)  # (2, 1, 2)
    assert drawn[0, 0, 0] == 0
    assert drawn[1, 0, 0] > drawn[0, 0, 1] > drawn[1, 0, 1] > 0


def test_frames_lose_their_colour_and_keep_their_brightness() -> None:
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    frames[..., 1] = 255
    assert (overlay(frames, torch.ones(1, 2, 2)) == 150).all()  # 0.587 of 255


def test_maps_are_scaled_together() -> None:
    maps = torch.tensor([[[0.1, 0.2]], [[0.2, 0.3]]])
    torch.testing.assert_close(scaled(maps), torch.tensor([[[0.0, 0.5]], [[0.5, 1.0]]]))
    assert (scaled(torch.full((2, 1, 2), 0.7)) == 0).all()


def test_small_frames_keep_their_pixels() -> None:
    frame = np.zeros((1, 2, 4, 3), np.uint8)
    frame[0, 1, 2] = 255
    large = enlarged(frame)
    half = FRAME_HEIGHT // 2
    assert large.shape == (1, FRAME_HEIGHT, 2 * FRAME_HEIGHT, 3)
    assert (large[0, half:, FRAME_HEIGHT : FRAME_HEIGHT + half] == 255).all()
    assert large.astype(int).sum() == 3 * 255 * half * half
