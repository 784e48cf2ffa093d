"""The tracker's error on ground truth, and what it says of what is not Moving Shapes."""

import dataclasses

import numpy as np
import pytest
from scene_factory import make_scene

from testbed.renderer import TEXTURED_STYLES, render, shape_mask
from testbed.scenes import sample_scene, scene_stream
from testbed.tracker import measure_clip

NUM_CLIPS = 60


@pytest.fixture(scope="module")
def measured() -> list:
    scenes = [sample_scene(scene_stream(31, "train", index), "train") for index in range(NUM_CLIPS)]
    return [(scene, measure_clip(render(scene))) for scene in scenes]


def test_names_are_read_without_error(measured: list) -> None:
    for scene, clip in measured:
        assert clip.color == scene.color
        assert clip.shape == scene.shape
        assert clip.background_color == scene.background.color
        assert (clip.counts == 1).all()
    styles = [clip.background_style == scene.background.style for scene, clip in measured]
    assert np.mean(styles) >= 0.95


def test_path_is_right_to_half_a_pixel_and_radius_too(measured: list) -> None:
    for scene, clip in measured:
        assert np.abs(clip.path - scene.path).max() < 0.5
        assert np.abs(clip.radius - scene.radius).max() < 0.5


def test_camera_is_followed(measured: list) -> None:
    errors = []
    for scene, clip in measured:
        if scene.background.style not in TEXTURED_STYLES:
            assert clip.camera is None or clip.background_style != scene.background.style
            continue
        if clip.background_style not in TEXTURED_STYLES:
            continue
        assert clip.camera is not None
        first = scene.camera[0]
        # The measurement starts where the camera is at first.
        offset = (scene.camera[:, :2] - first[:2]) * first[2]
        zoom = scene.camera[:, 2] / first[2]
        assert np.abs(clip.camera[:, 2] - zoom).max() < 0.06
        errors.append(np.abs(clip.camera[:, :2] - offset).max())
    assert len(errors) > 10
    assert np.median(errors) < 0.3
    assert max(errors) < 3.0


def test_two_objects_are_counted_and_the_larger_one_is_followed() -> None:
    frames = render(make_scene())
    mask = shape_mask("square", np.asarray([50.0, 12.0]), 5.0) == 1.0
    frames[:, mask] = (45, 85, 235)
    clip = measure_clip(frames)
    assert clip.counts.tolist() == [2, 2]
    assert clip.color == "red"
    assert np.abs(clip.path - make_scene().path).max() < 0.5


def test_no_object_gives_no_name_and_no_path() -> None:
    frames = np.full((3, 64, 64, 3), 128, np.uint8)
    clip = measure_clip(frames)
    assert clip.counts.tolist() == [0, 0, 0]
    assert (clip.color, clip.shape) == ("", "")
    assert np.isnan(clip.path).all()
    assert (clip.background_style, clip.background_color) == ("plain", "gray")


def test_an_object_missing_in_one_frame_is_missing_there_alone() -> None:
    frames = render(make_scene())
    frames[1] = 128
    clip = measure_clip(frames)
    assert clip.counts.tolist() == [1, 0]
    assert np.isnan(clip.radius).tolist() == [False, True]
    assert clip.shape == "circle"


@pytest.mark.parametrize("noise", [6.0])
def test_noise_as_of_a_decoder_is_borne(noise: float) -> None:
    scene = dataclasses.replace(make_scene(), shape="star")
    levels = render(scene) + np.random.default_rng(0).normal(0, noise, (2, 64, 64, 3))
    clip = measure_clip(np.clip(levels, 0, 255).astype(np.uint8))
    assert clip.shape == "star"
    assert (clip.counts == 1).all()
    assert np.abs(clip.path - scene.path).max() < 0.6
