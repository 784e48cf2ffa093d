"""Point tracks, and the trackers that make them."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from motionmatcher.clips.video import Frames


@dataclass(frozen=True)
class Tracks:
    """Where points of the first frame are in every frame.

    Attributes:
        points: x and y in pixels, float64 (N, F, 2).
        visible: Whether the point is seen there, bool (N, F).
    """

    points: Tensor
    visible: Tensor


class Tracker(Protocol):
    """Follows a grid of points."""

    name: str

    def track(self, frames: Frames) -> Tracks:
        """Follow a grid of points of the first frame through a video, uint8 (F, H, W, 3)."""
        ...


def point_grid(size: int, width: int, height: int) -> Tensor:
    """Place points at the centres of equal cells.

    Args:
        size: Points per side.
        width: Of the frame, in pixels.
        height: Likewise.

    Returns:
        x and y in pixels, float64 (size * size, 2), row by row.
    """
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    # Pixel centres have whole coordinates, so the frame reaches from -0.5 to width - 0.5.
    y, x = torch.meshgrid(centres * height - 0.5, centres * width - 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def resample_time(tracks: Tracks, num_frames: int) -> Tracks:
    """Bring tracks to another number of frames, first frame on first and last on last.

    Args:
        tracks: (N, F, 2).
        num_frames: Wanted number of frames.

    Returns:
        Linearly interpolated tracks, (N, num_frames, 2); visible where both neighbours are.
    """
    old_frames = tracks.points.shape[1]
    if old_frames == num_frames:
        return tracks
    times = torch.linspace(0, old_frames - 1, num_frames, dtype=torch.float64)
    before = times.floor().long()
    after = times.ceil().long()
    share = (times - before)[None, :, None]  # (1, num_frames, 1)
    points = tracks.points[:, before] * (1 - share) + tracks.points[:, after] * share
    return Tracks(points, tracks.visible[:, before] & tracks.visible[:, after])
