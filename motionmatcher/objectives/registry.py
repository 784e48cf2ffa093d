"""Objectives by name, those of one's own included; one is imported when it is used, and torch with it."""

from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from motionmatcher.errors import UserError
from motionmatcher.objectives.names import BUILT_IN, OBJECTIVES, require_objective

if TYPE_CHECKING:
    from motionmatcher.objectives.objective import Objective

_Class = TypeVar("_Class", bound="type[Objective]")


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
    OBJECTIVES[name] = objective_class
    return objective_class


def make_objective(name: str) -> "Objective":
    """Make the objective of a name.

    Raises:
        UserError: No objective has it.
    """
    require_objective(name)
    found = OBJECTIVES[name]
    if isinstance(found, tuple):
        module, class_name = found
        found = getattr(import_module(f"motionmatcher.objectives.{module}"), class_name)
    made: Objective = found()
    return made
