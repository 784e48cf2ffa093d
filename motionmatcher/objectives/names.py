"""The names of all objectives, for settings and errors; what they stand for is imported when it is used."""

from collections.abc import KeysView
from typing import Any

from motionmatcher.errors import UserError, did_you_mean

# Name -> module and class, or the class itself.
OBJECTIVES: dict[str, tuple[str, str] | type[Any]] = {
    "feature_matching": ("feature_matching", "FeatureMatching"),
    "denoising": ("pixel", "Denoising"),
    "frame_difference": ("pixel", "FrameDifference"),
    "vmc": ("pixel", "VMC"),
    "motiondirector": ("pixel", "MotionDirector"),
}
BUILT_IN = tuple(OBJECTIVES)


def objective_names() -> KeysView[str]:
    """Names of all objectives there are; what is registered later shows in it."""
    return OBJECTIVES.keys()


def require_objective(name: str, place: str = "objective") -> None:
    """Refuse a name that no objective has.

    Args:
        name: The name.
        place: File and key, for the error.

    Raises:
        UserError: Lists the names there are, and the nearest one.
    """
    if name not in OBJECTIVES:
        raise UserError(
            f"{place} must be one of {', '.join(OBJECTIVES)}, not '{name}'."
            + did_you_mean(name, OBJECTIVES)
        )
