"""A video's motion in one picture."""

import numpy as np

from testbed.reference_clips import reference_scene
from testbed.renderer import OBJECT_COLORS, render
from testbed.strobe import FAINTEST, SCALE, strobe

GRAY = 100


def passing_square() -> np.ndarray:
    """A red square at the left, in the middle, at the right; it rests nowhere."""
    frames = np.full((3, 64, 64, 3), GRAY, np.uint8)
    for frame, left in zip(frames, (4, 26, 48), strict=True):
        frame[20:32, left : left + 12] = OBJECT_COLORS["red"]
    return frames


def at(picture: np.ndarray, x: int, y: int) -> list[int]:
    """Colour in the middle of a pixel of the video."""
    return picture[SCALE * y + SCALE // 2, SCALE * x + SCALE // 2].tolist()


def test_later_frames_are_stronger_by_hand() -> None:
    picture = strobe(passing_square())
    assert picture.shape == (SCALE * 64, SCALE * 64, 3)
    red = np.asarray(OBJECT_COLORS["red"], float)
    for left, opacity in ((4, FAINTEST), (26, (1 + FAINTEST) / 2), (48, 1.0)):
        expected = opacity * red + (1 - opacity) * GRAY
        assert np.abs(at(picture, left + 6, 26) - expected).max() <= 1
    assert at(picture, 20, 50) == [GRAY] * 3


def test_what_rests_is_shown_as_it_is() -> None:
    frames = np.repeat(passing_square()[1:2], 4, axis=0)
    picture = strobe(frames)
    assert np.abs(at(picture, 32, 26) - np.asarray(OBJECT_COLORS["red"], float)).max() <= 1
    assert at(picture, 5, 26) == [GRAY] * 3


def test_the_path_is_a_white_line_from_its_ring() -> None:
    frames = np.full((2, 64, 64, 3), GRAY, np.uint8)
    picture = strobe(frames, np.asarray([[10.0, 40.0], [50.0, 40.0]]))
    assert min(at(picture, 30, 40)) > 200
    assert at(picture, 30, 36) == [GRAY] * 3
    column = picture[:, SCALE * 9 + SCALE // 2]
    assert column.max() > 200  # the ring reaches left of where the line begins
    assert picture[:, : SCALE * 6].max() == GRAY


def test_a_rendered_clip_keeps_its_background() -> None:
    frames = render(reference_scene("spiral", 8))
    picture = strobe(frames)
    assert at(picture, 2, 2) == frames[0, 2, 2].tolist()
