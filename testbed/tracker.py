"""Measure what a clip of Moving Shapes shows: the renderer read backwards.

Knows the renderer's colours and shapes, and needs no learned model. Positions are pixels of the
screen as in `testbed.renderer`; a size is the radius of the circle of equal area.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from testbed.backdrop import classify_background, measure_camera
from testbed.renderer import OBJECT_COLORS, SHAPES, TEXTURED_STYLES, shape_mask

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]

MIN_OBJECT_PIXELS = 20  # smaller spots are not counted
_TEXTURE_RANGE = 40.0  # levels a background may be lighter or darker than its median
_MAX_COLOR_DISTANCE = 110.0
_COLOR_NAMES = tuple(OBJECT_COLORS)
_PALETTE = np.asarray(list(OBJECT_COLORS.values()), np.float32)  # (colours, 3)


@dataclass(frozen=True)
class ClipMeasurement:
    """What was measured in a clip.

    Attributes:
        color: Name of the object's colour, "" when there is no object.
        shape: Name of its shape, "" when there is no object.
        background_style: One of `BACKGROUND_STYLES`.
        background_color: One of the names of `BACKGROUND_COLORS`.
        counts: (F,) objects in each frame.
        path: (F, 2) centre (x, y) of the largest object, NaN in frames without one.
        radius: (F,) its radius, NaN in frames without one.
        camera: (F, 3) offset (x, y) and zoom relative to the first frame; None on a background
            without texture.
    """

    color: str
    shape: str
    background_style: str
    background_color: str
    counts: NDArray[np.int64]
    path: Array
    radius: Array
    camera: Array | None

    @classmethod
    def of_nothing(cls, num_frames: int) -> "ClipMeasurement":
        """What counts as measured where there is no video: no object, no background."""
        nowhere = np.full((num_frames, 2), np.nan)
        return cls("", "", "", "", np.zeros(num_frames, np.int64), nowhere, nowhere[:, 0], None)


def measure_clip(frames: Frames) -> ClipMeasurement:
    """Measure object, background and camera of a clip.

    Args:
        frames: The (F, 64, 64, 3) RGB frames, uint8.

    Returns:
        The measurement.
    """
    images = frames.astype(np.float32)
    backdrop = np.median(images, axis=(0, 1, 2))  # (3,) the object is the smaller part
    masks = [object_mask(image, backdrop) for image in images]
    spots = [_largest_spot(mask) for mask in masks]  # (count, mask of the largest)
    counts = np.asarray([count for count, _ in spots])

    path = np.full((len(frames), 2), np.nan)
    radius = np.full(len(frames), np.nan)
    color_votes = np.zeros(len(_COLOR_NAMES))
    shape_overlaps = np.zeros(len(SHAPES))
    for index, (image, (count, spot)) in enumerate(zip(images, spots, strict=True)):
        if count == 0:
            continue
        core = cv2.erode(spot.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        rgb = np.median(image[core if core.any() else spot], axis=0)
        color_votes[_nearest_color(rgb)] += 1
        coverage = _coverage(image, spot, rgb)
        path[index], radius[index] = _center_and_radius(coverage)
        shape_overlaps += _overlaps(coverage, path[index], radius[index])

    found = bool(counts.any())
    style, background_color = classify_background(images, np.stack(masks))
    return ClipMeasurement(
        color=_COLOR_NAMES[int(color_votes.argmax())] if found else "",
        shape=tuple(SHAPES)[int(shape_overlaps.argmax())] if found else "",
        background_style=style,
        background_color=background_color,
        counts=counts,
        path=path,
        radius=radius,
        camera=measure_camera(frames, np.stack(masks)) if style in TEXTURED_STYLES else None,
    )


def object_mask(image: NDArray[np.float32], backdrop: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find the pixels nearer to a colour of objects than to any shade of the background.

    Args:
        image: (H, W, 3) levels, 0 to 255.
        backdrop: (3,) the background's colour.

    Returns:
        The (H, W) mask.
    """
    to_object = np.linalg.norm(image[..., None, :] - _PALETTE, axis=-1).min(axis=-1)
    difference = image - backdrop
    shade = np.clip(difference.mean(axis=-1, keepdims=True), -_TEXTURE_RANGE, _TEXTURE_RANGE)
    to_background = np.linalg.norm(difference - shade, axis=-1)
    mask: NDArray[np.bool_] = (to_object < to_background) & (to_object < _MAX_COLOR_DISTANCE)
    return mask


def _nearest_color(rgb: NDArray[np.float32]) -> int:
    return int(np.linalg.norm(_PALETTE - rgb, axis=1).argmin())


def _largest_spot(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.bool_]]:
    """Count the connected spots that are large enough, and return the largest."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    count = int((areas >= MIN_OBJECT_PIXELS).sum())
    if count == 0:
        return 0, np.zeros_like(mask)
    return count, labels == 1 + int(areas.argmax())


def _coverage(
    image: NDArray[np.float32], spot: NDArray[np.bool_], rgb: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How much of each pixel the object covers: all inside, by the mixed colours at its edge."""
    kernel = np.ones((3, 3), np.uint8)
    grown = cv2.dilate(spot.astype(np.uint8), kernel)
    inside = cv2.erode(spot.astype(np.uint8), kernel)
    outside = (cv2.dilate(grown, kernel) == 0).astype(np.float32)  # free of mixed pixels
    weight = cv2.GaussianBlur(outside, (0, 0), 2.0)[..., None]
    around = cv2.GaussianBlur(image * outside[..., None], (0, 0), 2.0) / np.maximum(weight, 1e-4)
    contrast = rgb - around
    mixed = ((image - around) * contrast).sum(-1) / np.maximum((contrast**2).sum(-1), 1.0)
    coverage = np.where(inside > 0, 1.0, np.where(grown > 0, np.clip(mixed, 0.0, 1.0), 0.0))
    return coverage.astype(np.float32)


def _center_and_radius(coverage: NDArray[np.float32]) -> tuple[Array, float]:
    area = float(coverage.sum())
    rows, columns = np.indices(coverage.shape)
    center = np.asarray([(columns * coverage).sum(), (rows * coverage).sum()]) / area
    return center, float(np.sqrt(area / np.pi))


def _overlaps(coverage: NDArray[np.float32], center: Array, radius: float) -> Array:
    """Intersection over union with each shape drawn at the measured place and size."""
    drawn = [shape_mask(shape, center, radius) for shape in SHAPES]
    return np.asarray(
        [np.minimum(coverage, mask).sum() / np.maximum(coverage, mask).sum() for mask in drawn]
    )
