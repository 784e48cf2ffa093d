"""Numbers of settings and flags have finite ranges, and what lies outside is named in one short line."""

import math
from argparse import ArgumentTypeError
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from motionmatcher.config.bounds import MAX_SEED, check_bounds, show_number, whole_number
from motionmatcher.config.settings import TrainSettings
from motionmatcher.errors import UserError


def numbers(settings_class: Any) -> Iterator[tuple[str, Any]]:
    kinds = get_type_hints(settings_class)
    for entry in fields(settings_class):
        kind = kinds[entry.name]
        if is_dataclass(kind):
            yield from numbers(kind)
        elif kind in (int, float, int | None):
            yield entry.name, entry.metadata


def test_every_number_of_the_settings_is_bounded_on_both_sides() -> None:
    bounded = dict(numbers(TrainSettings))
    assert len(bounded) >= 30
    for name, metadata in bounded.items():
        assert math.isfinite(metadata["minimum"]), name
        assert math.isfinite(metadata["maximum"]), name


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "--n must be at least 1, not 0."),
        (8, "--n must be at most 7, not 8."),
        (7.5, "--n must be at most 7, not 7.5."),
        (1e300, "--n must be at most 7, not 1e+300."),
        (10**400, "--n must be at most 7, not a number of 401 digits."),
        (10**400 - 1, "--n must be at most 7, not a number of 400 digits."),
        pytest.param(
            -(10**5000), "--n must be at least 1, not a number of 5001 digits.", id="huge"
        ),
        (math.inf, "--n must be a finite number, not inf."),
        (math.nan, "--n must be a finite number, not nan."),
    ],
)
def test_a_number_out_of_its_range(value: float, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_bounds(value, 1, 7, "--n")
    assert str(caught.value) == message


def test_a_number_at_the_edge_of_its_range() -> None:
    check_bounds(1, 1, 7, "--n")
    check_bounds(7.0, 1, 7, "--n")
    check_bounds(10**400, None, None, "--n")


def test_numbers_are_shown_whole() -> None:
    assert show_number(MAX_SEED) == "18446744073709551615"
    assert [show_number(value) for value in (0, -5, 0.5, 1e-12)] == ["0", "-5", "0.5", "1e-12"]


def test_a_flag_that_takes_a_whole_number() -> None:
    parse = whole_number(2, 1000)
    assert [parse("2"), parse("1000")] == [2, 1000]
    for text in ("1", "1001", "2.5", "two", "-3", "²", ""):
        with pytest.raises(
            ArgumentTypeError, match=f"^'{text}' is not a whole number from 2 to 1000$"
        ):
            parse(text)
    with pytest.raises(ArgumentTypeError, match="from 2 to 1000, not a text of 5000 characters"):
        parse("9" * 5000)
