"""Point tracks from optical flow: no weights, no download."""

from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from tqdm import tqdm

from motionmatcher.clips.video import Frames
from motionmatcher.errors import UserError
from motionmatcher.tracking.tracks import Tracks, point_grid

# Forward-backward check of Sundaram, Brox and Keutzer (ECCV 2010), eq. 5.
RELATIVE_TOLERANCE = 0.01
ABSOLUTE_TOLERANCE = 0.5  # squared pixels

# What the flow's patches need of a frame, in pixels.
MIN_SHORT_SIDE, MIN_LONG_SIDE = 8, 12


class FlowTracker:
    """Chains dense inverse search flow (Kroeger et al., ECCV 2016) from frame to frame.

    A track that fails the forward-backward check or leaves the frame is invisible from there on;
    it goes on with the flow at its place (at the border, once outside), for the published formula
    wants a position in every frame.
    """

    name = "flow"

    def __init__(self, grid_size: int) -> None:
        """Follow `grid_size` x `grid_size` points."""
        self.grid_size = grid_size
        self.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # Full resolution halves the drift, and small clips have no finer scale to spare.
        self.flow.setFinestScale(0)

    def track(self, frames: Frames) -> Tracks:
        """Follow a grid of points of the first frame through a video, uint8 (F, H, W, 3).

        Raises:
            UserError: The frames are too small.
        """
        height, width = frames.shape[1:3]
        if min(height, width) < MIN_SHORT_SIDE or max(height, width) < MIN_LONG_SIDE:
            raise UserError(
                f"optical flow needs frames of {MIN_LONG_SIDE}x{MIN_SHORT_SIDE} pixels or more, not "
                f"{width}x{height}: take a larger reference clip, or larger --width and --height."
            )
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        points = point_grid(self.grid_size, width, height)  # (N, 2)
        visible = torch.ones(len(points), dtype=torch.bool)
        all_points, all_visible = [points], [visible]
        for here, there in tqdm(list(pairwise(grey)), "flow", leave=False, delay=5):
            step = sample_flow(self._flow(here, there), points)
            moved = points + step
            back = sample_flow(self._flow(there, here), moved)
            visible = visible & agree(step, back) & inside(moved, width, height)
            points = moved
            all_points.append(points)
            all_visible.append(visible)
        return Tracks(torch.stack(all_points, dim=1), torch.stack(all_visible, dim=1))

    def _flow(self, here: np.ndarray, there: np.ndarray) -> Tensor:
        if np.array_equal(here, there):  # the flow between equal frames is 0, not noise
            return torch.zeros(*here.shape, 2, dtype=torch.float64)
        return torch.from_numpy(self.flow.calc(here, there, None)).double()


def sample_flow(flow: Tensor, points: Tensor) -> Tensor:
    """Read a flow field between its pixels.

    Args:
        flow: (H, W, 2), in pixels.
        points: x and y, (N, 2); outside the frame the border's flow holds.

    Returns:
        The flow at the points, (N, 2).
    """
    height, width = flow.shape[:2]
    scale = torch.tensor([width - 1, height - 1], dtype=flow.dtype)
    normalised = (2 * points / scale - 1)[None, None]  # (1, 1, N, 2), corners at -1 and 1
    image = flow.permute(2, 0, 1)[None]  # (1, 2, H, W)
    sampled = grid_sample(image, normalised, padding_mode="border", align_corners=True)
    return sampled[0, :, 0].T  # (N, 2)


def agree(step: Tensor, back: Tensor) -> Tensor:
    """Check that going forward and back ends where it began; steps (N, 2), result bool (N,)."""
    error = (step + back).square().sum(-1)
    length = step.square().sum(-1) + back.square().sum(-1)
    return error < RELATIVE_TOLERANCE * length + ABSOLUTE_TOLERANCE


def inside(points: Tensor, width: int, height: int) -> Tensor:
    """Tell which points lie in the frame; points (N, 2), result bool (N,)."""
    x, y = points.unbind(-1)
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
