"""Which frames are read: counted or by time, and what is said of a clip that is too short."""

from typing import Any

import pytest

from motionmatcher.clips.frame_choice import FrameChoice
from motionmatcher.config.settings import TrainData
from motionmatcher.errors import UserError


def choice_of(**settings: Any) -> FrameChoice:
    return FrameChoice.of(
        TrainData(single_video_path="a.mp4", single_video_prompt="", n_sample_frames=4, **settings)
    )


@pytest.mark.parametrize(
    ("settings", "num_frames", "fps", "indices"),
    [
        ({}, 4, 8.0, [0, 1, 2, 3]),
        ({"sample_start_idx": 2, "frame_step": 3}, 12, 8.0, [2, 5, 8, 11]),
        # A frame each half a second, on whole frames of the clip.
        ({"duration_s": 2}, 16, 8.0, [0, 4, 8, 12]),
        ({"start_s": 1, "duration_s": 1}, 16, 8.0, [8, 10, 12, 14]),
        ({"start_s": 0.5}, 16, 8.0, [4, 5, 6, 7]),
        # At 0, 0.25, 0.5 and 0.75 s: frames 0, 2.5, 5 and 7.5, of which the nearest, the later of two.
        ({"duration_s": 1}, 10, 10.0, [0, 3, 5, 8]),
        # A clip's frames are held where more are asked for: at 0, 0.5, 1 and 1.5.
        ({"duration_s": 0.5}, 3, 4.0, [0, 1, 1, 2]),
        ({"duration_s": 0.5}, 2, 4.0, [0, 1, 1, 1]),
        # At 0.04 s, so frame 0.4 of the clip.
        ({"start_s": 0.04, "duration_s": 0.8}, 10, 10.0, [0, 2, 4, 6]),
    ],
)
def test_frames_are_counted_or_chosen_by_time(
    settings: dict[str, Any], num_frames: int, fps: float, indices: list[int]
) -> None:
    assert choice_of(**settings).indices("a.mp4", num_frames, fps, 4) == indices


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_s": 1.5, "duration_s": 1.0},
         "a.mp4 is 2 s long, but 4 frames 0.25 s apart from 1.5 s on end at 2.5 s: lower start_s, "
         "duration_s or n_sample_frames, or take a longer clip."),
        ({"start_s": 1.75}, "4 frames 0.125 s apart from 1.75 s on end at 2.25 s"),
        ({"duration_s": 3}, "4 frames 0.75 s apart from 0 s on end at 3 s"),
        ({"sample_start_idx": 13}, "a.mp4 has 16 frames, but sample_start_idx 13"),
    ],
)  # fmt: skip
def test_a_clip_that_is_too_short(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        choice_of(**settings).indices("a.mp4", 16, 8.0, 4)
    assert message in str(raised.value)


def test_less_than_half_a_frame_beyond_the_end_is_rounding() -> None:
    choice = choice_of(duration_s=2)
    assert choice.indices("a.mp4", 48, 24.2, 4) == [0, 12, 24, 36]  # 1.983 s
    with pytest.raises(UserError, match=r"is 1\.942 s long"):
        choice.indices("a.mp4", 47, 24.2, 4)


def test_a_clip_of_variable_rate_is_read_at_the_spacing_asked_for() -> None:
    assert choice_of(frame_step=3).grid_fps == 24
    assert choice_of(start_s=1.0).grid_fps == 8
    assert choice_of(duration_s=2).grid_fps == 2


def test_more_frames_than_those_of_the_training_keep_their_spacing() -> None:
    assert choice_of(duration_s=2).indices("a.mp4", 24, 8.0, 6) == [0, 4, 8, 12, 16, 20]


def test_what_is_played_at_another_rate_is_noted() -> None:
    assert choice_of(frame_step=3).rate_note("a.mp4", 24.0, 8.0) is None
    assert choice_of(duration_s=0.5).rate_note("a.mp4", 24.0, 8.0) is None
    assert choice_of(frame_step=2).rate_note("a.mp4", 24.0, 8.0) == (
        "a.mp4 has 24 fps; with frame_step 2 that is 12, but previews will play at train_data.fps 8."
    )
    assert choice_of(duration_s=2).rate_note("a.mp4", 24.0, 8.0) == (
        "a.mp4 has 24 fps; with duration_s that is 2, but previews will play at train_data.fps 8."
    )


def test_caches_tell_choices_apart() -> None:
    assert choice_of(sample_start_idx=2).place() == {"start": 2, "step": 1}
    assert choice_of(start_s=0, duration_s=2).place() == {"start_s": 0, "step_s": 0.5}
