import numpy as np
import pytest
from scene_factory import make_scene

from testbed.renderer import (
    BACKGROUND_STYLES,
    SHAPES,
    Background,
    background_pattern,
    render,
    render_frame,
    shape_mask,
)
from testbed.scenes import world_to_screen


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_the_area_of_its_circle_and_its_centre(shape: str) -> None:
    center = np.asarray([29.3, 33.8])
    mask = shape_mask(shape, center, 9.0)
    rows, columns = np.indices(mask.shape)
    assert np.sqrt(mask.sum() / np.pi) == pytest.approx(9.0, abs=0.25)
    assert (columns * mask).sum() / mask.sum() == pytest.approx(center[0], abs=0.1)
    assert (rows * mask).sum() / mask.sum() == pytest.approx(center[1], abs=0.1)


def test_shapes_differ_from_each_other() -> None:
    center = np.asarray([31.5, 31.5])
    masks = [shape_mask(shape, center, 9.0) for shape in SHAPES]
    for index, first in enumerate(masks):
        for second in masks[index + 1 :]:
            assert np.minimum(first, second).sum() / np.maximum(first, second).sum() < 0.9


def test_colours_are_exact_inside_and_outside() -> None:
    frames = render(make_scene())
    assert frames.shape == (2, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert frames[0, 40, 20].tolist() == [225, 35, 35]
    assert frames[0, 5, 60].tolist() == [128, 128, 128]


def test_moving_by_a_pixel_shifts_the_picture_by_a_pixel() -> None:
    frames = render(make_scene())
    assert np.array_equal(frames[0, :, :-1], frames[1, :, 1:])


def test_checkered_pattern_at_hand_computed_places() -> None:
    background = Background("checkered", "gray", (128.0,) * 3, 0.0, 32.0, (0.0, 0.0))
    places = np.asarray([-8.0, 0.0, 8.0])  # a quarter period before, on, and after an edge
    pattern = background_pattern(background, places, places)
    assert pattern.tolist() == [[1, 0, -1], [0, 0, 0], [-1, 0, 1]]


def test_gradient_reaches_from_dark_to_light_along_its_angle() -> None:
    background = Background("gradient", "gray", (128.0,) * 3, 0.0, 32.0, (0.0, 0.0))
    pattern = background_pattern(background, np.asarray([-32.0, 0.0, 16.0]), np.asarray([5.0]))
    assert pattern.tolist() == [[-1.0, 0.0, 0.5]]


@pytest.mark.parametrize("style", BACKGROUND_STYLES)
def test_patterns_stay_in_range(style: str) -> None:
    background = Background(style, "gray", (128.0,) * 3, np.pi / 4, 30.0, (0.3, 0.8))
    grid = np.arange(64, dtype=np.float64) - 31.5
    pattern = background_pattern(background, grid, grid)
    assert pattern.shape == (64, 64)
    assert np.abs(pattern).max() <= 1.0
    assert (np.ptp(pattern) > 1.0) == (style != "plain")


def test_camera_moves_the_texture_as_it_moves_resting_objects() -> None:
    texture = Background("checkered", "gray", (128.0,) * 3, 0.0, 32.0, (0.0, 0.0))
    camera = np.asarray([[0.0, 0.0, 1.0], [3.0, -2.0, 1.0]])
    world = np.tile([40.0, 30.0], (2, 1))
    path = world_to_screen(world, camera)
    assert path.tolist() == [[40.0, 30.0], [37.0, 32.0]]
    frames = render(make_scene(background=texture, camera=camera, path=path))
    assert np.array_equal(frames[0, :-2, 3:], frames[1, 2:, :-3])


def test_zoom_scales_around_the_middle() -> None:
    camera = np.asarray([[0.0, 0.0, 2.0]])
    assert world_to_screen(np.asarray([[41.5, 31.5]]), camera).tolist() == [[51.5, 31.5]]


def test_mask_is_where_the_object_is() -> None:
    image, mask = render_frame(make_scene(), 0)
    assert ((image[..., 0] == 225) == (mask == 1.0)).all()
