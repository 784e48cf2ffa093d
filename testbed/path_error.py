"""How far a video's object is from where the reference clip has its own.

In a frame without an object the error is what a place chosen blindly would have: the mean distance
of the reference's place from all pixels. So no frame is left out, and losing the object is never
better than having it anywhere.
"""

import numpy as np
from numpy.typing import NDArray

from testbed.renderer import FRAME_SIZE

Array = NDArray[np.float64]


def path_error(path: Array, reference: Array) -> float:
    """Mean distance of the object from the reference's place, frame by frame.

    Args:
        path: (F, 2) places (x, y) in pixels, NaN in frames without an object, as
            `testbed.tracker.ClipMeasurement.path`.
        reference: (F, 2) the reference's places, without NaN.

    Returns:
        The error in pixels, 0 or more.
    """
    return _mean_error(path - reference, reference)


def centred_error(path: Array, reference: Array) -> float:
    """The same after both paths' means are taken off, which leaves movement without position.

    The means are those over the frames with an object. A single such frame has no movement: then
    all count as frames without an object. The arguments are those of `path_error`.
    """
    difference = path - reference
    seen = ~np.isnan(difference).any(axis=1)
    shift = difference[seen].mean(axis=0) if seen.sum() > 1 else np.nan
    return _mean_error(difference - shift, reference)


def chance_distance(reference: Array) -> Array:
    """Mean distance of each place (F, 2) from all pixels of the frame, (F,)."""
    rows, columns = np.indices((FRAME_SIZE, FRAME_SIZE))
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2)  # (H * W, 2)
    distances: Array = np.linalg.norm(reference[:, None] - pixels, axis=-1).mean(axis=1)
    return distances


def _mean_error(difference: Array, reference: Array) -> float:
    distances = np.linalg.norm(difference, axis=1)  # (F,)
    return float(np.where(np.isnan(distances), chance_distance(reference), distances).mean())
