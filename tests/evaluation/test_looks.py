"""Looks taken over: the way from the base's video to the reference, in colours or any description."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from evaluation.looks import colours, looks_taken_over
from motionmatcher.clips.clip_file import Frames

BASE, REFERENCE = np.array([0.0, 1.0, 0.0]), np.array([2.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("video", "share"),
    [
        (BASE, 0),
        (REFERENCE, 1),
        ([1, 1, 0], 0.5),
        ([1, 9, -7], 0.5),  # the rest of what changed lies in other directions
        ([-1, 1, 0], -0.5),
    ],
)
def test_share_of_the_way_by_hand(video: np.ndarray, share: float) -> None:
    assert looks_taken_over(np.asarray(video, float), BASE, REFERENCE) == share


def test_where_base_and_reference_look_the_same_there_is_no_way() -> None:
    assert math.isnan(looks_taken_over(REFERENCE, BASE, BASE + 0.05))


def test_colours_know_no_place_and_no_time(noise_clip: Callable[..., Frames]) -> None:
    clip = noise_clip()
    found = colours(clip)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert np.array_equal(found, colours(clip[::-1, :, ::-1]))
    twice = np.concatenate([clip, clip])
    assert np.allclose(found, colours(twice))


def one_object(object_colour: tuple[int, int, int], ground: tuple[int, int, int]) -> np.ndarray:
    """Colours of a clip with a square on a plain ground."""
    frames = np.empty((2, 64, 64, 3), np.uint8)
    frames[:] = ground
    frames[:, 10:22, 10:22] = object_colour
    return colours(frames)


def test_an_object_in_the_reference_s_colour_and_its_ground_each_count() -> None:
    red, blue, white, teal = (230, 20, 20), (30, 60, 220), (250, 250, 250), (0, 120, 120)
    base, reference = one_object(blue, teal), one_object(red, white)
    of_object = looks_taken_over(one_object(red, teal), base, reference)
    of_ground = looks_taken_over(one_object(blue, white), base, reference)
    assert looks_taken_over(base, base, reference) == 0
    # A fourth root of 3.5 % of the picture: the object alone is well above what counts as a leak.
    assert 0.12 < of_object < of_ground < 0.9
    assert of_object + of_ground == pytest.approx(1, abs=0.1)
