"""What the report page draws: clips as data URIs, tracks, camera paths and object displacement."""

import base64
import tempfile
from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from motionmatcher.clips.video import Frames, write_mp4
from motionmatcher.tracking.camera import CameraPath, MotionAnalysis

MAX_SIDE, MIN_SIDE = 448, 192
DRAWN_TRACKS_PER_SIDE = 14
TRACK_UNITS = 1000


def clip_data_uri(frames: Frames, duration_s: float) -> str:
    """Encode a clip so that every browser plays it from within the page.

    Args:
        frames: uint8 (F, H, W, 3); scaled to a moderate size, small clips by whole factors.
        duration_s: The clip is made this long, so that all clips of a page end together.

    Returns:
        "data:video/mp4;base64,…", H.264.
    """
    height, width = frames.shape[1:3]
    longest = max(height, width)
    if longest > MAX_SIDE:
        size = (round(width * MAX_SIDE / longest), round(height * MAX_SIDE / longest))
        frames = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])
    elif longest < MIN_SIDE:
        factor = ceil(MIN_SIDE / longest)
        frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path, frames, fps=len(frames) / duration_s)
        encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:video/mp4;base64,{encoded}"


def motion_data(motion: MotionAnalysis) -> dict[str, Any]:
    """Put a video's motion into numbers for the page.

    Args:
        motion: The analysed video.

    Returns:
        `tracks`: of some of them, whether it moves by itself, x and y (in thousandths of width and
        height) and visibility per frame; `camera`: pan in percent of width and height, zoom and
        roll in degrees per frame; `objects`: mean displacement of the moving tracks per frame, in
        percent of the diagonal.
    """
    camera = motion.camera
    chosen = thinned(motion.tracks.points[:, 0], camera.width, camera.height)
    extent = torch.tensor([camera.width, camera.height], dtype=torch.float64)
    # Pixel centres have whole coordinates; on the page the frame reaches from 0 to 1000.
    places = ((motion.tracks.points[chosen] + 0.5) / extent * TRACK_UNITS).round().int()
    tracks = [
        {"moving": bool(moving), "points": points.tolist(), "visible": visible.int().tolist()}
        for moving, points, visible in zip(
            motion.moving[chosen], places, motion.tracks.visible[chosen], strict=True
        )
    ]
    return {
        "tracks": tracks,
        "camera": {
            "pan": _rounded(camera.pan / extent * 100),
            "zoom": _rounded(camera.zoom),
            "roll": _rounded(camera.roll_deg),
        },
        "objects": _rounded(object_displacement(motion, camera)),
    }


def thinned(starts: Tensor, width: int, height: int) -> list[int]:
    """Choose tracks that start evenly spread: the first one of each cell of the frame.

    Args:
        starts: Positions in the first frame, pixels (N, 2).
        width: Of the frame, in pixels.
        height: Likewise.

    Returns:
        Their indices.
    """
    extent = torch.tensor([width, height], dtype=torch.float64)
    # Pixel centres have whole coordinates, so the frame reaches from -0.5 to width - 0.5.
    cells = ((starts + 0.5) / extent * DRAWN_TRACKS_PER_SIDE).floor().int().tolist()
    chosen: dict[tuple[int, int], int] = {}
    for index, (column, row) in enumerate(cells):
        chosen.setdefault((column, row), index)
    return list(chosen.values())


def object_displacement(motion: MotionAnalysis, camera: CameraPath) -> Tensor:
    """Average how far moving tracks are from their start, the camera's motion taken out.

    Returns:
        Percent of the frame's diagonal, (F,), over the tracks seen in a frame; the value before
        where none is, and zeros when nothing moves.
    """
    paths, seen = motion.stabilised[motion.moving], motion.tracks.visible[motion.moving]
    distance = (paths - paths[:, :1]).norm(dim=-1)  # (N, F)
    mean = (distance * seen).sum(dim=0) / seen.sum(dim=0)  # (F,), NaN where none is seen
    for frame in range(len(mean)):
        if not seen[:, frame].any():
            mean[frame] = mean[frame - 1] if frame else 0.0
    return 100 * mean / (camera.width**2 + camera.height**2) ** 0.5


def _rounded(values: Tensor) -> list[Any]:
    return ((values * 1000).round() / 1000).tolist()
