"""Frames are taken by their times: all of a steady clip, and those on an even grid of any other."""

from fractions import Fraction
from pathlib import Path

import pytest

from motionmatcher.clips.clip_times import FrameTimes, Timeline, plan_timeline
from motionmatcher.errors import UserError


def plan(
    *starts_ms: int | None, hold_ms: int = 0, header: float | None = None, grid: float | None = None
) -> Timeline:
    """Plan a clip whose container counts milliseconds."""
    tick = Fraction(1, 1000)
    starts = [None if start is None else start * tick for start in starts_ms]
    rate = None if header is None else Fraction(header)
    return plan_timeline(Path("clip.mp4"), FrameTimes(starts, hold_ms * tick, tick, rate), grid)


def assert_whole(timeline: Timeline, num_frames: int, fps: float) -> None:
    assert list(timeline.sources) == list(range(num_frames))
    assert timeline.fps == pytest.approx(fps)
    assert timeline.note is None


def test_all_frames_of_a_steady_clip_are_taken_whatever_the_grid() -> None:
    assert_whole(plan(0, 100, 200, 300, grid=25), 4, 10)
    assert_whole(plan(700, 800, 900, hold_ms=100, grid=25), 3, 10)


def test_steps_may_differ_by_one_percent() -> None:
    assert_whole(plan(0, 1000, 2010, 3010), 4, 3 / 3.010)
    assert plan(0, 1000, 2025, 3025).note is not None


def test_rounding_to_ticks_is_no_variable_rate() -> None:
    starts = [round(1000 * frame / 30) for frame in range(60)]  # steps of 33 and 34
    assert_whole(plan(*starts, header=30), 60, 30)
    starts.remove(starts[30])
    assert len(plan(*starts, header=30).sources) == 60, "a frame that is missing is no rounding"


def test_a_lost_frame_is_no_rounding_to_coarse_ticks() -> None:
    tick = Fraction(1, 12)
    starts = [index * tick for index in (0, 1, 2, 4, 5, 6)]
    times = FrameTimes(starts, tick, tick, Fraction(12))
    assert list(plan_timeline(Path("clip.mp4"), times, None).sources) == [0, 1, 2, 2, 3, 4, 5]


def test_the_header_s_rate_counts_unless_the_times_contradict_it() -> None:
    assert plan(0, 83, 167, 250, header=12).fps == 12
    assert plan(0, 83, 167, 250, header=600).fps == pytest.approx(12)


def test_frames_that_are_held_count_for_as_long_as_they_are_shown() -> None:
    timeline = plan(0, 100, 200, 500, hold_ms=100)
    assert list(timeline.sources) == [0, 1, 2, 2, 2, 3]
    assert timeline.fps == 10
    assert timeline.note == (
        "its frame rate varies: 6 frames are taken at even steps (10 fps) from the 4 in the file"
    )
    assert list(plan(0, 100, hold_ms=300).sources) == [0, 1, 1, 1]
    assert list(plan(0, hold_ms=400, grid=10).sources) == [0, 0, 0, 0]


def test_the_grid_may_be_coarser_or_finer_than_the_clip() -> None:
    starts = [*range(0, 1000, 100), *range(1000, 3000, 500)]  # 10 fps, then 2
    assert list(plan(*starts, grid=2).sources) == [0, 5, 10, 11, 12, 13]
    finer = list(plan(*starts, hold_ms=500, grid=20).sources)
    assert finer[:20:2] == finer[1:20:2] == list(range(10))
    assert finer[20:] == [10] * 10 + [11] * 10 + [12] * 10 + [13] * 10


def test_each_frame_goes_to_the_nearest_point_of_the_grid() -> None:
    jitter = [0, 130, 170, 310, 380, 520, 590]  # about 10 fps
    assert list(plan(*jitter, grid=10).sources) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("starts", [(None, 40, 80), (0, 80, 40), (0, 0, 0)])
def test_without_times_that_run_forward_the_header_is_believed(starts: tuple) -> None:
    assert_whole(plan(*starts, header=24, grid=8), 3, 24)
    assert_whole(plan(*starts), 3, 25)  # as ffmpeg does


def test_times_that_make_no_sense() -> None:
    with pytest.raises(UserError, match=r"clip\.mp4 would be 40000001 frames at 10 fps.*constant"):
        plan(0, 100, 200, 4_000_000_000)


@pytest.mark.parametrize(
    ("starts", "hold", "end", "cut"),
    [((0, 1, 2), 1, 3, False), ((0, 1), 1, 3, True), ((0, 2), 0, 4, False), ((0,), 1, 2, True)],
)
def test_frames_missing_at_the_end(starts: tuple, hold: int, end: int, cut: bool) -> None:
    times = FrameTimes(list(map(Fraction, starts)), Fraction(hold), Fraction(1, 1000), None)
    assert times.end_before(Fraction(end)) == cut
