"""How much of the reference's looks a video took over, without a learned model; pure functions.

A video's colours are one vector, and so may be any other description of its looks (an embedding of CLIP).
What counts is the way from the base model's own video of the same prompt to the reference.
"""

import numpy as np
from numpy.typing import NDArray

from motionmatcher.clips.clip_file import Frames

Array = NDArray[np.float64]

BINS = 16  # of each of red, green, blue
SMOOTHING = 1.0  # bins; coding shifts colours a little
POWER = 0.25  # of a colour's share of the picture: so a small thing counts beside a large ground
MIN_DISTANCE = 0.1  # of unit vectors; looks nearer to each other than that are the same


def colours(frames: Frames) -> Array:
    """Describe the colours of a clip, wherever and whenever they are in it.

    Args:
        frames: uint8 (F, H, W, 3).

    Returns:
        Fourth roots of the smoothed joint histogram, as a unit vector (BINS ** 3,).
    """
    from scipy.ndimage import gaussian_filter

    places = (frames.reshape(-1, 3).astype(np.int64) * BINS) // 256
    flat = (places[:, 0] * BINS + places[:, 1]) * BINS + places[:, 2]
    counts = np.bincount(flat, minlength=BINS**3).reshape(BINS, BINS, BINS)
    smooth = gaussian_filter(counts.astype(float), SMOOTHING, mode="nearest").ravel()
    roots: Array = smooth**POWER
    return roots / np.linalg.norm(roots)


def looks_taken_over(video: Array, base: Array, reference: Array) -> float:
    """Measure how far a video's looks went from the base's towards the reference's.

    Args:
        video: Description of its looks (D,).
        base: That of the base model's own video of the same prompt and seed.
        reference: That of the reference clip.

    Returns:
        The share of the way, by projection on it: 0 as far as the base's own, 1 as the reference; what
        changed in other directions does not count. NaN where base and reference look the same.
    """
    way = reference - base
    if np.linalg.norm(way) < MIN_DISTANCE:
        return float("nan")
    return float((video - base) @ way / (way @ way))
