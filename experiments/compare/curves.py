"""What is read off curves of path error against leakage over a training; pure functions.

Of N resamples at a time: curves are (N, 2, S), path errors and leakages at S steps, the base's first.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

AREA_LEVELS = 20  # path errors at which a curve's leakage is read for the area


def leakage_at(curves: Array, level: Array) -> Array:
    """Read the leakage where the path error first comes down to a level (N,).

    Returns:
        (N,), straight between the steps measured; NaN where the level is never reached.
    """
    errors, leakages = curves[:, 0], curves[:, 1]
    reached = errors <= level[:, None]
    at = reached.argmax(axis=1)  # the first one
    rows, before = np.arange(len(errors)), np.maximum(at - 1, 0)
    drop = errors[rows, before] - errors[rows, at]
    share = np.where(drop > 0, (errors[rows, before] - level) / np.where(drop > 0, drop, 1), 1.0)
    read = leakages[rows, before] + share * (leakages[rows, at] - leakages[rows, before])
    return np.where(reached.any(axis=1), read, np.nan)


def leakage_at_equal_error(curves: Array, others: Array) -> Array:
    """Compare two trainings' leakage at the lowest path error that both reach: the difference (N,)."""
    level = np.maximum(curves[:, 0].min(axis=1), others[:, 0].min(axis=1))
    return leakage_at(curves, level) - leakage_at(others, level)


def area_left_of(curves: Array, lowest: Array) -> Array:
    """Area between the axis of path errors and a curve, from the base's error down to a lowest (N,).

    Returns:
        (N,) in pixels: mean leakage on the way, times its length.
    """
    first = curves[:, 0, 0]
    shares = (np.arange(AREA_LEVELS) + 0.5) / AREA_LEVELS
    read = [leakage_at(curves, first + share * (lowest - first)) for share in shares]
    return np.asarray(np.mean(read, axis=0) * (first - lowest))
