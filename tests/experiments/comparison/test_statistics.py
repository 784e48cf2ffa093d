"""Intervals, the choice and the verdicts, by hand."""

import numpy as np
import pytest

from evaluation.intervals import Interval
from experiments.comparison.statistics import (
    Choice,
    choose,
    crossed_interval,
    edges_reached,
    has_less_error,
    leaks_less,
    moves_better,
    moves_equally,
    read_curve,
    signed,
    widening,
)


def test_interval_of_a_constant_is_the_constant() -> None:
    interval = crossed_interval(np.full((3, 2), 4.0))
    assert (interval.mean, interval.low, interval.high, interval.n) == (4.0, 4.0, 4.0, 6)


def test_interval_spans_motions_even_if_prompts_agree() -> None:
    # Four motions, prompts without an effect: the mean of four draws out of 0, 0, 0, 8.
    table = np.asarray([[0.0] * 5, [0.0] * 5, [0.0] * 5, [8.0] * 5])
    interval = crossed_interval(table)
    # P(3 or 4 draws of the 8) = 0.0508, of 4 alone 0.0039: the 97.5 % quantile is 3 * 8 / 4 = 6, and
    # the 2.5 % quantile 0. Both then move away from the mean, by Student's t for four motions.
    stretch = (4 / 3) ** 0.5 * 3.182446 / 1.959964
    assert interval.mean == 2.0
    assert interval.high == pytest.approx(2 + 4 * stretch, rel=1e-5)
    assert interval.low == pytest.approx(2 - 2 * stretch, rel=1e-5)
    # Taken as 20 independent values it would be far narrower; prompts count alike, but are not what
    # the interval is widened for: here five motions.
    stretch = (5 / 4) ** 0.5 * 2.776445 / 1.959964
    assert crossed_interval(table.T).high == pytest.approx(2 + 4 * stretch, rel=1e-5)


def test_few_motions_widen_the_interval() -> None:
    # Student's t and the normal quantile from tables.
    assert widening(2) == pytest.approx(2**0.5 * 12.7062 / 1.959964, rel=1e-5)
    assert widening(8) == pytest.approx((8 / 7) ** 0.5 * 2.364624 / 1.959964, rel=1e-5)
    assert widening(10_000) == pytest.approx(1.0, rel=1e-3)


def test_one_motion_has_no_interval() -> None:
    assert crossed_interval(np.asarray([[1.0, 3.0]])) == Interval(2.0, None, None, 2)
    undefined = np.asarray([[1.0, 3.0], [np.nan, np.nan]])
    assert crossed_interval(undefined) == Interval(2.0, None, None, 2)


def test_interval_counts_only_what_is_defined() -> None:
    table = np.asarray([[1.0, np.nan], [3.0, np.nan]])
    interval = crossed_interval(table)
    assert (interval.mean, interval.n) == (2.0, 2)
    # Both motions twice or once each: 1, 2 or 3, a quarter, a half and a quarter of the time.
    assert (interval.low, interval.high) == (2.0 - widening(2), 2.0 + widening(2))
    assert crossed_interval(np.asarray([[5.0]])) == Interval(5.0, None, None, 1)
    assert crossed_interval(np.asarray([[np.nan]])) == Interval(None, None, None, 0)


def test_pairs_make_the_interval_narrow() -> None:
    base = np.asarray([[4.0, 9.0], [14.0, 20.0], [2.0, 6.0]])
    difference = crossed_interval(base - 1.0 - base)
    assert (difference.low, difference.high) == (-1.0, -1.0)
    wide = crossed_interval(base)
    assert wide.low is not None
    assert wide.high is not None
    assert wide.high - wide.low > 5


def test_choice_is_the_lowest_error_and_of_equals_the_shortest() -> None:
    errors = {(1e-3, 50): 6.0, (1e-3, 200): 5.0, (3e-3, 100): 5.0, (3e-3, 200): 5.5}
    choice = choose(errors)
    assert (choice.learning_rate, choice.steps, choice.error) == (3e-3, 100, 5.0)


