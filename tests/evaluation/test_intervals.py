"""Bootstrap intervals of a mean."""

import math

import numpy as np
import pytest

from evaluation.intervals import Interval, bootstrap_interval


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
