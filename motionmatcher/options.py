"""Options of the calls of the Python API."""

from collections.abc import Mapping
from typing import Any

from motionmatcher.errors import UserError, did_you_mean


def given_options(options: Mapping[str, Any], declared: type) -> dict[str, Any]:
    """Take those options that are given: None is as good as left out.

    Args:
        options: As the caller has them.
        declared: A `TypedDict` of all that there are.

    Raises:
        UserError: One is not declared; names the nearest that is.
    """
    given = {key: value for key, value in options.items() if value is not None}
    for option in given:
        if option not in declared.__annotations__:
            nearest = did_you_mean(option, declared.__annotations__)
            raise UserError(f"unknown option '{option}'.{nearest}")
    return given
