"""Where patches of a frame lie in another one, however far they have gone."""

import cv2
import numpy as np
import torch
from torch.nn.functional import conv2d, pad

from motionmatcher.clips.video import Frames

MAX_SIDE = 32
PATCH = 8
STRIDE = 2
# Squared grey levels a pixel of distance: of patches that look alike the nearest is taken.
DISTANCE_COST = 1.0


def best_matches(here: Frames, there: Frames) -> np.ndarray:
    """Find, for patches all over a frame, the place in another frame that looks most like them.

    Frames are compared at 32 pixels a side or less: this is a start for a finer search.

    Args:
        here: Grey levels, uint8 (H, W).
        there: Likewise.

    Returns:
        Displacements in pixels, float32 (H, W, 2), the same all over a patch's cell.
    """
    height, width = here.shape
    scale = min(MAX_SIDE / max(height, width), 1.0)
    small = (max(round(width * scale), 1), max(round(height * scale), 1))
    a, b = (
        torch.from_numpy(cv2.resize(frame, small, interpolation=cv2.INTER_AREA)).float()
        for frame in (here, there)
    )
    before, after = PATCH // 2, PATCH - PATCH // 2 - 1
    around = (before, after, before, after)
    a, b = (pad(frame[None, None], around, mode="replicate") for frame in (a, b))
    patches = a.unfold(2, PATCH, STRIDE).unfold(3, PATCH, STRIDE)[0, 0]  # (y, x, PATCH, PATCH)
    rows, columns = patches.shape[:2]
    patches = patches.reshape(-1, 1, PATCH, PATCH)  # (N, 1, PATCH, PATCH)
    # |p - q|^2 = |p|^2 + |q|^2 - 2 p q, all of them whole numbers that float32 holds exactly.
    squares = conv2d(b.square(), torch.ones(1, 1, PATCH, PATCH))
    difference = squares - 2 * conv2d(b, patches)  # (1, N, h, w), less |p|^2
    y, x = (STRIDE * torch.arange(count) for count in (rows, columns))
    to_y = torch.arange(small[1])[None] - y[:, None]  # (rows, h)
    to_x = torch.arange(small[0])[None] - x[:, None]  # (columns, w)
    distance = (to_y[:, None, :, None].square() + to_x[None, :, None, :].square()).sqrt()
    cost = difference[0].reshape(rows, columns, small[1], small[0])
    cost = cost / PATCH**2 + DISTANCE_COST * distance
    best = cost.flatten(2).argmin(dim=2)  # (rows, columns)
    found = torch.stack([best % small[0] - x, best // small[0] - y[:, None]], dim=-1).float()
    field = cv2.resize(found.numpy(), (width, height), interpolation=cv2.INTER_NEAREST)
    return field * np.array([width / small[0], height / small[1]], np.float32)
