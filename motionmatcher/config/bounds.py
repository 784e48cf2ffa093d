"""Ranges of numbers, for settings and flags alike, and how a number outside of one is refused."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

from motionmatcher.errors import UserError

# Finite bounds, far beyond what is of use: they keep absurd numbers from the libraries below, which
# overflow or fill the memory. What fits into a machine's memory is checked apart, see motionmatcher/cost.
MAX_SEED = 2**64 - 1  # torch's generators take no more
MAX_PIXELS = 8192
MAX_FRAMES = 10_000
MAX_FRAME_INDEX = 10_000_000
MAX_FPS = 1000.0
MAX_SECONDS = 100_000.0
MAX_UPDATES = 1_000_000_000
MAX_TIMESTEPS = 100_000
MAX_SHIFT = 1000.0
MAX_BLOCKS = 1000
MAX_REPEATS = 100_000
# Digits of a whole number that are shown; more of them tell nothing.
_MAX_SHOWN_DIGITS = 24


def check_bounds(value: float, minimum: float | None, maximum: float | None, place: str) -> None:
    """Refuse a number outside of its range.

    Args:
        value: The number.
        minimum: Lowest value allowed; None for any.
        maximum: Highest value allowed; None for any.
        place: File and key, or the flag, for the error.

    Raises:
        UserError: Names the place, the limit and the number.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place} must be a finite number, not {value}.")
    if minimum is not None and value < minimum:
        raise UserError(
            f"{place} must be at least {show_number(minimum)}, not {show_number(value)}."
        )
    if maximum is not None and value > maximum:
        raise UserError(
            f"{place} must be at most {show_number(maximum)}, not {show_number(value)}."
        )


def show_number(value: int | float) -> str:
    """Write a number for people: whole ones exactly, unless their digits would fill the screen."""
    if isinstance(value, float):
        return f"{value:g}"
    digits = int(math.log10(abs(value))) + 1 if value else 1  # str refuses thousands of them
    if abs(value) < 10 ** (digits - 1):
        digits -= 1  # the logarithm was rounded up
    return str(value) if digits <= _MAX_SHOWN_DIGITS else f"a number of {digits} digits"


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Make the type of a flag that takes a whole number of a range."""

    def parse(text: str) -> int:
        wanted = f"a whole number from {show_number(minimum)} to {show_number(maximum)}"
        # Longer texts are out of every range, and Python refuses to read the longest ones.
        if len(text) > _MAX_SHOWN_DIGITS:
            raise ArgumentTypeError(f"expected {wanted}, not a text of {len(text)} characters")
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse
