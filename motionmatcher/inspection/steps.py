"""What changes from a frame to the next: camera, objects, and what cannot be found again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from torch import Tensor

from motionmatcher.clips.clip_file import Frames
from motionmatcher.tracking.camera import fit_camera
from motionmatcher.tracking.flow_tracker import MIN_LONG_SIDE, FlowTracker
from motionmatcher.tracking.tracks import point_grid

# Pixels of the longer side of what is measured: motion is coarse, and flow costs by the pixel.
MEASURED_SIDE = 128
GRID_SIZE = 20
# Levels of 255 that a place may change and still be the same: noise, light, compression.
SAME_PLACE = 16
# Percent of the diagonal, in one step, from which on a point moves against the camera.
MOVING_STEP = 0.5
# Percentile of the points' speeds that counts as the objects': they may be small.
OBJECT_PERCENTILE = 95


@dataclass(frozen=True)
class Step:
    """What changes from one frame to the next; lengths in percent of the frame's diagonal.

    Attributes:
        found: Share of points that look as before where they were, or are found where the flow
            takes them.
        camera: Mean length that the camera moves the picture by.
        objects: Length that what moves on its own does, beside the camera.
        moving: Share of points that have texture and move on their own.
        change: The most that a place changes, in levels of 255.
    """

    found: float
    camera: float
    objects: float
    moving: float
    change: float


@dataclass(frozen=True)
class View:
    """What training sees of a clip's pictures, in the size that is measured.

    Attributes:
        width: Pixels of the whole picture.
        height: Likewise.
        crop: The part that training sees, as slices of rows and columns.
    """

    width: int
    height: int
    crop: tuple[slice, slice]

    @classmethod
    def of(cls, clip_width: int, clip_height: int, width: int, height: int) -> "View":
        """Place the crop of training, of an aspect of `width` to `height`, in a clip's pictures."""
        cover = min(clip_width / width, clip_height / height)
        scale = min(MEASURED_SIDE / (max(width, height) * cover), 1.0)
        whole, parts = [], []
        for side, seen in ((clip_width, width), (clip_height, height)):
            whole.append(max(round(side * scale), MIN_LONG_SIDE))
            length = min(max(round(seen * cover * scale), MIN_LONG_SIDE), whole[-1])
            first = (whole[-1] - length) // 2
            parts.append(slice(first, first + length))
        return cls(whole[0], whole[1], (parts[1], parts[0]))

    def see(self, frame: Frames) -> Frames:
        """Bring a picture, uint8 (H, W, 3), to the size that is measured, and crop it."""
        size = self.width, self.height
        return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)[self.crop]


def measure_steps(frames: Iterable[Frames]) -> Iterator[Step]:
    """Measure the steps between frames, uint8 (H, W, 3) each, as they come."""
    tracker = FlowTracker(GRID_SIZE)
    for here, there in pairwise(frames):
        yield measure_step(here, there, tracker)


def measure_step(here: Frames, there: Frames, tracker: FlowTracker) -> Step:
    """Measure the step from one frame to another, uint8 (H, W, 3)."""
    height, width = here.shape[:2]
    diagonal = np.hypot(width, height) / 100  # a percent of it
    tracks = tracker.track(np.stack([here, there]))
    camera = fit_camera(tracks, width, height)
    before, after = tracks.points.unbind(1)  # (N, 2)
    own = (after - camera.carry(before)[:, 1]).norm(dim=-1).numpy() / diagonal
    soft_here, soft_there = cv2.blur(here, (3, 3)), cv2.blur(there, (3, 3))
    grid = point_grid(GRID_SIZE, width, height)
    rests = _alike(soft_here, grid, soft_there, grid)
    stays = _alike(soft_here, before, soft_there, before)
    arrives = _alike(soft_here, before, soft_there, after)
    followed = tracks.visible[:, 1].numpy()
    # Where a point is lost the flow is a guess: it counts only where something changes …
    counted = followed | ~stays
    objects = _objects_speed(own[followed])
    if objects <= MOVING_STEP:  # … and for the speed only if nothing that is followed moves.
        objects = _objects_speed(own[counted])
    carried = (camera.carry(grid)[:, 1] - grid).norm(dim=-1).mean().item() / diagonal
    difference = cv2.blur(cv2.absdiff(here, there), (3, 3))
    return Step(
        found=float(rests.sum() + (followed & arrives & ~stays).sum()) / len(grid),
        camera=float(carried),
        objects=objects,
        moving=float((counted & (own > MOVING_STEP)).sum()) / len(grid),
        change=float(difference.max()),
    )


def _objects_speed(speeds: np.ndarray) -> float:
    return float(np.percentile(speeds, OBJECT_PERCENTILE)) if len(speeds) else 0.0


def _alike(here: Frames, points: Tensor, there: Frames, others: Tensor) -> np.ndarray:
    """Tell which points of a frame look like those of another; points (N, 2), result bool (N,)."""
    difference = np.abs(_colours(here, points) - _colours(there, others))  # (N, 3)
    return difference.max(-1, initial=0.0) < SAME_PLACE


def _colours(frame: Frames, points: Tensor) -> np.ndarray:
    """Read a frame between its pixels at points (N, 2); result (N, 3)."""
    if not len(points):  # OpenCV refuses an empty map
        return np.zeros((0, 3), np.float32)
    x, y = points.numpy().astype(np.float32)[:, None].transpose(2, 0, 1)  # (N, 1) each
    return cv2.remap(
        frame.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )[:, 0]
