"""Metrics of videos, by hand."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from launching import PROJECT

from motionmatcher.errors import UserError
from testbed.measurement import (
    MAX_OBJECT_RADIUS,
    METRICS,
    camera_error,
    displacement_correlation,
    measure_video,
    resting_object_metrics,
)
from testbed.path_error import chance_distance
from testbed.tracker import ClipMeasurement
from testbed.truth import Truth, read_truth

REFERENCES = PROJECT / "resources" / "reference_videos"
NAN = [np.nan, np.nan]
LINE = np.asarray([[10.0, 20.0], [20.0, 20.0], [30.0, 20.0]])
RESTING = np.asarray([[0.0, 0.0, 1.0]] * 3)
PROMPT = {
    "color": "green",
    "shape": "star",
    "background_style": "dotted",
    "background_color": "white",
}
TRUTH = Truth(
    prompt="a red circle on a dotted black background",
    appearance={
        "color": "red",
        "shape": "circle",
        "background_style": "dotted",
        "background_color": "black",
    },
    tuning=True,
    path=LINE,
    radius=np.asarray([9.0, 9.0, 9.0]),
    camera=RESTING,
)


SEEN = ClipMeasurement(
    **PROMPT,
    counts=np.asarray([1, 1, 1]),
    path=LINE,
    radius=np.asarray([9.0, 9.0, 9.0]),
    camera=None,
)
NOTHING = ClipMeasurement(
    "", "", "", "", np.asarray([0] * 3), LINE * np.nan, np.full(3, np.nan), None
)


def make_video(**changes: Any) -> ClipMeasurement:
    return dataclasses.replace(SEEN, **changes)


def test_a_video_like_reference_and_prompt_has_no_error_and_leaks_nothing() -> None:
    metrics = measure_video(make_video(), PROMPT, TRUTH)
    assert tuple(metrics) == METRICS
    assert metrics["path_error"] == metrics["centred_error"] == metrics["size_error"] == 0.0
    assert metrics["correlation"] == pytest.approx(1.0)
    assert math.isnan(metrics["camera_error"])  # the reference's camera rests
    assert [metrics[f"{name}_kept"] for name in ("color", "shape", "background")] == [1.0] * 3
    assert metrics["leakage"] == 0.0


def test_leakage_counts_the_reference_where_the_prompt_asks_for_something_else() -> None:
    video = make_video(color="red", background_color="black")
    metrics = measure_video(video, PROMPT, TRUTH)
    assert (metrics["color_leaked"], metrics["shape_leaked"]) == (1.0, 0.0)
    assert metrics["background_leaked"] == 1.0  # the colour; both are dotted, which says nothing
    assert metrics["leakage"] == pytest.approx(2 / 3)
    assert metrics["color_kept"] == 0.0
    assert metrics["background_kept"] == 0.5
    other = measure_video(make_video(color="blue"), PROMPT, TRUTH)
    assert (other["color_kept"], other["color_leaked"]) == (0.0, 0.0)
    same_color = {**PROMPT, "color": "red"}
    assert math.isnan(measure_video(video, same_color, TRUTH)["color_leaked"])


def test_correlation_knows_direction_rest_and_missing_frames() -> None:
    assert displacement_correlation(LINE[::-1], LINE) == pytest.approx(-1.0)
    assert displacement_correlation(LINE[:, ::-1], LINE) == pytest.approx(0.0)
    assert displacement_correlation(np.full((3, 2), 7.0), LINE) == 0.0
    # Steps (10, 0) and none, of wanted (10, 0) and (10, 0): 100 / (10 * sqrt(200)).
    path = np.asarray([[0.0, 0.0], [10.0, 0.0], NAN])
    assert displacement_correlation(path, LINE) == pytest.approx(1 / math.sqrt(2))


def test_references_that_hardly_move_have_no_correlation() -> None:
    still = dataclasses.replace(TRUTH, path=LINE[:1].repeat(3, axis=0))
    assert math.isnan(measure_video(make_video(), PROMPT, still)["correlation"])


def test_no_object_at_all_is_as_bad_as_chance() -> None:
    metrics = measure_video(NOTHING, PROMPT, TRUTH)
    assert metrics["path_error"] == pytest.approx(chance_distance(LINE).mean())
    assert metrics["size_error"] == 9.0
    assert metrics["correlation"] == metrics["one_object"] == 0.0
    assert metrics["color_kept"] == metrics["leakage"] == 0.0
    assert metrics["object_found"] == 0.0


def test_without_an_object_nothing_can_leak() -> None:
    # The background's colour leaked, and the object is gone: colour and shape are no merit.
    nothing = dataclasses.replace(NOTHING, background_color="black")
    metrics = measure_video(nothing, PROMPT, TRUTH)
    assert metrics["leakage"] == pytest.approx(1 / 3)  # both are dotted, which says nothing
    for name in ("color_leaked_by_object", "shape_leaked_by_object", "leakage_with_object"):
        assert math.isnan(metrics[name])
    seen = measure_video(make_video(color="red"), PROMPT, TRUTH)
    assert (seen["color_leaked_by_object"], seen["shape_leaked_by_object"]) == (1.0, 0.0)
    assert seen["leakage_with_object"] == seen["leakage"] == pytest.approx(1 / 3)
    assert seen["object_found"] == 1.0


def test_a_frame_filled_by_one_colour_has_no_object() -> None:
    assert MAX_OBJECT_RADIUS == 20.0
    middle = np.asarray([[10.0, 20.0], [31.5, 31.5], [30.0, 20.0]])
    video = make_video(path=middle, radius=np.asarray([9.0, 20.1, 20.0]))
    metrics = measure_video(video, PROMPT, TRUTH)
    assert metrics["path_error"] == pytest.approx(chance_distance(LINE)[1] / 3)
    assert metrics["size_error"] == pytest.approx((0 + 9 + 11) / 3)
    assert metrics["one_object"] == pytest.approx(2 / 3)
    assert metrics["correlation"] == 0.0  # no two neighbouring places are known
    filled = measure_video(make_video(color="red", radius=np.full(3, 36.0)), PROMPT, TRUTH)
    assert filled["path_error"] == pytest.approx(chance_distance(LINE).mean())
    assert filled["object_found"] == filled["color_leaked"] == filled["shape_kept"] == 0.0


def test_resting_object_by_hand() -> None:
    metrics = resting_object_metrics(TRUTH)
    distances = [math.hypot(21.5, 11.5), math.hypot(11.5, 11.5), math.hypot(1.5, 11.5)]
    assert metrics["path_error"] == pytest.approx(np.mean(distances))
    assert metrics["centred_error"] == pytest.approx(20 / 3)  # 10, 0 and 10 from the mean
    assert metrics["correlation"] == 0.0
    assert tuple(metrics) == METRICS
    assert math.isnan(metrics["leakage"])
    assert math.isnan(metrics["one_object"])


def test_camera_error_by_hand() -> None:
    pan = np.asarray([[0.0, 0.0, 1.0], [3.0, 4.0, 1.0]])
    assert camera_error(pan, pan) == 0.0
    assert camera_error(None, pan) == pytest.approx(2.5)  # at rest: 0 and 5 pixels
    zoom = np.asarray([[0.0, 0.0, 1.0], [0.0, 0.0, 1.5]])
    # Points at 0, 24 and 24 sqrt(2) from the centre, half as far again: 12 (4 + 4 sqrt(2)) / 9.
    expected = 12 * (4 + 4 * math.sqrt(2)) / 9
    assert camera_error(None, zoom) == pytest.approx(expected / 2, rel=0.01)


def test_a_lost_camera_is_at_rest_and_no_worse_than_the_diagonal() -> None:
    pan = np.asarray([[0.0, 0.0, 1.0], [3.0, 4.0, 1.0]])
    for x, error in ((np.nan, 2.5), (np.inf, 2.5), (1e6, math.hypot(64, 64))):
        camera = np.asarray([[0.0, 0.0, 1.0], [x, 0.0, 1.0]])
        assert camera_error(camera, pan) == pytest.approx(error)


def test_camera_counts_only_where_the_prompt_shows_it() -> None:
    moving = dataclasses.replace(TRUTH, camera=np.asarray([[0.0, 0, 1], [3, 4, 1], [6, 8, 1]]))
    assert measure_video(make_video(), PROMPT, moving)["camera_error"] == pytest.approx(5.0)
    plain = {**PROMPT, "background_style": "plain"}
    assert math.isnan(measure_video(make_video(), plain, moving)["camera_error"])


def test_ground_truth_is_read_relative_to_the_first_frame() -> None:
    truth = read_truth(REFERENCES / "camera_zoom.mp4")
    assert truth.camera[0].tolist() == [0.0, 0.0, 1.0]
    assert truth.camera[-1, 2] == pytest.approx(1.8, rel=1e-4)
    assert truth.camera_moves
    assert not truth.tuning
    assert not read_truth(REFERENCES / "figure_eight.mp4").camera_moves


def test_unknown_motion_lists_those_there_are() -> None:
    with pytest.raises(
        UserError, match=r"moonwalk\.json: no such ground truth; there are: .*spiral"
    ):
        read_truth(REFERENCES / "moonwalk.mp4")
