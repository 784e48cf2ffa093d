"""Intervals over motions and prompts, the choice of the tuning, and verdicts; pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import CONFIDENCE, NUM_RESAMPLES, SEED, Interval

Array = NDArray[np.float64]

EQUAL_MOTION_MARGIN = 0.10  # of the base's path error


def crossed_interval(table: Array, seed: int = SEED) -> Interval:
    """Average a table, with the bootstrap interval of motions and prompts drawn independently.

    Rows and columns are resampled each with replacement (the pigeonhole bootstrap; Owen,
    Annals of Applied Statistics 1, 2007), so that the interval speaks of other motions and prompts.

    Args:
        table: (motions, prompts) means over seeds and samples; NaN where a figure does not apply.
        seed: Fixes the resampling.

    Returns:
        The mean of what is defined and its 95 % interval; without ends for a single value. `n` is the
        number of values.
    """
    defined = ~np.isnan(table)
    count = int(defined.sum())
    if count == 0:
        return Interval(None, None, None, 0)
    mean = float(table[defined].mean())
    if count == 1:
        return Interval(mean, None, None, 1)
    rng = np.random.default_rng(seed)
    row_weights, column_weights = (
        rng.multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES) for size in table.shape
    )  # (resamples, motions), (resamples, prompts)
    filled = np.where(defined, table, 0.0)
    sums = np.einsum("nm,mp,np->n", row_weights, filled, column_weights)
    weights = np.einsum("nm,mp,np->n", row_weights, defined.astype(float), column_weights)
    means = sums[weights > 0] / weights[weights > 0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), count)


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


def error_at_seconds(errors: Mapping[int, Array], seconds_per_step: float, seconds: float) -> Array:
    """Read the error after so much training off a curve, straight between the steps measured.

    Args:
        errors: Training steps, 0 among them -> error, arrays of one shape.
        seconds_per_step: Of this method.
        seconds: Where to read; no further than the last step.

    Returns:
        The error, same shape.
    """
    steps = sorted(errors)
    at = seconds / seconds_per_step
    after = next((step for step in steps[1:] if step >= at * (1 - 1e-9)), steps[-1])
    before = steps[steps.index(after) - 1]
    share = min((at - before) / (after - before), 1.0)
    interpolated: Array = (1 - share) * errors[before] + share * errors[after]
    return interpolated


@dataclass(frozen=True)
class Verdict:
    """One sentence of the claim, and whether the figures bear it out."""

    claim: str
    holds: bool
    evidence: str

    @property
    def sentence(self) -> str:
        """What RESULTS.md says."""
        return f"**{'Yes' if self.holds else 'No'}**: {self.claim} ({self.evidence})."


def moves_better(claim: str, difference: Interval) -> Verdict:
    """Judge whether a path error is lower: the paired interval lies below 0.

    Args:
        claim: The sentence.
        difference: Paired difference of the path errors, in pixels.
    """
    holds = difference.high is not None and difference.high < 0
    return Verdict(claim, holds, f"path error {signed(difference, 2)} px")


def moves_equally(claim: str, difference: Interval, base_error: float) -> Verdict:
    """Judge equal motion: the paired interval excludes a deficit of over 10 % of the base's error.

    Args:
        claim: The sentence.
        difference: Paired difference of the path errors, in pixels.
        base_error: The base's path error, in pixels.
    """
    margin = EQUAL_MOTION_MARGIN * base_error
    holds = difference.high is not None and difference.high <= margin
    return Verdict(claim, holds, f"path error {signed(difference, 2)} px, margin +{margin:.2f} px")


def leaks_less(claim: str, difference: Interval) -> Verdict:
    """Judge whether less of the reference's appearance leaks: the paired interval lies below 0.

    Args:
        claim: The sentence.
        difference: Paired difference of the leakage, 0 to 1.
    """
    holds = difference.high is not None and difference.high < 0
    return Verdict(claim, holds, f"leakage {signed(difference, 3)}")


def signed(interval: Interval, digits: int) -> str:
    """Write a difference with its sign: "-1.20 [-2.00, -0.40]"."""
    if interval.mean is None:
        return "–"
    text = f"{interval.mean:+.{digits}f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"
