"""Distances between the motions of two videos; pure functions of point tracks.

Axes: N, M tracks, F frames. Tracks are x and y in pixels, (N, F, 2), both videos at the same size
and number of frames. All that is measured in squared pixels is divided by height * width. Without a
track in one of the videos there is nothing to compare: NaN.
"""

import math

import torch
from torch import Tensor

from motionmatcher.tracking.camera import CameraPath
from motionmatcher.tracking.tracks import point_grid

MIN_COMMON_FRAMES = 0.5
STATIC_STEP = 5e-4
CAMERA_GRID_SIZE = 20


def track_distances(tracks: Tensor, others: Tensor) -> Tensor:
    """Compare every pair of tracks.

    Args:
        tracks: (M, F, 2).
        others: (N, F, 2).

    Returns:
        Mean squared difference over frames and both coordinates, float64 (M, N).
    """
    values = tracks.shape[1] * 2
    a, b = tracks.flatten(1).double(), others.flatten(1).double()  # (M, F * 2), (N, F * 2)
    # Equal tracks must give exactly 0, which the faster product form does not.
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.square() / values


def nearest_neighbour_score(distances: Tensor, height: int, width: int) -> float:
    """Sum the mean nearest-neighbour distances of both directions (MotionMatcher, appendix).

    Args:
        distances: (M, N) in squared pixels; a row or column that is infinite has no partner and is
            not counted.
        height: Of the frame, in pixels.
        width: Likewise.

    Returns:
        The score, in units of the frame's area; NaN when nothing has a partner.
    """
    if not distances.numel():
        return math.nan
    both = [distances.min(dim=1).values, distances.min(dim=0).values]
    means = [nearest[nearest.isfinite()].mean().item() for nearest in both]
    return sum(means) / height / width


def motion_discrepancy(reference: Tensor, output: Tensor, height: int, width: int) -> float:
    """Compute the published motion discrepancy.

    Args:
        reference: Tracks of the reference clip, (N, F, 2).
        output: Tracks of the output video, (M, F, 2).
        height: Of the frames, in pixels.
        width: Likewise.

    Returns:
        0 for equal tracks; lower is better.
    """
    return nearest_neighbour_score(track_distances(output, reference), height, width)


def visible_discrepancy(
    reference: Tensor,
    reference_visible: Tensor,
    output: Tensor,
    output_visible: Tensor,
    height: int,
    width: int,
) -> float:
    """Compute the motion discrepancy over the frames in which both points of a pair are seen.

    Args:
        reference: (N, F, 2).
        reference_visible: bool (N, F).
        output: (M, F, 2).
        output_visible: bool (M, F).
        height: Of the frames, in pixels.
        width: Likewise.

    Returns:
        As `motion_discrepancy`. Pairs seen together in less than half of the frames are not
        compared; NaN when there are no others.
    """
    if not (len(reference) and len(output)):
        return math.nan
    a, b = output.double(), reference.double()
    origin = b.mean(dim=(0, 1))  # smaller numbers keep the product form below exact
    a, b = a - origin, b - origin
    v, w = output_visible.double(), reference_visible.double()
    common = v @ w.T  # (M, N), frames
    # Sum over common frames of |a - b|^2 = |a|^2 + |b|^2 - 2 a b.
    squares = (v * a.square().sum(-1)) @ w.T + v @ (w * b.square().sum(-1)).T
    products = (v[..., None] * a).flatten(1) @ (w[..., None] * b).flatten(1).T
    distances = (squares - 2 * products).clamp(min=0) / (2 * common)
    distances[common < MIN_COMMON_FRAMES * reference.shape[1]] = torch.inf
    return nearest_neighbour_score(distances, height, width)


def centred_discrepancy(reference: Tensor, output: Tensor, height: int, width: int) -> float:
    """Compute the motion discrepancy of tracks less their own means: movement without position.

    Args and result as `motion_discrepancy`.
    """
    return motion_discrepancy(
        reference - reference.mean(dim=1, keepdim=True),
        output - output.mean(dim=1, keepdim=True),
        height,
        width,
    )


def motion_fidelity(reference: Tensor, output: Tensor, height: int, width: int) -> float:
    """Measure how well the output's tracks follow directions found in the reference.

    The motion fidelity score of DMT (Yatim et al., CVPR 2024), from the output's side.

    Args:
        reference: (N, F, 2).
        output: (M, F, 2).
        height: Of the frames, in pixels.
        width: Likewise.

    Returns:
        Mean over output tracks of the best mean cosine between displacements from frame to frame
        with a reference track, -1 to 1; higher is better. A step shorter than 0.0005 of the frame's
        diagonal is standing still: it agrees wholly (1) with standing still and not at all (0) with
        any movement.
    """
    if not (len(reference) and len(output)):
        return math.nan
    static_step = STATIC_STEP * (height**2 + width**2) ** 0.5
    a, b = (_directions(tracks.double(), static_step) for tracks in (output, reference))
    cosines = a.flatten(1) @ b.flatten(1).T / a.shape[1]  # (M, N)
    return cosines.max(dim=1).values.mean().item()


def _directions(tracks: Tensor, static_step: float) -> Tensor:
    """Give unit displacements a third axis that standing still points along, (N, F - 1, 3)."""
    steps = tracks.diff(dim=1)  # (N, F - 1, 2)
    lengths = steps.norm(dim=-1, keepdim=True)
    still = lengths < static_step
    units = torch.where(still, 0.0, steps / lengths.clamp(min=static_step))
    return torch.cat([units, still.double()], dim=-1)


def camera_discrepancy(reference: CameraPath, output: CameraPath) -> float:
    """Compare two camera paths by where they take the same points.

    Args:
        reference: Path of the reference clip, F frames.
        output: Path of the output, same size and number of frames.

    Returns:
        On the scale of the motion discrepancy: twice (its two directions are one here) the mean
        squared difference over a grid, frames and both coordinates, over the frame's area.
    """
    grid = point_grid(CAMERA_GRID_SIZE, reference.width, reference.height)
    difference = reference.carry(grid) - output.carry(grid)  # (N, F, 2)
    return 2 * difference.square().mean().item() / (reference.height * reference.width)


def object_discrepancy(
    reference: Tensor,
    reference_moving: Tensor,
    output: Tensor,
    output_moving: Tensor,
    height: int,
    width: int,
) -> float:
    """Compare what moves in two videos after the camera's motion has been taken out.

    Args:
        reference: Stabilised tracks of the reference clip, (N, F, 2).
        reference_moving: Which of them move, bool (N,).
        output: Stabilised tracks of the output, (M, F, 2).
        output_moving: Which of them move, bool (M,).
        height: Of the frames, in pixels.
        width: Likewise.

    Returns:
        The motion discrepancy with the means taken over moving tracks only (their nearest neighbour
        may be any track); a video in which nothing moves adds 0 for its direction. NaN when a video
        has no tracks.
    """
    if not (len(reference) and len(output)):
        return math.nan
    squared = 0.0
    for moving, others in (
        (reference[reference_moving], output),
        (output[output_moving], reference),
    ):
        if len(moving):
            squared += track_distances(moving, others).min(dim=1).values.mean().item()
    return squared / (height * width)
