"""The shipped reference clips are what the code renders and show what their JSON says."""

import json

import numpy as np
import pytest
from launching import PROJECT

from motionmatcher.clips.video import read_video
from testbed.reference_clips import REFERENCE_MOTIONS, ground_truth
from testbed.scenes import NUM_FRAMES
from testbed.tracker import measure_clip

FOLDER = PROJECT / "resources" / "reference_videos"


@pytest.mark.parametrize("name", REFERENCE_MOTIONS)
def test_shipped_clip_shows_its_ground_truth(name: str) -> None:
    truth = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert truth == json.loads(json.dumps(ground_truth(name, NUM_FRAMES)))
    frames, fps = read_video(FOLDER / f"{name}.mp4")
    assert fps == truth["fps"]
    clip = measure_clip(frames)
    assert (clip.color, clip.shape) == (truth["color"], truth["shape"])
    assert clip.background_color == truth["background_color"]
    assert (clip.counts == 1).all()
    assert np.abs(clip.path - np.asarray(truth["path"])).max() < 0.8
    assert np.abs(clip.radius - np.asarray(truth["radius"])).max() < 0.8
    camera = np.asarray(truth["camera"])
    if np.ptp(camera, axis=0).max() > 0:
        assert clip.camera is not None
        zoom = camera[:, 2] / camera[0, 2]
        assert np.abs(clip.camera[:, 2] - zoom).max() < 0.1
        travel = (camera[-1, :2] - camera[0, :2]) * camera[0, 2]
        assert np.abs(clip.camera[-1, :2] - travel).max() < 2.5


def test_four_motions_are_for_tuning_and_eight_for_reporting() -> None:
    tuning = [motion.tuning for motion in REFERENCE_MOTIONS.values()]
    assert (sum(tuning), len(tuning) - sum(tuning)) == (4, 8)


def test_reports_have_camera_pan_zoom_and_both() -> None:
    cameras = [(m.pan != (0.0, 0.0), m.zoom != 1.0) for m in REFERENCE_MOTIONS.values()]
    assert {(True, False), (False, True), (True, True)} <= set(cameras)
