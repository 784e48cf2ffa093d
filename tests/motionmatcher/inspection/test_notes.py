"""A note advises only what can be done."""

from typing import Any

import pytest

from motionmatcher.config.settings import TrainData
from motionmatcher.inspection.bars import Bars
from motionmatcher.inspection.notes import window_notes
from motionmatcher.inspection.windows import Window


def notes_on(window: Window, **settings: Any) -> list[str]:
    data = TrainData(single_video_path="clip.mp4", single_video_prompt="", **settings)
    return list(window_notes(data, window, Bars(0, 0, 0, 0)))


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
    (note,) = notes_on(window)
    assert note == (
        "clip.mp4: much moves by more than 33 % of the diagonal from frame to frame, or is lost from "
        f"sight: {finer} may be followed better."
    )


@pytest.mark.parametrize(
    ("settings", "start", "step"),
    [
        ({}, "train_data.sample_start_idx.", "train_data.frame_step"),
        ({"start_s": 1.0}, "train_data.start_s.", "train_data.duration_s"),
        ({"duration_s": 2.0}, "train_data.start_s.", "train_data.duration_s"),
    ],
)
def test_advice_names_the_settings_that_chose_the_frames(
    settings: dict[str, float], start: str, step: str
) -> None:
    """For the others are refused beside them."""
    wild = Window((0, 2, 4), (0.0, 0.0), (40.0, 40.0), (False, False), (2,), (2, 4))
    scene, repeats, fast = notes_on(wild, **settings)
    assert scene.endswith(f"choose frames of one scene by {start}")
    assert f"a larger {step}, or ffmpeg's filter mpdecimate" in repeats
    assert f": a smaller {step} may be followed better." in fast
    (still,) = notes_on(Window((0, 1), (0.0,), (0.0,), (False,), (), ()), **settings)
    assert still.endswith(f"take other frames, or a larger {step}.")
