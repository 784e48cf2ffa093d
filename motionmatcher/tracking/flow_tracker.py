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
from motionmatcher.tracking.matching import best_matches
from motionmatcher.tracking.texture import WINDOW, has_texture, strongest_contrast
from motionmatcher.tracking.tracks import Tracks, point_grid

# Forward-backward check of Sundaram, Brox and Keutzer (ECCV 2010), eq. 5.
RELATIVE_TOLERANCE = 0.01
ABSOLUTE_TOLERANCE = 0.5  # squared pixels

# Share of the squared mismatch that a far movement must leave to be taken: textures repeat.
FAR_ADVANTAGE = 0.5

# How far flow reaches into places without texture, as a share of the frame's longer side.
FILL_REACH = 1 / 8
MIN_WEIGHT = 1e-5

# What the flow's patches need of a frame, in pixels.
MIN_SHORT_SIDE, MIN_LONG_SIDE = 8, 12


class FlowTracker:
    """Chains dense inverse search flow (Kroeger et al., ECCV 2016) from frame to frame.

    Where the flow loses what goes further than its own size, it starts again at the places that look
    most alike. Points of the grid without texture are not followed: flow there is noise.

    A track that fails the forward-backward check, leaves the frame or loses its texture is invisible
    from there on; it goes on with the flow at its place (at the border, once outside; where there is no
    texture, with what moves around it), for the published formula wants a position in every frame.
    """

    name = "flow"

    def __init__(self, grid_size: int) -> None:
        """Follow `grid_size` x `grid_size` points."""
        self.grid_size = grid_size
        # OpenCV's object remembers the start of a call for the next one that has none: one for each.
        self.near_flow, self.far_flow = _inverse_search(), _inverse_search()

    def track(self, frames: Frames) -> Tracks:
        """Follow those points of a grid on the first frame that have texture.

        Args:
            frames: uint8 (F, H, W, 3).

        Returns:
            Their tracks; of a picture without texture none.

        Raises:
            UserError: The frames are too small.
        """
        height, width = frames.shape[1:3]
        if min(height, width) < MIN_SHORT_SIDE or max(height, width) < MIN_LONG_SIDE:
            raise UserError(
                f"optical flow needs frames of {MIN_LONG_SIDE}x{MIN_SHORT_SIDE} pixels or more, not "
                f"{width}x{height}: take a larger reference clip, or larger --width and --height."
            )
        grey = strongest_contrast(frames)
        textured = [has_texture(frame) for frame in grey]
        points = point_grid(self.grid_size, width, height)  # (N, 2)
        points = points[at_pixels(textured[0], points)]
        visible = torch.ones(len(points), dtype=torch.bool)
        all_points, all_visible = [points], [visible]
        for (here, with_texture), (there, next_with_texture) in tqdm(
            list(pairwise(zip(grey, textured, strict=True))), "flow", leave=False, delay=5
        ):
            step = sample_flow(fill(self._flow(here, there), with_texture), points)
            moved = points + step
            back = sample_flow(fill(self._flow(there, here), next_with_texture), moved)
            visible = visible & agree(step, back) & inside(moved, width, height)
            visible = visible & at_pixels(next_with_texture, moved)
            points = moved
            all_points.append(points)
            all_visible.append(visible)
        return Tracks(torch.stack(all_points, dim=1), torch.stack(all_visible, dim=1))

    def _flow(self, here: np.ndarray, there: np.ndarray) -> np.ndarray:
        if np.array_equal(here, there):  # the flow between equal frames is 0, not noise
            return np.zeros((*here.shape, 2), np.float32)
        near = self.near_flow.calc(here, there, None)
        far = self.far_flow.calc(here, there, best_matches(here, there))
        better = mismatch(here, there, far) < FAR_ADVANTAGE * mismatch(here, there, near)
        return np.where(better[..., None], far, near)


def _inverse_search() -> cv2.DISOpticalFlow:
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # Full resolution halves the drift, and small clips have no finer scale to spare.
    flow.setFinestScale(0)
    return flow


def fill(flow: np.ndarray, with_texture: np.ndarray) -> Tensor:
    """Let places without texture go with those around them that have some.

    Args:
        flow: float32 (H, W, 2).
        with_texture: bool (H, W).

    Returns:
        float64 (H, W, 2); 0 where nothing with texture is near.
    """
    side = 2 * round(FILL_REACH * max(with_texture.shape)) + 1
    weights = with_texture[..., None].astype(np.float32)  # (H, W, 1)
    around = cv2.blur(np.dstack([flow * weights, weights]), (side, side))  # (H, W, 3)
    mean = around[..., :2] / around[..., 2:].clip(min=MIN_WEIGHT)
    return torch.from_numpy(np.where(weights > 0, flow, mean)).double()


def at_pixels(mask: np.ndarray, points: Tensor) -> Tensor:
    """Read a mask (H, W) at the pixels nearest to points (N, 2); result bool (N,)."""
    height, width = mask.shape
    x, y = points.round().long().unbind(-1)
    return torch.from_numpy(mask)[y.clamp(0, height - 1), x.clamp(0, width - 1)]


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


def mismatch(here: np.ndarray, there: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Measure how much a flow leaves unexplained around each pixel.

    Args:
        here: Grey levels, uint8 (H, W).
        there: Likewise, where the flow leads.
        flow: float32 (H, W, 2).

    Returns:
        Mean square of the difference in grey levels over 9 x 9 pixels, float32 (H, W).
    """
    y, x = np.indices(here.shape, dtype=np.float32)
    warped = cv2.remap(
        there.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, None,
        cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return cv2.blur((warped - here) ** 2, (WINDOW, WINDOW), borderType=cv2.BORDER_REPLICATE)


def agree(step: Tensor, back: Tensor) -> Tensor:
    """Check that going forward and back ends where it began; steps (N, 2), result bool (N,)."""
    error = (step + back).square().sum(-1)
    length = step.square().sum(-1) + back.square().sum(-1)
    return error < RELATIVE_TOLERANCE * length + ABSOLUTE_TOLERANCE


def inside(points: Tensor, width: int, height: int) -> Tensor:
    """Tell which points lie in the frame; points (N, 2), result bool (N,)."""
    x, y = points.unbind(-1)
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