def test_choices_at_the_grids_edge_are_told() -> None:
    grid = [1e-3, 3e-3, 1e-2], [100, 200, 400]
    assert edges_reached(Choice(3e-3, 200, 5.0), *grid) == ()
    assert edges_reached(Choice(1e-2, 400, 5.0), *grid) == ("highest learning rate", "most steps")
    assert edges_reached(Choice(1e-3, 100, 5.0), *grid) == ("lowest learning rate", "fewest steps")


def test_curve_is_read_between_the_steps() -> None:
    curve = {0: np.asarray([10.0]), 50: np.asarray([6.0]), 100: np.asarray([4.0])}
    assert read_curve(curve, 50) == 6.0
    assert read_curve(curve, 25) == 8.0
    assert read_curve(curve, 80) == pytest.approx(4.8)
    assert read_curve(curve, 198) == 4.0  # no further than measured
    assert np.isnan(read_curve(curve, np.nan))
    undefined = {0: np.asarray([np.nan]), 50: np.asarray([6.0])}
    assert read_curve(undefined, 50) == 6.0  # what lies before does not count
    assert np.isnan(read_curve(undefined, 25))


def test_better_movement_needs_place_and_direction() -> None:
    error, correlation = Interval(-1.2, -2.0, -0.4, 8), Interval(0.3, 0.1, 0.5, 8)
    better = moves_better("a beats b", error, correlation)
    assert better.holds
    assert better.sentence == (
        "**Yes**: a beats b (path error -1.20 [-2.00, -0.40] px, correlation +0.30 [+0.10, +0.50])."
    )
    unsure = Interval(-1.2, -2.5, 0.1, 8)
    assert moves_better("a beats b", unsure, correlation).sentence.startswith("**No**: a beats b")
    # As an object at rest: a lower path error, but no movement.
    assert not moves_better("a beats b", error, Interval(0.3, -0.1, 0.7, 8)).holds
    assert not moves_better("a beats b", error, Interval(-0.3, -0.5, -0.1, 8)).holds
    assert not moves_better("a beats b", Interval(-3.0, None, None, 1), correlation).holds
    assert not moves_better("a beats b", error, Interval(0.3, None, None, 1)).holds


def test_less_error_needs_the_whole_interval() -> None:
    assert has_less_error("less", Interval(-1.2, -2.0, -0.4, 8)).holds
    assert not has_less_error("less", Interval(-1.2, -2.5, 0.0, 8)).holds


def test_equal_motion_excludes_a_deficit_of_a_tenth_of_the_base() -> None:
    # The base's error is 10, so the margin is 1.
    assert moves_equally("as well", Interval(0.3, -0.4, 0.99, 8), 10.0).holds
    assert not moves_equally("as well", Interval(0.3, -0.4, 1.01, 8), 10.0).holds
    # Better on average, but nobody knows.
    assert not moves_equally("as well", Interval(-0.5, -3.0, 2.0, 8), 10.0).holds
    assert "margin +1.00 px" in moves_equally("as well", Interval(0, 0, 0, 8), 10.0).evidence


def test_less_leakage_needs_both_intervals() -> None:
    less, unsure = Interval(-0.10, -0.20, -0.01, 8), Interval(-0.10, -0.20, 0.0, 8)
    verdict = leaks_less("leaks less", less, less)
    assert verdict.holds
    assert verdict.evidence == (
        "leakage -0.100 [-0.200, -0.010], of videos with an object -0.100 [-0.200, -0.010]"
    )
    assert not leaks_less("leaks less", less, unsure).holds  # its objects may only have vanished
    assert not leaks_less("leaks less", unsure, less).holds
    assert not leaks_less("leaks less", less, Interval(None, None, None, 0)).holds


def test_differences_show_their_sign() -> None:
    assert signed(Interval(1.0, -0.5, 2.0, 3), 1) == "+1.0 [-0.5, +2.0]"
    assert signed(Interval(None, None, None, 0), 1) == "–"
