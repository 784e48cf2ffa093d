import numpy as np
import pytest

from testbed.motions import MOTIONS, sample_path
from testbed.renderer import FRAME_SIZE, SHAPES
from testbed.scenes import (
    CAMERA_MOTIONS,
    MAX_RADIUS,
    MIN_RADIUS,
    Scene,
    is_held_out,
    sample_camera,
    sample_scene,
    scene_stream,
)


def appearance(scene: Scene) -> tuple[str, str, str, str]:
    return scene.color, scene.shape, scene.background.style, scene.background.color


@pytest.mark.parametrize("split", ["train", "test"])
def test_splits_share_no_appearance(split: str) -> None:
    for index in range(100):
        scene = sample_scene(scene_stream(0, split, index), split)
        assert is_held_out(*appearance(scene)) == (split == "test")


def test_same_address_gives_same_scene_and_other_address_another() -> None:
    first, second = (sample_scene(scene_stream(5, "train", 17), "train") for _ in range(2))
    assert appearance(first) == appearance(second)
    assert np.array_equal(first.path, second.path)
    other = sample_scene(scene_stream(5, "train", 18), "train")
    assert not np.array_equal(first.path, other.path)


def test_objects_are_whole_and_sizes_within_bounds() -> None:
    for index in range(300):
        scene = sample_scene(scene_stream(1, "train", index), "train")
        assert scene.radius.min() >= MIN_RADIUS
        assert scene.radius.max() <= MAX_RADIUS
        reach = np.abs(SHAPES[scene.shape]).max() * scene.radius[:, None]
        assert (scene.path - reach).min() >= -1e-6
        assert (scene.path + reach).max() <= FRAME_SIZE - 1 + 1e-6


def test_distribution_golden_scene() -> None:
    """What is rendered decides what the shipped base knows: a change here wants new weights."""
    scene = sample_scene(scene_stream(0, "train", 7), "train")
    assert appearance(scene) == ("pink", "circle", "checkered", "teal")
    assert scene.motion == "sine"
    assert scene.path[0] == pytest.approx((15.424829, 39.501948), abs=1e-6)


@pytest.mark.parametrize("motion", MOTIONS)
def test_paths_stay_in_their_square(motion: str) -> None:
    for seed in range(20):
        path = sample_path(motion, np.random.default_rng(seed), 8, 10.0, 50.0)
        assert path.shape == (8, 2)
        assert path.min() >= 10.0 - 1e-9
        assert path.max() <= 50.0 + 1e-9


def test_line_is_straight_and_still_is_still() -> None:
    path = sample_path("line", np.random.default_rng(0), 8, 0.0, 63.0)
    steps = np.diff(path, axis=0)
    cross = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
    assert np.abs(cross).max() < 1e-9
    still = sample_path("still", np.random.default_rng(0), 8, 0.0, 63.0)
    assert np.ptp(still, axis=0).max() == 0.0


def test_loop_turns_at_least_nearly_once() -> None:
    for seed in range(10):
        path = sample_path("loop", np.random.default_rng(seed), 64, 0.0, 63.0)
        around = path - (path.max(axis=0) + path.min(axis=0)) / 2
        angle = np.unwrap(np.arctan2(around[:, 1], around[:, 0]))
        assert abs(angle[-1] - angle[0]) > 1.7 * np.pi


@pytest.mark.parametrize(
    ("words", "axis", "sign"),
    [("pans left", 0, -1), ("pans right", 0, 1), ("pans up", 1, -1), ("pans down", 1, 1)],
)
def test_pans_go_where_they_say(words: str, axis: int, sign: int) -> None:
    camera = sample_camera(words, np.random.default_rng(0), 8)
    travel = camera[-1] - camera[0]
    assert sign * travel[axis] >= 14
    assert travel[1 - axis] == 0
    assert (camera[:, 2] == 1).all()


def test_zoom_in_enlarges_and_combines_with_a_pan() -> None:
    assert "pans left and zooms in" in CAMERA_MOTIONS
    camera = sample_camera("pans left and zooms in", np.random.default_rng(0), 8)
    assert camera[-1, 2] / camera[0, 2] > 1.4
    assert camera[-1, 0] < camera[0, 0]
