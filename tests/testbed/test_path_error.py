"""Path errors computed by hand."""

import numpy as np
import pytest

from testbed.path_error import centred_error, chance_distance, path_error

NONE = (np.nan, np.nan)


def test_mean_distance_over_frames() -> None:
    path = np.asarray([[13.0, 24.0], [10.0, 20.0]])
    reference = np.asarray([[10.0, 20.0], [10.0, 20.0]])
    assert path_error(path, reference) == pytest.approx(2.5)  # (5 + 0) / 2
    assert path_error(reference, reference) == 0.0


def test_chance_is_the_mean_distance_from_all_pixels() -> None:
    # From the centre of a 64 x 64 square to its points: 64 (sqrt(2) + ln(1 + sqrt(2))) / 6.
    centre, corner = chance_distance(np.asarray([[31.5, 31.5], [0.0, 0.0]]))
    assert centre == pytest.approx(64 * (2**0.5 + np.log(1 + 2**0.5)) / 6, rel=1e-3)
    by_hand = np.mean([np.hypot(x, y) for x in range(64) for y in range(64)])
    assert corner == pytest.approx(by_hand)


def test_a_lost_object_costs_what_chance_costs() -> None:
    reference = np.asarray([[31.5, 31.5], [10.0, 20.0]])
    lost = np.asarray([NONE, (13.0, 24.0)])
    assert path_error(lost, reference) == pytest.approx((chance_distance(reference)[0] + 5) / 2)
    nothing = np.asarray([NONE, NONE])
    assert path_error(nothing, reference) == pytest.approx(chance_distance(reference).mean())
    assert centred_error(nothing, reference) == pytest.approx(chance_distance(reference).mean())


def test_centred_error_ignores_a_shift_and_sees_a_missing_movement() -> None:
    reference = np.asarray([[10.0, 20.0], [16.0, 28.0]])
    shifted = np.asarray([[17.0, 17.0], [23.0, 25.0]])
    assert centred_error(shifted, reference) == pytest.approx(0.0)
    assert centred_error(np.full((2, 2), 50.0), reference) == pytest.approx(5.0)


def test_centred_error_takes_the_means_of_the_frames_with_an_object() -> None:
    reference = np.asarray([[10.0, 20.0], [16.0, 28.0], [40.0, 40.0]])
    path = np.asarray([(17.0, 17.0), (23.0, 25.0), NONE])
    expected = chance_distance(reference)[2] / 3
    assert centred_error(path, reference) == pytest.approx(expected)
    one_frame = np.asarray([(17.0, 17.0), NONE, NONE])
    assert centred_error(one_frame, reference) == pytest.approx(chance_distance(reference).mean())
