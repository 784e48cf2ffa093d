"""How a key of the YAML files is declared: default, range, meaning and choices, in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields
from typing import Any


def setting(
    default: Any,
    meaning: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    open_choices: bool = False,
    aliases: Mapping[str, str] | None = None,
    is_path: bool = False,
    unless: str | None = None,
) -> Any:
    """Declare one key of the YAML files.

    Args:
        default: Its default; `...` for a key that must be given.
        meaning: One line for the documentation, with the unit where there is one.
        minimum: Lowest value allowed.
        maximum: Highest value allowed.
        choices: The values allowed.
        open_choices: Python code may add values of its own; they are checked elsewhere.
        aliases: Other words for some of them, those of YAML's truth values among them.
        is_path: It names a file or folder: `~` stands for the home folder, and where a relative one
            leads is recorded with a run.
        unless: A key that has to be given may be left out, or blank, where this one beside it is given.
    """
    metadata = {
        "meaning": meaning,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "open_choices": open_choices,
        "aliases": aliases or {},
        "is_path": is_path,
        "unless": unless,
    }
    if default is ...:
        return field(metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def limits(settings_class: type, key: str) -> tuple[float, float]:
    """Look up the lowest and the highest value of a key, for flags that stand for it."""
    (entry,) = (entry for entry in fields(settings_class) if entry.name == key)
    return entry.metadata["minimum"], entry.metadata["maximum"]


def section(settings_class: type) -> Any:
    """Declare a group of keys."""
    required = any(
        entry.default is MISSING and entry.default_factory is MISSING
        for entry in fields(settings_class)
    )
    return field() if required else field(default_factory=settings_class)
