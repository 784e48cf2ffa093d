"""Curves of path error against leakage, read by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from experiments.compare.curves import Array, area_left_of, leakage_at, leakage_at_equal_error


def curve(errors: Sequence[float], leakages: Sequence[float]) -> Array:
    return np.asarray([[errors, leakages]], np.float64)


MONOTONE = curve([20, 12, 8], [0.0, 0.2, 0.6])


def read(curves: Array, level: float) -> float:
    (leakage,) = leakage_at(curves, np.asarray([level]))
    return float(leakage)


@pytest.mark.parametrize(
    ("level", "leakage"), [(20, 0.0), (16, 0.1), (12, 0.2), (10, 0.4), (8, 0.6), (25, 0.0)]
)
def test_leakage_is_read_straight_between_the_steps(level: float, leakage: float) -> None:
    assert read(MONOTONE, level) == pytest.approx(leakage)


def test_a_level_that_is_never_reached_has_no_leakage() -> None:
    assert np.isnan(read(MONOTONE, 7.9))


def test_the_first_time_counts() -> None:
    back_and_forth = curve([20, 10, 14, 6], [0.0, 0.1, 0.5, 0.9])
    assert read(back_and_forth, 12) == pytest.approx(0.08)  # 8 of 10 px on the way to 0.1
    assert read(back_and_forth, 10) == pytest.approx(0.1)
    assert read(back_and_forth, 8) == pytest.approx(0.8)  # 6 of 8 px from 0.5 to 0.9
    worse_at_first = curve([10, 20, 5], [0.1, 0.4, 0.7])
    assert read(worse_at_first, 8) == pytest.approx(0.64)  # 12 of 15 px from 0.4 to 0.7
    level_stretch = curve([20, 10, 10], [0.0, 0.2, 0.9])
    assert read(level_stretch, 10) == pytest.approx(0.2)


def test_each_resample_has_its_own_level() -> None:
    both = np.concatenate([MONOTONE, curve([10, 6, 2], [0.0, 0.4, 0.8])])
    assert leakage_at(both, np.asarray([16.0, 4.0])) == pytest.approx([0.1, 0.6])


def test_two_trainings_are_compared_where_both_have_been() -> None:
    other = curve([20, 10], [0.0, 0.1])  # down to 10, where the first one has 0.4
    difference = leakage_at_equal_error(other, MONOTONE)
    assert difference == pytest.approx([0.1 - 0.4])
    assert leakage_at_equal_error(MONOTONE, other) == pytest.approx([0.4 - 0.1])


def test_one_that_only_gets_worse_is_compared_at_the_base() -> None:
    worse = curve([20, 25], [0.05, 0.9])
    assert leakage_at_equal_error(worse, curve([20, 5], [0.05, 0.6])) == pytest.approx([0.0])


def test_area_is_mean_leakage_times_the_way_down() -> None:
    straight = curve([20, 10], [0.0, 0.5])
    for lowest, area in ((10.0, 0.25 * 10), (15.0, 0.125 * 5), (20.0, 0.0)):
        assert area_left_of(straight, np.asarray([lowest])) == pytest.approx([area])
    # 0.2 all the first half, and 0.4 on average in the second.
    assert area_left_of(curve([20, 15, 10], [0.2, 0.2, 0.6]), np.asarray([10.0])) == pytest.approx(
        [0.3 * 10]
    )


def test_area_below_what_is_reached_is_unknown() -> None:
    assert np.isnan(area_left_of(MONOTONE, np.asarray([5.0]))).all()
