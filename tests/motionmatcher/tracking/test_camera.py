"""The split of motion in camera and objects, on clips whose motion is known."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from small_models import Motion

from motionmatcher.clips.video import Frames
from motionmatcher.tracking.camera import (
    CameraPath,
    fit_camera,
    moving_tracks,
)
from motionmatcher.tracking.flow_tracker import FlowTracker
from motionmatcher.tracking.tracks import Tracks, point_grid

SIZE, FRAMES = 96, 6


def camera_path(motions: Sequence[Motion], size: int = SIZE) -> CameraPath:
    return CameraPath(torch.tensor(np.stack(motions)), size, size)


@pytest.mark.parametrize(
    ("pan", "zoom", "roll_deg"),
    [((2.0, -1.0), 1.0, 0.0), ((0.0, 0.0), 1.03, 0.0), ((1.0, 0.5), 0.98, -1.5)],
    ids=["pan", "zoom", "all"],
)
def test_a_known_camera_is_measured_behind_a_moving_object(
    render: Callable[..., Frames],
    similarity: Callable[..., Motion],
    pan: tuple[float, float],
    zoom: float,
    roll_deg: float,
) -> None:
    motion = similarity(SIZE, pan, zoom, roll_deg)
    motions = [np.linalg.matrix_power(motion, frame) for frame in range(FRAMES)]
    square = [(50 - 5 * frame, 30 + 3 * frame) for frame in range(FRAMES)]
    tracks = FlowTracker(grid_size=16).track(render(SIZE, motions, square))
    camera, truth = fit_camera(tracks, SIZE, SIZE), camera_path(motions)
    assert (camera.pan - truth.pan).abs().max() < 0.5
    assert (camera.zoom - truth.zoom).abs().max() < 0.01
    assert (camera.roll_deg - truth.roll_deg).abs().max() < 0.4
    assert truth.zoom[-1].item() == pytest.approx(zoom ** (FRAMES - 1))
    assert truth.roll_deg[-1].item() == pytest.approx(roll_deg * (FRAMES - 1))
    # What is left moves as the square does beside the plane, and nothing else does.
    stabilised = camera.stabilise(tracks.points)
    moving = moving_tracks(stabilised, tracks.visible, SIZE, SIZE)
    x, y = tracks.points[:, 0].unbind(-1)
    on_square = (x > 54) & (x < 70) & (y > 34) & (y < 50)
    away = (x < 44) | (x > 80) | (y < 24) | (y > 60)
    assert moving[on_square].all()
    assert not moving[away & tracks.visible.all(1)].any()


def test_object_path_without_the_camera(
    render: Callable[..., Frames], similarity: Callable[..., Motion]
) -> None:
    motions = [similarity(SIZE, pan=(3.0 * frame, 0.0)) for frame in range(FRAMES)]
    square = [(30.0, 20.0 + 4 * frame) for frame in range(FRAMES)]
    tracks = FlowTracker(grid_size=16).track(render(SIZE, motions, square))
    stabilised = fit_camera(tracks, SIZE, SIZE).stabilise(tracks.points)
    x, y = tracks.points[:, 0].unbind(-1)
    on_square = (x > 34) & (x < 50) & (y > 24) & (y < 40)
    path = (stabilised - stabilised[:, :1])[on_square].median(dim=0).values
    expected = torch.tensor([[-3.0 * frame, 4.0 * frame] for frame in range(FRAMES)])
    assert (path - expected).abs().max() < 0.75


def test_too_few_visible_tracks_continue_the_camera(similarity: Callable[..., Motion]) -> None:
    points = point_grid(4, 64, 64)
    moved = torch.stack([points + 2.0 * frame for frame in range(3)], dim=1)
    visible = torch.ones(16, 3, dtype=torch.bool)
    visible[:12, 2] = False
    camera = fit_camera(Tracks(moved, visible), 64, 64)
    torch.testing.assert_close(camera.pan, torch.tensor([[0.0, 0], [2, 2], [4, 4]]).double())
    visible[:] = False
    assert fit_camera(Tracks(moved, visible), 64, 64).pan.tolist() == [[0, 0]] * 3
