"""YAML files that build on each other by `base:`, and their interpolations."""

import re
from pathlib import Path
from typing import Any

from motionmatcher.errors import UserError
from motionmatcher.paths import expand_home
from motionmatcher.text_files import read_yaml

BASE_KEY = "base"
MISSING_MARK = "???"  # how YAML files say that a value must be given


def read_layers(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read one file over those it names as its base.

    Args:
        path: The file.
        seen: The files that build on it.

    Raises:
        UserError: A file cannot be read, is no group of keys, or builds on itself.
    """
    values = read_yaml(path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path} must be a list of `key: value` lines.")
    if path.resolve() in seen:
        raise UserError(f"{path}: its '{BASE_KEY}' leads back to itself.")
    base = resolve({BASE_KEY: values.pop(BASE_KEY, None)}, str(path))[BASE_KEY]
    if base is None:
        return values
    if not isinstance(base, str):
        raise UserError(f"{path}: {BASE_KEY} must be the path of a file, not {base!r}.")
    return merge(read_layers(path.parent / expand_home(base), (*seen, path.resolve())), values)


def merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change some values, group by group; a value left to be given changes nothing."""
    merged = dict(values)
    for key, change in changes.items():
        found = merged.get(key)
        if isinstance(found, dict) and isinstance(change, dict):
            merged[key] = merge(found, change)
        elif key not in merged or change != MISSING_MARK:
            merged[key] = change
    return merged


def resolve(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Replace interpolations such as `${oc.env:HOME}` by what they stand for.

    Raises:
        UserError: Names the source and the key of one that stands for nothing.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].split("resolving interpolation: ")[-1]
        raise UserError(
            f"{source}: {error.full_key} cannot be resolved ({reason}); a plain ${{ is written \\${{."
        ) from error
    assert isinstance(resolved, dict)
    return resolved


def escape(text: str) -> str:
    """Write a text so that `resolve` gives it again, whatever it holds."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
