"""A note advises only what can be done."""

import pytest

from motionmatcher.inspection.bars import Bars
from motionmatcher.inspection.notes import window_notes
from motionmatcher.inspection.windows import Window


@pytest.mark.parametrize(
    ("frames", "finer"),
    [
        ((0, 2, 4), "a smaller train_data.frame_step"),
        ((7, 8, 9), "a clip with more frames per second"),
    ],
)
def test_a_clip_read_frame_by_frame_has_no_smaller_step(
    frames: tuple[int, ...], finer: str
) -> None:
    window = Window(frames, (0.0, 0.0), (40.0, 40.0), (False, False), (), ())
    (note,) = window_notes("clip.mp4", window, Bars(0, 0, 0, 0))
    assert note == (
        "clip.mp4: much moves by more than 33 % of the diagonal from frame to frame, or is lost from "
        f"sight: {finer} may be followed better."
    )
