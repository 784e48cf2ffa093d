"""Means with bootstrap confidence intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

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

    def format(self, digits: int, sign: str = "-") -> str:
        """Write "0.2871 [0.2750, 0.2992]"; the bracket is left out when there is no interval.

        Args:
            digits: Behind the point.
            sign: "-" for that of negative numbers alone, "+" for all.
        """
        if self.mean is None:
            return "–"
        text = f"{self.mean:{sign}.{digits}f}"
        if self.low is None or self.high is None:
            return text
        return f"{text} [{self.low:{sign}.{digits}f}, {self.high:{sign}.{digits}f}]"


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
    low, high = _ends(defined[choices].mean(axis=1))
    return Interval(mean, float(low), float(high), len(defined))


def crossed_interval(table: Array) -> Interval:
    """Average a table (motions, prompts), with the interval of `crossed_statistic`."""
    interval = crossed_statistic([table], lambda means: means[:, 0])
    return Interval(interval.mean, interval.low, interval.high, int((~np.isnan(table)).sum()))


def crossed_statistic(tables: Sequence[Array], statistic: Callable[[Array], Array]) -> Interval:
    """Compute something of the means of tables, with a bootstrap interval over motions and prompts.

    Rows and columns are resampled each with replacement, the same ones in all tables (the pigeonhole
    bootstrap; Owen, Annals of Applied Statistics 1, 2007), so that the interval speaks of other motions
    and prompts. For few clusters percentiles are too narrow, so the interval is stretched about the
    value by `widening` of the number of motions.

    Args:
        tables: (motions, prompts) each, means over seeds and samples; NaN where a metric does not apply.
        statistic: Of the tables' means (N, tables), NaN for a table without values; gives (N,).

    Returns:
        The statistic and its 95 % interval; without ends for a single motion, which says nothing of
        others. `n` is the number of motions times prompts.
    """
    stack = np.stack(tables)  # (tables, motions, prompts)
    num_motions, num_prompts = stack.shape[1:]
    defined = ~np.isnan(stack)
    seen = int(defined.any(axis=(0, 2)).sum())
    flat_defined = defined.reshape(len(stack), -1).T.astype(float)  # (motions * prompts, tables)
    flat_values = np.nan_to_num(stack).reshape(len(stack), -1).T

    def means(weights: Array) -> Array:
        counts, sums = weights @ flat_defined, weights @ flat_values  # (N, tables)
        return np.where(counts > 0, sums / np.where(counts > 0, counts, 1), np.nan)

    value = float(statistic(means(np.ones((1, num_motions * num_prompts))))[0])
    if not math.isfinite(value):
        return Interval(None, None, None, 0)
    if seen == 1:
        return Interval(value, None, None, num_motions * num_prompts)
    values = statistic(means(_crossed_resamples(num_motions, num_prompts)))
    ends = _ends(values[np.isfinite(values)])
    low, high = value + widening(seen) * (ends - value)
    return Interval(value, float(low), float(high), num_motions * num_prompts)


def _ends(resampled: Array) -> Array:
    """Give the percentiles between which `CONFIDENCE` of the resamples lie (2,)."""
    tail = (1 - CONFIDENCE) / 2
    ends: Array = np.quantile(resampled, [tail, 1 - tail])
    return ends


@lru_cache(maxsize=8)
def _crossed_resamples(num_rows: int, num_columns: int) -> Array:
    """How often each resample has each place of a table (NUM_RESAMPLES, rows * columns)."""
    rng = np.random.default_rng(SEED)
    rows, columns = (
        rng.multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES).astype(float)
        for size in (num_rows, num_columns)
    )
    return (rows[:, :, None] * columns[:, None, :]).reshape(NUM_RESAMPLES, -1)


def widening(num_clusters: int) -> float:
    """How much too narrow a percentile bootstrap interval of a mean over few clusters is.

    The bootstrap takes the spread with n instead of n - 1 in the denominator, and a normal quantile
    where Student's t belongs (Hesterberg, The American Statistician 69, 2015).

    Args:
        num_clusters: n, 2 or more.

    Returns:
        `sqrt(n / (n - 1)) * t(0.975, n - 1) / z(0.975)`, above 1.
    """
    from scipy.special import ndtri, stdtrit  # scipy.stats takes seconds to import

    n, quantile = num_clusters, (1 + CONFIDENCE) / 2
    return float(math.sqrt(n / (n - 1)) * stdtrit(n - 1, quantile) / ndtri(quantile))


def is_below_zero(interval: Interval) -> bool:
    """Whether an interval lies below 0."""
    return interval.high is not None and interval.high < 0


def is_above_zero(interval: Interval) -> bool:
    """Whether an interval lies above 0."""
    return interval.low is not None and interval.low > 0


def signed(interval: Interval, digits: int) -> str:
    """Write a difference with its sign: "-1.20 [-2.00, -0.40]"."""
    return interval.format(digits, sign="+")
