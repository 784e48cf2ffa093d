"""The split of a video's motion into camera and objects.

The camera's part of the motion is a similarity (pan, zoom, roll) per frame pair, fitted robustly to
the visible tracks, so it is what most of the picture does: an object that fills most of the frame
passes for the camera, and parallax for objects. Tracks of a small part of the frame say nothing of
the camera: an object before a plain background moves alone.

"Camera" means the movement of the picture: when the camera pans right, the picture goes left.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from motionmatcher.tracking.tracks import Tracks

MIN_TRACKS = 8
MIN_CAMERA_AREA = 0.25
INLIER_DISTANCE = 0.0015
MOVING_DISTANCE = 0.015


@dataclass(frozen=True)
class CameraPath:
    """Where the camera's motion takes the picture, relative to the first frame.

    Attributes:
        transforms: Maps of homogeneous pixel coordinates of frame 0 to those of each frame,
            float64 (F, 3, 3).
        width: Of the frames, in pixels.
        height: Likewise.
    """

    transforms: Tensor
    width: int
    height: int

    @property
    def pan(self) -> Tensor:
        """Displacement of what was at the frame's centre, pixels (F, 2)."""
        centre = torch.tensor([[(self.width - 1) / 2, (self.height - 1) / 2]], dtype=torch.float64)
        return self.carry(centre)[0] - centre

    @property
    def zoom(self) -> Tensor:
        """Scale, (F,); above 1 the picture has grown."""
        return torch.linalg.det(self.transforms[:, :2, :2]).sqrt()

    @property
    def roll_deg(self) -> Tensor:
        """Rotation of the picture in degrees, clockwise, (F,)."""
        return torch.atan2(self.transforms[:, 1, 0], self.transforms[:, 0, 0]).rad2deg()

    def carry(self, points: Tensor) -> Tensor:
        """Move points of frame 0, (N, 2), with the camera alone; result (N, F, 2)."""
        return transform_points(self.transforms, points[:, None])

    def stabilise(self, tracks: Tensor) -> Tensor:
        """Take the camera's motion out of tracks, (N, F, 2): what is left is the objects'."""
        return transform_points(torch.linalg.inv(self.transforms), tracks)


@dataclass(frozen=True)
class MotionAnalysis:
    """The motion of one video.

    Attributes:
        tracks: N tracks over F frames.
        camera: The camera's path.
        stabilised: The tracks without the camera's motion, (N, F, 2).
        moving: Which tracks belong to moving objects, bool (N,).
    """

    tracks: Tracks
    camera: CameraPath
    stabilised: Tensor
    moving: Tensor


def split_motion(tracks: Tracks, width: int, height: int) -> MotionAnalysis:
    """Split tracks, of frames of `width` x `height` pixels, into camera and objects."""
    camera = fit_camera(tracks, width, height)
    stabilised = camera.stabilise(tracks.points)
    moving = moving_tracks(stabilised, tracks.visible, width, height)
    return MotionAnalysis(tracks, camera, stabilised, moving)


def transform_points(transforms: Tensor, points: Tensor) -> Tensor:
    """Apply an affine map per frame.

    Args:
        transforms: (F, 3, 3).
        points: (N, F, 2), or (N, 1, 2) for the same points in every frame.

    Returns:
        (N, F, 2).
    """
    linear, shift = transforms[:, :2, :2], transforms[:, :2, 2]
    return torch.einsum("fij,nfj->nfi", linear, points.expand(-1, len(linear), -1)) + shift


def fit_camera(tracks: Tracks, width: int, height: int) -> CameraPath:
    """Fit the camera's motion to tracks.

    Args:
        tracks: N tracks, F frames.
        width: Of the frames, in pixels.
        height: Likewise.

    Returns:
        The camera's path. A frame pair with fewer than 8 tracks seen in both, or without any motion
        that is consistent around a quarter of the frame, repeats the motion of the pair before.
    """
    points = tracks.points.numpy()
    step = np.eye(3)
    transforms = [step]
    for frame in range(1, points.shape[1]):
        seen = (tracks.visible[:, frame - 1] & tracks.visible[:, frame]).numpy()
        if seen.sum() >= MIN_TRACKS:
            fitted, inliers = cv2.estimateAffinePartial2D(
                points[seen, frame - 1],
                points[seen, frame],
                method=cv2.RANSAC,
                ransacReprojThreshold=INLIER_DISTANCE * float(np.hypot(width, height)),
            )
            if fitted is not None and _area(points[seen, frame - 1][inliers[:, 0] > 0]) >= (
                MIN_CAMERA_AREA * width * height
            ):
                step = np.vstack([fitted, [0, 0, 1]])
        transforms.append(step @ transforms[-1])
    return CameraPath(torch.from_numpy(np.stack(transforms)), width, height)


def _area(points: np.ndarray) -> float:
    """Measure what the convex hull of points (N, 2) covers."""
    return cv2.contourArea(cv2.convexHull(points.astype(np.float32)))


def moving_tracks(stabilised: Tensor, visible: Tensor, width: int, height: int) -> Tensor:
    """Find the tracks that belong to moving objects.

    Args:
        stabilised: Tracks without the camera's motion, (N, F, 2).
        visible: bool (N, F).
        width: Of the frames, in pixels.
        height: Likewise.

    Returns:
        Whether a track, while seen, gets further from its start than 1.5 % of the frame's diagonal,
        bool (N,).
    """
    distance = (stabilised - stabilised[:, :1]).norm(dim=-1)  # (N, F)
    furthest = torch.where(visible, distance, 0.0).amax(dim=1)
    return furthest > MOVING_DISTANCE * (width**2 + height**2) ** 0.5
