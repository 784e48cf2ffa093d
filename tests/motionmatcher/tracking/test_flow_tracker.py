"""The flow tracker on clips whose motion is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_models import Motion

from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError
from motionmatcher.tracking.camera import transform_points
from motionmatcher.tracking.flow_tracker import FlowTracker, sample_flow
from motionmatcher.tracking.tracks import Tracks, point_grid, resample_time

SIZE = 96


def test_point_grid_lies_at_the_centres_of_equal_cells() -> None:
    points = point_grid(2, width=8, height=4)
    assert points.tolist() == [[1.5, 0.5], [5.5, 0.5], [1.5, 2.5], [5.5, 2.5]]


def test_sample_flow_is_bilinear_and_holds_at_the_border() -> None:
    flow = torch.tensor([[[0.0, 0.0], [2.0, 4.0]], [[0.0, 8.0], [2.0, 12.0]]]).double()
    points = torch.tensor([[0.5, 0.0], [1.0, 0.5], [-9.0, 9.0]]).double()
    sampled = sample_flow(flow, points)
    torch.testing.assert_close(sampled, torch.tensor([[1.0, 2.0], [2.0, 8.0], [0.0, 8.0]]).double())


@pytest.mark.parametrize(
    "step",
    [{"pan": (2.0, -1.0)}, {"zoom": 1.03}, {"roll_deg": 1.5}],
    ids=["pan", "zoom", "roll"],
)
def test_tracks_follow_a_known_motion(
    render: Callable[..., Frames], similarity: Callable[..., Motion], step: dict[str, Any]
) -> None:
    motion = similarity(SIZE, **step)
    motions = [np.linalg.matrix_power(motion, frame) for frame in range(8)]
    tracks = FlowTracker(grid_size=12).track(render(SIZE, motions))
    assert tracks.points.shape == (144, 8, 2)
    truth = transform_points(torch.tensor(np.stack(motions)), tracks.points[:, :1])
    error = (tracks.points - truth).norm(dim=-1)
    assert error[tracks.visible].mean() < 0.25
    assert error[tracks.visible].max() < 1.5
    # A point is invisible from the frame in which it leaves the picture, or one frame later.
    outside = ((truth < -1.5) | (truth > SIZE + 0.5)).any(-1)
    assert not tracks.visible[outside].any()
    stays = ((truth > 4) & (truth < SIZE - 5)).all(-1).all(-1)
    assert tracks.visible[stays].float().mean() > 0.97


def test_a_still_clip_has_exactly_still_tracks(
    render: Callable[..., Frames], similarity: Callable[..., Motion]
) -> None:
    tracks = FlowTracker(grid_size=5).track(render(SIZE, [similarity(SIZE)] * 4))
    assert (tracks.points == tracks.points[:, :1]).all()
    assert tracks.visible.all()


def test_points_covered_by_an_object_become_invisible(
    render: Callable[..., Frames], similarity: Callable[..., Motion]
) -> None:
    square = [(8 + 5 * frame, 36) for frame in range(8)]  # 24 pixels wide
    clip = render(SIZE, [similarity(SIZE)] * 8, square)
    tracks = FlowTracker(grid_size=24).track(clip)
    x, y = tracks.points[:, 0].unbind(-1)
    covered = (x > 46) & (x < 62) & (y > 40) & (y < 56)
    untouched = y > 70
    assert tracks.visible[covered][:, 0].all()
    assert tracks.visible[covered][:, -1].float().mean() < 0.3
    assert tracks.visible[untouched].all()


def test_resampled_tracks_keep_first_and_last_frame() -> None:
    points = torch.tensor([[[0.0, 0.0], [3.0, 6.0], [6.0, 0.0]]]).double()
    visible = torch.tensor([[True, True, False]])
    resampled = resample_time(Tracks(points, visible), 5)
    expected = [[0.0, 0.0], [1.5, 3.0], [3.0, 6.0], [4.5, 3.0], [6.0, 0.0]]
    assert resampled.points[0].tolist() == expected
    assert resampled.visible[0].tolist() == [True, True, True, False, False]
    assert resample_time(resampled, 3).points[0].tolist() == points[0].tolist()


@pytest.mark.parametrize(("height", "width"), [(8, 12), (12, 8)])
def test_the_smallest_frames(height: int, width: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)[:, :height, :width]
    assert FlowTracker(grid_size=2).track(noise).points.isfinite().all()
    with pytest.raises(UserError, match=r"frames of 12x8 pixels or more, not 7x12: take a larger"):
        FlowTracker(grid_size=2).track(np.zeros((3, 12, 7, 3), np.uint8))
    with pytest.raises(UserError, match="not 11x11"):
        FlowTracker(grid_size=2).track(np.zeros((3, 11, 11, 3), np.uint8))
