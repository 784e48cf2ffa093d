"""Intervals, the choice and the verdicts, by hand."""

import numpy as np
import pytest

from evaluation.intervals import Interval
from testbed.comparison.statistics import (
    choose,
    crossed_interval,
    error_at_seconds,
    leaks_less,
    moves_better,
    moves_equally,
    signed,
)


def test_interval_of_a_constant_is_the_constant() -> None:
    interval = crossed_interval(np.full((3, 2), 4.0))
    assert (interval.mean, interval.low, interval.high, interval.n) == (4.0, 4.0, 4.0, 6)


def test_interval_spans_motions_even_if_prompts_agree() -> None:
    # Four motions, prompts without an effect: the mean of four draws out of 0, 0, 0, 8.
    table = np.asarray([[0.0] * 5, [0.0] * 5, [0.0] * 5, [8.0] * 5])
    interval = crossed_interval(table)
    assert (interval.mean, interval.low) == (2.0, 0.0)
    # P(3 or 4 draws of the 8) = 0.0508, of 4 alone 0.0039: the 97.5 % quantile is 3 * 8 / 4.
    assert interval.high == pytest.approx(6.0)
    # Taken as 20 independent values it would be far narrower.
    assert crossed_interval(table.T).high == interval.high


def test_interval_counts_only_what_is_defined() -> None:
    table = np.asarray([[1.0, np.nan], [3.0, np.nan]])
    interval = crossed_interval(table)
    assert (interval.mean, interval.n) == (2.0, 2)
    assert (interval.low, interval.high) == (1.0, 3.0)
    assert crossed_interval(np.asarray([[5.0]])) == Interval(5.0, None, None, 1)
    assert crossed_interval(np.asarray([[np.nan]])) == Interval(None, None, None, 0)


def test_pairs_make_the_interval_narrow() -> None:
    base = np.asarray([[4.0, 9.0], [14.0, 20.0], [2.0, 6.0]])
    difference = crossed_interval(base - 1.0 - base)
    assert (difference.low, difference.high) == (-1.0, -1.0)
    assert crossed_interval(base).high - crossed_interval(base).low > 5


def test_choice_is_the_lowest_error_and_of_equals_the_shortest() -> None:
    errors = {(1e-3, 50): 6.0, (1e-3, 200): 5.0, (3e-3, 100): 5.0, (3e-3, 200): 5.5}
    choice = choose(errors)
    assert (choice.learning_rate, choice.steps, choice.error) == (3e-3, 100, 5.0)


def test_error_at_equal_time_is_read_between_the_steps() -> None:
    curve = {0: np.asarray([10.0]), 50: np.asarray([6.0]), 100: np.asarray([4.0])}
    assert error_at_seconds(curve, 0.5, 25.0) == 6.0  # 50 steps
    assert error_at_seconds(curve, 0.5, 12.5) == 8.0  # 25 steps
    assert error_at_seconds(curve, 0.5, 40.0) == pytest.approx(4.8)  # 80 steps
    assert error_at_seconds(curve, 0.5, 99.0) == 4.0  # no further than measured


def test_better_means_the_interval_lies_below_zero() -> None:
    better = moves_better("a beats b", Interval(-1.2, -2.0, -0.4, 8))
    assert better.holds
    assert better.sentence == "**Yes**: a beats b (path error -1.20 [-2.00, -0.40] px)."
    unsure = moves_better("a beats b", Interval(-1.2, -2.5, 0.1, 8))
    assert not unsure.holds
    assert unsure.sentence.startswith("**No**: a beats b")
    assert not moves_better("a beats b", Interval(-3.0, None, None, 1)).holds


def test_equal_motion_excludes_a_deficit_of_a_tenth_of_the_base() -> None:
    # The base's error is 10, so the margin is 1.
    assert moves_equally("as well", Interval(0.3, -0.4, 0.99, 8), 10.0).holds
    assert not moves_equally("as well", Interval(0.3, -0.4, 1.01, 8), 10.0).holds
    # Better on average, but nobody knows.
    assert not moves_equally("as well", Interval(-0.5, -3.0, 2.0, 8), 10.0).holds
    assert "margin +1.00 px" in moves_equally("as well", Interval(0, 0, 0, 8), 10.0).evidence


def test_less_leakage_needs_the_whole_interval() -> None:
    assert leaks_less("leaks less", Interval(-0.10, -0.20, -0.01, 8)).holds
    assert not leaks_less("leaks less", Interval(-0.10, -0.20, 0.0, 8)).holds


def test_differences_show_their_sign() -> None:
    assert signed(Interval(1.0, -0.5, 2.0, 3), 1) == "+1.0 [-0.5, +2.0]"
    assert signed(Interval(None, None, None, 0), 1) == "–"
