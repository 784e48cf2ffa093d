"""Cuts and repeats, by hand, and on rendered clips: between any two, and never within one."""

import numpy as np
import pytest

from motionmatcher.clips.video import Frames, read_video, write_mp4
from motionmatcher.inspection.cuts import find_cuts, find_repeats
from motionmatcher.inspection.steps import Step, measure_steps
from testbed.reference_clips import REFERENCE_MOTIONS, reference_scene
from testbed.renderer import render

NAMES = sorted(REFERENCE_MOTIONS)


def steps(found: list[float] | None = None, change: list[float] | None = None) -> list[Step]:
    """Steps of which some of the points are found, or in which places change by some levels."""
    count = len(found or change or [])
    values = zip(found or [1.0] * count, change or [50.0] * count, strict=True)
    return [Step(share, camera=0, objects=0, moving=0, change=most) for share, most in values]


@pytest.mark.parametrize(
    ("found", "cuts"),
    [
        ([0.9, 0.9, 0.1, 0.9, 0.9], [2]),
        ([0.1, 0.9, 0.9, 0.9], [0]),
        ([0.9, 0.9, 0.9, 0.1], [3]),
        ([0.9, 0.9, 0.44, 0.9], [2]),
        ([0.9, 0.9, 0.46, 0.9], []),
        # A wild clip, whose points are lost in each step: 0.25 is more than 0.6 of the usual 0.4.
        ([0.4, 0.4, 0.25, 0.4, 0.4], []),
        ([0.4, 0.4, 0.23, 0.4, 0.4], [2]),
        ([0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.9], [1, 4]),
        ([0.2], [0]),
        ([], []),
    ],
)
def test_a_cut_loses_more_points_than_the_steps_about_it(
    found: list[float], cuts: list[int]
) -> None:
    assert find_cuts(steps(found)) == cuts


@pytest.mark.parametrize(
    ("change", "repeats"),
    [
        ([60, 3, 60, 9, 60], [1, 3]),
        ([60, 11, 60], []),
        ([30, 8, 30], []),  # slow, but it moves: more than a quarter of the usual
        ([30, 7, 30], [1]),
        ([3, 3, 3], []),  # nothing moves at all, which is said otherwise
        ([], []),
    ],
)
def test_a_repeat_changes_less_than_the_steps_that_show_something(
    change: list[float], repeats: list[int]
) -> None:
    assert find_repeats(steps(change=change)) == repeats


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Frames]:
    """The rendered clips that ship, encoded: noise is what makes flow unsure on plain grounds."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    found = {}
    for name in NAMES:
        write_mp4(path, render(reference_scene(name, 8)), fps=8)
        found[name] = read_video(path)[0]
    return found


def cuts_of(frames: Frames) -> list[int]:
    return find_cuts(list(measure_steps(frames)))


@pytest.mark.parametrize("name", NAMES)
def test_fast_motion_is_no_cut_and_another_clip_is_one(name: str, clips: dict[str, Frames]) -> None:
    frames = clips[name]
    assert cuts_of(frames[::2]) == []  # twice as fast
    leap = np.repeat(frames[:2], 4, axis=0)  # between two rests
    assert cuts_of(leap) == []
    after = clips[NAMES[NAMES.index(name) - 1]]
    assert cuts_of(np.concatenate([frames[-4:], after[:4]])) == [3]
