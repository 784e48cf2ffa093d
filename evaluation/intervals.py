"""Means with bootstrap confidence intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A mean over videos and how far it can be trusted.

    Attributes:
        mean: None when there was nothing to average.
        low: Lower end of the 95 % bootstrap interval; None with fewer than two values.
        high: Its upper end.
        n: Number of values averaged.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int

    def format(self, digits: int) -> str:
        """Write "0.2871 [0.2750, 0.2992]"; the bracket is left out when there is no interval."""
        if self.mean is None:
            return "–"
        text = f"{self.mean:.{digits}f}"
        if self.low is None or self.high is None:
            return text
        return f"{text} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def bootstrap_interval(values: Sequence[float], seed: int = SEED) -> Interval:
    """Average values, with the percentile bootstrap interval of the mean (Efron, 1979).

    Args:
        values: One per video; what is not finite is not defined for this video, and not counted.
        seed: Fixes the resampling.

    Returns:
        The mean and its 95 % interval.
    """
    defined = np.array([value for value in values if math.isfinite(value)])
    if len(defined) == 0:
        return Interval(None, None, None, 0)
    mean = float(defined.mean())
    if len(defined) == 1:
        return Interval(mean, None, None, 1)
    choices = np.random.default_rng(seed).integers(len(defined), size=(NUM_RESAMPLES, len(defined)))
    means = defined[choices].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), len(defined))
