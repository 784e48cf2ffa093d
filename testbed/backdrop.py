"""Measure the background of a clip of Moving Shapes, and the camera's path over it."""

import functools
import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from testbed.renderer import (
    BACKGROUND_COLORS,
    BACKGROUND_STYLES,
    FRAME_SIZE,
    Background,
    background_pattern,
)

Array = NDArray[np.float64]

PLAIN_DEVIATION = 7.0  # levels; a plain background varies less, any other one more
_MARGIN = np.ones((7, 7), np.uint8)  # around the object, left out of all measurements
_BLUR = 5  # pixels; of the registration
_MIN_CORRELATION = 0.5


def classify_background(images: NDArray[np.float32], masks: NDArray[np.bool_]) -> tuple[str, str]:
    """Name the style and the colour of a background.

    The style is the one of which some drawing correlates best with what is seen; a background that
    hardly varies is plain.

    Args:
        images: (F, H, W, 3) levels, 0 to 255.
        masks: (F, H, W) where the object is.

    Returns:
        The style, one of `BACKGROUND_STYLES`, and the colour, one of `BACKGROUND_COLORS`.
    """
    clear = np.stack([cv2.dilate(mask.astype(np.uint8), _MARGIN) == 0 for mask in masks])
    mean = images[clear].mean(axis=0)
    distances = {name: np.linalg.norm(mean - rgb) for name, rgb in BACKGROUND_COLORS.items()}
    color = min(distances, key=lambda name: float(distances[name]))
    middle = len(images) // 2  # where the zoom of Moving Shapes is about one
    brightness = images[middle].mean(axis=-1)  # (H, W)
    seen = clear[middle].ravel()
    values = brightness.ravel()[seen] - brightness.ravel()[seen].mean()
    if values.std() < PLAIN_DEVIATION:
        return "plain", color
    styles, drawings = _drawings()
    drawn = drawings[:, seen]
    drawn = drawn - drawn.mean(axis=1, keepdims=True)
    norms = np.maximum(np.linalg.norm(drawn, axis=1) * np.linalg.norm(values), 1e-6)
    return styles[int((drawn @ values / norms).argmax())], color


@functools.cache
def _drawings() -> tuple[list[str], NDArray[np.float32]]:
    """Draw every style in many positions: the style's name and (drawings, H * W)."""
    variants = {
        "gradient": itertools.product(np.arange(8) * np.pi / 4, [1.0], [0.0], [0.0]),
        "striped": itertools.product(
            np.arange(4) * np.pi / 4, range(24, 31, 2), np.arange(12) / 12, [0.0]
        ),
        "checkered": itertools.product(
            [0.0], range(28, 41, 2), np.arange(10) / 10, np.arange(10) / 10
        ),
        "dotted": itertools.product(
            [0.0], range(28, 41, 2), np.arange(10) / 10, np.arange(10) / 10
        ),
    }
    assert set(variants) == set(BACKGROUND_STYLES) - {"plain"}
    grid: Array = np.arange(FRAME_SIZE, dtype=np.float64) - (FRAME_SIZE - 1) / 2
    styles, drawings = [], []
    for style, positions in variants.items():
        for angle, period, phase_x, phase_y in positions:
            background = Background(style, "", (0, 0, 0), angle, period, (phase_x, phase_y))
            styles.append(style)
            drawings.append(background_pattern(background, grid, grid).astype(np.float32).ravel())
    return styles, np.stack(drawings)


def measure_camera(frames: NDArray[np.uint8], masks: NDArray[np.bool_]) -> Array | None:
    """Follow the camera over a textured background, by registering each frame with the next.

    Args:
        frames: (F, H, W, 3) RGB frames.
        masks: (F, H, W) where the object is.

    Returns:
        The (F, 3) offsets (x, y) in world pixels and zooms, relative to the first frame; None when
        two neighbouring frames do not match.
    """
    clear = [cv2.erode(255 - 255 * mask.astype(np.uint8), _MARGIN) for mask in masks]
    gray = [frame.astype(np.float32).mean(axis=-1) for frame in frames]
    camera = np.zeros((len(frames), 3))
    camera[0, 2] = 1.0
    step = np.eye(2, 3, dtype=np.float32)
    for index in range(1, len(frames)):
        before, after = gray[index - 1], gray[index]
        both = cv2.bitwise_and(clear[index - 1], clear[index])
        try:
            correlation, step = cv2.findTransformECC(
                before,
                after,
                np.eye(2, 3, dtype=np.float32),
                cv2.MOTION_AFFINE,
                (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5),
                both,
                _BLUR,
            )
        except cv2.error:  # the optimisation did not converge
            return None
        if correlation < _MIN_CORRELATION:
            return None
        camera[index] = _advance(camera[index - 1], np.asarray(step, np.float64))
    return camera


def _advance(camera: Array, step: Array) -> Array:
    """Move the camera (x, y, zoom) by the affine map (2, 3) of its frame's pixels to the next's.

    With world w, screen s - c = zoom (w - c - offset): a pixel moves to s' - c = r (s - c) + d with
    r = zoom' / zoom and d = zoom' (offset - offset').
    """
    center = np.full(2, (FRAME_SIZE - 1) / 2)
    ratio = float(np.sqrt(abs(np.linalg.det(step[:, :2]))))
    shift = step @ np.append(center, 1.0) - center
    zoom = camera[2] * ratio
    return np.append(camera[:2] - shift / zoom, zoom)
