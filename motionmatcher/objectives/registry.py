"""Objectives by name. Imports no torch: an objective is imported when it is used."""

from collections.abc import KeysView
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from motionmatcher.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from motionmatcher.objectives.objective import Objective

_Class = TypeVar("_Class", bound="type[Objective]")

# Name -> module and class, or the class itself.
_OBJECTIVES: "dict[str, tuple[str, str] | type[Objective]]" = {
    "feature_matching": ("feature_matching", "FeatureMatching"),
    "denoising": ("pixel", "Denoising"),
    "frame_difference": ("pixel", "FrameDifference"),
    "vmc": ("pixel", "VMC"),
    "motiondirector": ("pixel", "MotionDirector"),
}
BUILT_IN = tuple(_OBJECTIVES)


def objective_names() -> KeysView[str]:
    """Names of all objectives there are; what is registered later shows in it."""
    return _OBJECTIVES.keys()


def register_objective(objective_class: _Class) -> _Class:
    """Let configs name an objective of one's own; to be used as a decorator.

    Args:
        objective_class: A subclass of `Objective` that can be made without arguments. One registered
            before under the same name is replaced.

    Raises:
        UserError: It has no name, or that of an objective of this toolkit.
    """
    name = getattr(objective_class, "name", None)
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"objective {objective_class.__name__} has no name: give the class one.")
    if name in BUILT_IN:
        raise UserError(f"objective {name} is one of this toolkit's: choose another name.")
    _OBJECTIVES[name] = objective_class
    return objective_class


def require_objective(name: str, place: str = "objective") -> None:
    """Refuse a name that no objective has.

    Args:
        name: The name.
        place: File and key, for the error.

    Raises:
        UserError: Lists the names there are, and the nearest one.
    """
    if name not in _OBJECTIVES:
        raise UserError(
            f"{place} must be one of {', '.join(_OBJECTIVES)}, not '{name}'."
            + did_you_mean(name, _OBJECTIVES)
        )


def make_objective(name: str) -> "Objective":
    """Make the objective of a name.

    Raises:
        UserError: No objective has it.
    """
    require_objective(name)
    found = _OBJECTIVES[name]
    if isinstance(found, tuple):
        module, class_name = found
        found = getattr(import_module(f"motionmatcher.objectives.{module}"), class_name)
    return found()
