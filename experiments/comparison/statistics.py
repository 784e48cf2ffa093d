"""Intervals over motions and prompts, the choice of the tuning, and verdicts; pure functions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from evaluation.intervals import CONFIDENCE, NUM_RESAMPLES, SEED, Interval

Array = NDArray[np.float64]

EQUAL_MOTION_MARGIN = 0.10  # of the base's path error


def crossed_interval(table: Array, seed: int = SEED) -> Interval:
    """Average a table, with the bootstrap interval of motions and prompts drawn independently.

    Rows and columns are resampled each with replacement (the pigeonhole bootstrap; Owen,
    Annals of Applied Statistics 1, 2007), so that the interval speaks of other motions and prompts.
    For few clusters percentiles are too narrow, so the interval is stretched about the mean by
    `widening` of the number of motions.

    Args:
        table: (motions, prompts) means over seeds and samples; NaN where a metric does not apply.
        seed: Fixes the resampling.

    Returns:
        The mean of what is defined and its 95 % interval; without ends for a single motion, which says
        nothing of others. `n` is the number of values.
    """
    defined = ~np.isnan(table)
    count = int(defined.sum())
    if count == 0:
        return Interval(None, None, None, 0)
    mean = float(table[defined].mean())
    num_motions = int(defined.any(axis=1).sum())
    if num_motions == 1:
        return Interval(mean, None, None, count)
    rng = np.random.default_rng(seed)
    row_weights, column_weights = (
        rng.multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES) for size in table.shape
    )  # (resamples, motions), (resamples, prompts)
    filled = np.where(defined, table, 0.0)
    sums = np.einsum("nm,mp,np->n", row_weights, filled, column_weights)
    weights = np.einsum("nm,mp,np->n", row_weights, defined.astype(float), column_weights)
    means = sums[weights > 0] / weights[weights > 0]
    tail = (1 - CONFIDENCE) / 2
    ends = np.quantile(means, [tail, 1 - tail])
    low, high = mean + widening(num_motions) * (ends - mean)
    return Interval(mean, float(low), float(high), count)


def widening(num_clusters: int) -> float:
    """How much too narrow a percentile bootstrap interval of a mean over few clusters is.

    The bootstrap takes the spread with n instead of n - 1 in the denominator, and a normal quantile
    where Student's t belongs (Hesterberg, The American Statistician 69, 2015).

    Args:
        num_clusters: n, 2 or more.

    Returns:
        `sqrt(n / (n - 1)) * t(0.975, n - 1) / z(0.975)`, above 1.
    """
    n, quantile = num_clusters, (1 + CONFIDENCE) / 2
    return float(math.sqrt(n / (n - 1)) * t.ppf(quantile, n - 1) / norm.ppf(quantile))


@dataclass(frozen=True)
class Choice:
    """What the tuning chose for a method.

    Attributes:
        learning_rate: The trainer's.
        steps: Training steps.
        error: Mean path error on the tuning motions, in pixels.
    """

    learning_rate: float
    steps: int
    error: float


def choose(errors: Mapping[tuple[float, int], float]) -> Choice:
    """Apply the rule of the tuning: the lowest mean path error.

    Args:
        errors: (learning rate, steps) -> mean path error over tuning motions, prompts and noise priors.

    Returns:
        The choice; of equal errors, that of fewer steps and then the lower learning rate.
    """
    learning_rate, steps = min(errors, key=lambda key: (errors[key], key[1], key[0]))
    return Choice(learning_rate, steps, errors[learning_rate, steps])


def edges_reached(
    choice: Choice, learning_rates: Sequence[float], steps: Sequence[int]
) -> tuple[str, ...]:
    """Tell where a choice lies at the edge of the grid, beyond which something better may lie.

    Args:
        choice: Of the tuning.
        learning_rates: The grid's, ascending.
        steps: The grid's, ascending.
    """
    edges = {
        "lowest learning rate": choice.learning_rate == learning_rates[0],
        "highest learning rate": choice.learning_rate == learning_rates[-1],
        "fewest steps": choice.steps == steps[0],
        "most steps": choice.steps == steps[-1],
    }
    return tuple(name for name, reached in edges.items() if reached)


def read_curve(values: Mapping[int, Array], steps: float) -> Array:
    """Read a metric after any number of steps off a curve, straight between those measured.

    Args:
        values: Training steps, 0 among them -> metric, arrays of one shape.
        steps: Where to read, no further than the last; NaN gives NaN.

    Returns:
        The metric, same shape.
    """
    measured = sorted(values)
    after = next((step for step in measured[1:] if step >= steps), measured[-1])
    before = measured[measured.index(after) - 1]
    share = (steps - before) / (after - before)
    if share > 1 - 1e-9:
        return values[after]
    interpolated: Array = (1 - share) * values[before] + share * values[after]
    return interpolated


@dataclass(frozen=True)
class Verdict:
    """One sentence of the claim, and whether the metrics bear it out."""

    claim: str
    holds: bool
    evidence: str

    @property
    def sentence(self) -> str:
        """What RESULTS.md says."""
        return f"**{'Yes' if self.holds else 'No'}**: {self.claim} ({self.evidence})."


def moves_better(claim: str, error: Interval, correlation: Interval) -> Verdict:
    """Tell whether a movement is nearer to the reference's: in place, and in direction.

    Both paired intervals must leave out 0, for an object resting in the middle of the frame has a
    lower path error than most that move.

    Args:
        claim: The sentence.
        error: Paired difference of the path errors, in pixels; less is better.
        correlation: Paired difference of the displacement correlations, -2 to 2; more is better.
    """
    evidence = f"path error {signed(error, 2)} px, correlation {signed(correlation, 2)}"
    return Verdict(claim, _is_below_zero(error) and _is_above_zero(correlation), evidence)


def has_less_error(claim: str, error: Interval) -> Verdict:
    """Tell whether a path error is lower: the paired interval lies below 0.

    Args:
        claim: The sentence.
        error: Paired difference of the path errors, in pixels.
    """
    return Verdict(claim, _is_below_zero(error), f"path error {signed(error, 2)} px")


def moves_equally(claim: str, difference: Interval, base_error: float) -> Verdict:
    """Tell equal motion: the paired interval excludes a deficit of over 10 % of the base's error.

    Args:
        claim: The sentence.
        difference: Paired difference of the path errors, in pixels.
        base_error: The base's path error, in pixels.
    """
    margin = EQUAL_MOTION_MARGIN * base_error
    holds = difference.high is not None and difference.high <= margin
    return Verdict(claim, holds, f"path error {signed(difference, 2)} px, margin +{margin:.2f} px")


def leaks_less(claim: str, of_all: Interval, with_object: Interval) -> Verdict:
    """Tell whether less of the reference's appearance leaks: both paired intervals lie below 0.

    Args:
        claim: The sentence.
        of_all: Paired difference of the leakage, 0 to 1.
        with_object: The same of the videos with an object alone, for none leaks no colour or shape.
    """
    evidence = f"leakage {signed(of_all, 3)}, of videos with an object {signed(with_object, 3)}"
    return Verdict(claim, _is_below_zero(of_all) and _is_below_zero(with_object), evidence)


def _is_below_zero(interval: Interval) -> bool:
    return interval.high is not None and interval.high < 0


def _is_above_zero(interval: Interval) -> bool:
    return interval.low is not None and interval.low > 0


def signed(interval: Interval, digits: int) -> str:
    """Write a difference with its sign: "-1.20 [-2.00, -0.40]"."""
    if interval.mean is None:
        return "–"
    text = f"{interval.mean:+.{digits}f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"
