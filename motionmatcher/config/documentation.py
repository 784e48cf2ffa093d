"""Write down every setting with its meaning, range and default."""

import json
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from motionmatcher.config.bounds import show_number
from motionmatcher.config.settings import TrainSettings
from motionmatcher.config.yaml_layers import MISSING_MARK


def document_settings(settings_class: Any = TrainSettings, indent: str = "") -> str:
    """Write every key as commented YAML: its meaning, range and default."""
    lines = []
    for entry in fields(settings_class):
        annotation: Any = typing.get_type_hints(settings_class)[entry.name]
        if is_dataclass(annotation):
            lines += ["", f"{indent}# {annotation.__doc__}", f"{indent}{entry.name}:"]
            lines += [document_settings(annotation, indent + "  ")]
            continue
        allowed = _describe_range(entry.metadata)
        lines += textwrap.wrap(
            f"{entry.metadata['meaning']}{allowed}",
            width=100,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
        )
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        unless = f", or {entry.metadata['unless']}" if entry.metadata["unless"] else ""
        must = f"{MISSING_MARK}  # must be given{unless}"
        shown = must if default is MISSING else _as_yaml(default)
        lines.append(f"{indent}{entry.name}: {shown}")
    return "\n".join(lines)


def _describe_range(metadata: Mapping[str, Any]) -> str:
    minimum, maximum, choices = (metadata[key] for key in ("minimum", "maximum", "choices"))
    if choices:
        return f" [{' | '.join(choices)}]"
    if minimum is None:
        return ""
    return f" [{show_number(minimum)} … {show_number(maximum)}]"


def _as_yaml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) or not value else value
