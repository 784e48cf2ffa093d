"""Speeds of rendered clips against their ground truth, however far an object goes from frame to frame."""

from pathlib import Path

import numpy as np
import pytest

from motionmatcher.clips.video import read_video, write_mp4
from motionmatcher.inspection.steps import measure_steps
from testbed.reference_clips import reference_scene
from testbed.renderer import render


@pytest.mark.parametrize("name", ["figure_eight", "sharp_turns", "spiral", "staircase", "swing"])
def test_an_object_before_a_resting_camera(name: str, tmp_path: Path) -> None:
    scene = reference_scene(name, 8)
    frames = render(scene)
    write_mp4(tmp_path / "clip.mp4", frames, fps=8)
    steps = list(measure_steps(read_video(tmp_path / "clip.mp4")[0]))
    lengths = np.linalg.norm(np.diff(scene.path, axis=0), axis=1)
    true_speeds = 100 * lengths / np.hypot(*frames.shape[1:3])
    assert [step.objects for step in steps] == pytest.approx(true_speeds.tolist(), abs=1.5)
    assert max(step.camera for step in steps) < 0.1


def test_a_picture_without_texture_stands_still() -> None:
    plain = np.full((2, 32, 48, 3), 90, np.uint8)
    (step,) = measure_steps(plain)
    assert (step.found, step.camera, step.objects, step.moving) == (1, 0, 0, 0)
    flash = plain.copy()
    flash[1] = 200
    (step,) = measure_steps(flash)
    assert (step.found, step.objects, step.change) == (0, 0, 110)
