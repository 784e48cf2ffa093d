"""What of a picture can be followed: its strongest contrast, and where there is any."""

import cv2
import numpy as np

from motionmatcher.clips.video import Frames

WINDOW = 9
# Noise of standard deviation sigma makes a structure tensor with eigenvalue sigma^2 / 2: that of half a
# grey level at least is expected of any video, and more than two grey levels are texture.
MIN_TEXTURE, MAX_NOISE = 0.5**2 / 2, 2.0**2 / 2
# Between these a picture's noise is what its quietest twentieth has; over patches of noise alone the
# eigenvalue varies by a factor of two.
QUIETEST_PERCENT = 5
NOISE_MARGIN = 2.5


def strongest_contrast(frames: Frames) -> Frames:
    """Turn a clip grey along the colour axis in which its edges are strongest.

    Luma loses edges between colours of one brightness. The axis is the first eigenvector of the
    edges' covariance; of most clips it is near (1, 1, 1).

    Args:
        frames: RGB, uint8 (F, H, W, 3).

    Returns:
        uint8 (F, H, W).
    """
    covariance = np.zeros((3, 3))
    for frame in frames.astype(np.float32):
        for axis in (0, 1):
            edges = np.diff(frame, axis=axis).reshape(-1, 3).astype(np.float64)
            covariance += edges.T @ edges
    weights = np.linalg.eigh(covariance)[1][:, -1]
    weights = weights / np.abs(weights).sum()
    if weights.sum() < 0:
        weights = -weights
    darkest = 255 * weights.clip(max=0).sum()
    return np.stack([(frame @ weights - darkest).round().astype(np.uint8) for frame in frames])


def has_texture(grey: Frames) -> np.ndarray:
    """Tell which places of a picture can be told from their neighbours in spite of noise.

    Args:
        grey: uint8 (H, W).

    Returns:
        bool (H, W).
    """
    field = texture(grey)
    noise = NOISE_MARGIN * float(np.percentile(field, QUIETEST_PERCENT))
    return field > min(max(noise, MIN_TEXTURE), MAX_NOISE)


def texture(grey: Frames) -> np.ndarray:
    """Measure how well each place of a picture can be told from its neighbours.

    Args:
        grey: uint8 (H, W).

    Returns:
        The smaller eigenvalue of the structure tensor (Shi and Tomasi, CVPR 1994), averaged over
        9 x 9 pixels: the mean square of the gradient in the direction in which it is least, in
        grey levels a pixel, float32 (H, W). 0 on a plain area and along a straight edge.
    """
    picture = grey.astype(np.float32)
    border = cv2.BORDER_REPLICATE
    derivative = np.array([[-0.5, 0.0, 0.5]], np.float32)
    dx = cv2.filter2D(picture, -1, derivative, borderType=border)
    dy = cv2.filter2D(picture, -1, derivative.T, borderType=border)
    xx, yy, xy = (
        cv2.blur(product, (WINDOW, WINDOW), borderType=border)
        for product in (dx * dx, dy * dy, dx * dy)
    )
    return (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
