"""Bootstrap intervals: of a mean, and of what is computed of means over motions and prompts."""

import math

import numpy as np
import pytest

from evaluation.intervals import (
    Array,
    Interval,
    bootstrap_interval,
    crossed_interval,
    crossed_statistic,
    is_above_zero,
    is_below_zero,
    signed,
    widening,
)


def test_interval_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, size=400).tolist()
    interval = bootstrap_interval(values)
    half_width = 1.96 * np.std(values) / math.sqrt(400)
    assert interval.mean == pytest.approx(np.mean(values))
    assert interval.low == pytest.approx(np.mean(values) - half_width, abs=0.02)
    assert interval.high == pytest.approx(np.mean(values) + half_width, abs=0.02)


def test_interval_of_two_values_by_hand() -> None:
    # Means of two draws from {0, 1}: 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    assert bootstrap_interval([0.0, 1.0]) == Interval(0.5, 0.0, 1.0, 2)


def test_seed_fixes_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=7).tolist()
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_what_is_not_defined_is_not_counted() -> None:
    assert bootstrap_interval([1.0, math.nan, 3.0]).n == 2
    assert bootstrap_interval([1.0, math.nan, 3.0]).mean == 2.0
    assert bootstrap_interval([2.0]) == Interval(2.0, None, None, 1)
    assert bootstrap_interval([math.nan]) == Interval(None, None, None, 0)


def test_format() -> None:
    assert Interval(0.28714, 0.275, 0.2992, 5).format(4) == "0.2871 [0.2750, 0.2992]"
    assert Interval(0.5, None, None, 1).format(2) == "0.50"
    assert Interval(None, None, None, 0).format(2) == "–"


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


def test_a_statistic_that_is_a_mean_has_the_mean_s_interval() -> None:
    table = np.asarray([[4.0, 9.0, np.nan], [14.0, 20.0, 2.0], [2.0, 6.0, 1.0]])
    found, wanted = crossed_statistic([table], lambda means: means[:, 0]), crossed_interval(table)
    assert (found.mean, found.low, found.high) == (wanted.mean, wanted.low, wanted.high)
    assert found.mean == 58 / 8
    assert (found.n, wanted.n) == (9, 8)  # motions times prompts, and values


def test_a_statistic_is_of_the_same_motions_in_all_tables() -> None:
    table = np.asarray([[4.0, 9.0], [14.0, 20.0], [2.0, 6.0]])
    # Taken apart they spread over many; the quotient of the same draws does not.
    found = crossed_statistic([table, 2 * table], lambda means: means[:, 1] / means[:, 0])
    assert (found.mean, found.low, found.high) == (2.0, 2.0, 2.0)


def test_draws_without_any_value_do_not_count() -> None:
    # Of four draws of two motions and two prompts, some hold the undefined value alone.
    table = np.asarray([[np.nan, 3.0], [3.0, 3.0]])
    found = crossed_interval(table)
    assert (found.mean, found.low, found.high, found.n) == (3.0, 3.0, 3.0, 3)

    def undefined(means: Array) -> Array:
        return np.full(len(means), np.nan)

    assert crossed_statistic([table], undefined) == Interval(None, None, None, 0)


def test_an_interval_beside_zero_needs_both_ends() -> None:
    below, above = Interval(-1.2, -2.0, -0.4, 8), Interval(0.3, 0.1, 0.5, 8)
    assert (is_below_zero(below), is_above_zero(below)) == (True, False)
    assert (is_below_zero(above), is_above_zero(above)) == (False, True)
    for at_zero in (Interval(-1.2, -2.5, 0.0, 8), Interval(1.2, 0.0, 2.5, 8)):
        assert not is_below_zero(at_zero)
        assert not is_above_zero(at_zero)
    for unknown in (Interval(-3.0, None, None, 1), Interval(3.0, None, None, 1)):
        assert not is_below_zero(unknown)
        assert not is_above_zero(unknown)


def test_differences_show_their_sign() -> None:
    assert signed(Interval(1.0, -0.5, 2.0, 3), 1) == "+1.0 [-0.5, +2.0]"
    assert signed(Interval(-1.25, None, None, 1), 1) == "-1.2"
    assert signed(Interval(None, None, None, 0), 1) == "–"
