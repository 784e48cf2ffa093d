"""Where a shape is in each frame: the paths of Moving Shapes.

All coordinates are pixels of the screen, x to the right and y downwards, with the centre of the
top left pixel at (0, 0).
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]

MOTIONS = ("line", "spline", "loop", "zigzag", "sine", "bounce", "still")
MOTION_PROBABILITIES = (0.22, 0.20, 0.12, 0.12, 0.12, 0.12, 0.10)


def sample_path(motion: str, rng: Generator, num_frames: int, low: float, high: float) -> Array:
    """Draw one path inside a square.

    Args:
        motion: One of `MOTIONS`.
        rng: Source of randomness.
        num_frames: Number of frames F.
        low: Smallest coordinate of the path, both axes, in pixels.
        high: Largest coordinate of the path, both axes, in pixels.

    Returns:
        The (F, 2) positions (x, y) in pixels.
    """
    progress = _sample_timing(rng, num_frames)  # (F,) from 0 to 1
    unit_path = _UNIT_PATHS[motion](rng, progress)  # (F, 2) in [0, 1]
    return low + (high - low) * np.clip(unit_path, 0.0, 1.0)


def _sample_timing(rng: Generator, num_frames: int) -> Array:
    """Even speed mostly; speeding up, slowing down, or both, else."""
    time = np.linspace(0.0, 1.0, num_frames)
    even, faster, slower = time, time**1.7, 1 - (1 - time) ** 1.7
    smooth = time * time * (3 - 2 * time)
    return (even, faster, slower, smooth)[rng.choice(4, p=(0.7, 0.1, 0.1, 0.1))]


def _still(rng: Generator, progress: Array) -> Array:
    return np.tile(rng.uniform(0, 1, 2), (len(progress), 1))


def _sample_ends(rng: Generator, min_distance: float) -> tuple[Array, Array]:
    while True:
        start, end = rng.uniform(0, 1, (2, 2))
        if np.linalg.norm(end - start) >= min_distance:
            return start, end


def _line(rng: Generator, progress: Array) -> Array:
    start, end = _sample_ends(rng, min_distance=0.5)
    return start + (end - start) * progress[:, None]


def _spline(rng: Generator, progress: Array) -> Array:
    """A smooth curve through four or five points, at even speed along it before the timing."""
    while True:
        points = rng.uniform(0, 1, (rng.integers(4, 6), 2))
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        if steps.min() >= 0.3 and steps.sum() <= 2.0:
            break
    spline = CubicSpline(np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum(), points)
    dense = _fit_in_unit_square(spline(np.linspace(0, 1, 200)))
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    at = progress * lengths[-1]
    return np.stack([np.interp(at, lengths, dense[:, axis]) for axis in (0, 1)], axis=1)


def _fit_in_unit_square(path: Array) -> Array:
    """Shrink a path only where it leaves the unit square."""
    low, high = path.min(axis=0), path.max(axis=0)
    scale = np.minimum(1.0, 1.0 / (high - low))
    path = (path - low) * scale
    return path + np.clip(low, 0.0, 1.0 - (high - low) * scale)


def _loop(rng: Generator, progress: Array) -> Array:
    radii = rng.uniform(0.28, 0.5, 2)
    centre = rng.uniform(radii, 1 - radii)
    angle = rng.uniform(0, 2 * np.pi) + rng.choice((-1, 1)) * rng.uniform(0.9, 1.2) * (
        2 * np.pi * progress
    )
    return centre + radii * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _swinging(rng: Generator, progress: Array, wave: Callable[[Array], Array]) -> Array:
    """Travel along one axis while swinging along the other."""
    travel_start, travel_end = rng.uniform(0.0, 0.2), rng.uniform(0.8, 1.0)
    if rng.random() < 0.5:
        travel_start, travel_end = travel_end, travel_start
    amplitude = rng.uniform(0.22, 0.45)
    centre = rng.uniform(amplitude, 1 - amplitude)
    phase = rng.uniform(1.0, 1.6) * progress + rng.choice((0.0, 0.5))
    along = travel_start + (travel_end - travel_start) * progress
    across = centre + amplitude * wave(phase)
    pair = (along, across) if rng.random() < 0.5 else (across, along)
    return np.stack(pair, axis=1)


def _sine(rng: Generator, progress: Array) -> Array:
    return _swinging(rng, progress, lambda phase: np.sin(2 * np.pi * phase))


def _zigzag(rng: Generator, progress: Array) -> Array:
    def triangle_wave(phase: Array) -> Array:
        return 4 * np.abs((phase + 0.25) % 1.0 - 0.5) - 1

    return _swinging(rng, progress, triangle_wave)


def _bounce(rng: Generator, progress: Array) -> Array:
    """One to two hops on a floor, each a parabola, while moving sideways."""
    start, end = rng.uniform(0.0, 0.3), rng.uniform(0.7, 1.0)
    if rng.random() < 0.5:
        start, end = end, start
    floor, height = rng.uniform(0.8, 1.0), rng.uniform(0.5, 0.8)
    phase = (rng.uniform(1.2, 2.0) * progress + rng.choice((0.0, 0.5))) % 1.0
    across = floor - height * 4 * phase * (1 - phase)
    return np.stack([start + (end - start) * progress, across], axis=1)


_UNIT_PATHS: dict[str, Callable[[Generator, Array], Array]] = {
    "line": _line,
    "spline": _spline,
    "loop": _loop,
    "zigzag": _zigzag,
    "sine": _sine,
    "bounce": _bounce,
    "still": _still,
}
