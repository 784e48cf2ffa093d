"""Maps as heat over frames: the more of a map, the more of its colour covers the picture."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from motionmatcher.clips.clip_file import Frames

if TYPE_CHECKING:
    from torch import Tensor

FRAME_HEIGHT = 128
# Of the hottest place; the rest is the frame, which stays to be seen.
MOST_COVER = 0.85
COLOURS = "inferno"  # of matplotlib: its brightness grows with the value


def overlay(frames: Frames, maps: "Tensor") -> Frames:
    """Lay maps over frames, all to one scale: their least value is no heat, their largest full heat.

    Frames lose their own colours, so that all colour is heat.

    Args:
        frames: uint8 (F, H, W, 3).
        maps: (F, h, w), each over the frame of its place.

    Returns:
        uint8 (F, H, W, 3).
    """
    from matplotlib import colormaps

    height, width = frames.shape[1:3]
    heat = [cv2.resize(each, (width, height)) for each in scaled(maps).numpy()]
    drawn = []
    for frame, value in zip(frames, heat, strict=True):
        grey = np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        colour = 255 * colormaps[COLOURS](value)[..., :3]
        cover = MOST_COVER * value[..., None]
        drawn.append((cover * colour + (1 - cover) * grey).round().astype(np.uint8))
    return np.stack(drawn)


def scaled(maps: "Tensor") -> "Tensor":
    """Bring maps to 0 … 1, fp32; maps that are the same everywhere to 0."""
    least, most = maps.min(), maps.max()
    return ((maps - least) / (most - least).clamp(min=1e-12)).float()


def enlarged(frames: Frames) -> Frames:
    """Bring frames, uint8 (F, H, W, 3), to the height in which maps are drawn; pixels stay visible."""
    height, width = frames.shape[1:3]
    size = max(round(width * FRAME_HEIGHT / height), 1), FRAME_HEIGHT
    way = cv2.INTER_NEAREST if height < FRAME_HEIGHT else cv2.INTER_AREA
    return np.stack([cv2.resize(frame, size, interpolation=way) for frame in frames])
