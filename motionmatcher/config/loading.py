"""Read, check and write the YAML settings.

A file may name another in `base:` (relative to itself) and change a few of its keys. Command-line
overrides (`train_data.width=256`) come last.
"""

import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from motionmatcher.config.bounds import check_bounds
from motionmatcher.config.settings import WITHOUT_EFFECT, TrainSettings
from motionmatcher.config.train_data import TrainData
from motionmatcher.config.yaml_layers import MISSING_MARK, escape, merge, read_layers, resolve
from motionmatcher.errors import UserError, did_you_mean
from motionmatcher.files import write_text
from motionmatcher.objectives.names import require_objective
from motionmatcher.paths import expand_home, find_path
from motionmatcher.reporting import note
from motionmatcher.text_files import check_text, format_yaml, map_texts, parse_yaml, shorten

_OLDER_KEY = "recompute_activations"
_YAML_LIST = re.compile(r"\s*(\[.*\]|- .*)\s*", re.DOTALL)
_Settings = TypeVar("_Settings")


def load_settings(
    path: Path | str, overrides: Sequence[str] = (), *, recorded: bool = False
) -> TrainSettings:
    """Read the settings of a run from a YAML file and the command line.

    Args:
        path: The YAML file; a relative one is looked for here, then in the project.
        overrides: `key=value` each, the key dotted for groups; a text is taken literally, any other
            value as YAML.
        recorded: The file is the record of a run: it may name an objective that only the program that
            trained it knows, and nothing is noted of older names in it.

    Returns:
        The settings, each of its type and within its range.

    Raises:
        UserError: Names the file and the key that is unknown, missing or wrong.
    """
    path = find_path(str(path))
    values = read_layers(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not key or not equals:
            raise UserError(f"'{shorten(override)}' is not an override: expected key=value.")
        value = _parse_override(key, text, f"the override '{shorten(override)}'")
        for name in reversed(key.split(".")):
            value = {name: value}
        values = merge(values, value)
    values = _with_newer_names(resolve(values, path), path, noted=not recorded)
    settings = parse_settings(TrainSettings, values, path)
    if not recorded:
        require_objective(settings.objective, f"{path}: objective")
    check_combinations(settings)
    return settings


def read_settings(settings_class: type[_Settings], *paths: Path) -> _Settings:
    """Read any settings dataclass from YAML files.

    Args:
        settings_class: A dataclass made of `setting` and `section` fields.
        paths: The files; a later one changes some keys of those before.

    Returns:
        The settings, each of its type and within its range.

    Raises:
        UserError: Names the last file and the key that is unknown, missing or wrong.
    """
    values: dict[str, Any] = {}
    for path in paths:
        values = merge(values, read_layers(path))
    source = str(paths[-1])
    return parse_settings(settings_class, resolve(values, source), source)


def check_settings(settings: TrainSettings, source: str = "settings") -> TrainSettings:
    """Check settings that were put together in Python as those of a file are.

    Args:
        settings: The settings.
        source: What errors call them.

    Raises:
        UserError: As `load_settings`.
    """
    checked = parse_settings(TrainSettings, asdict(settings), source)
    check_combinations(checked)
    return checked


def write_settings(path: Path, settings: TrainSettings) -> None:
    """Write all settings of a run as YAML, so that they can be read again."""
    write_text(path, format_yaml(map_texts(escape, asdict(settings))))


def with_preview_defaults(settings: TrainSettings) -> TrainSettings:
    """Settle what `validation_data` leaves to the training by null."""
    data, validation = settings.train_data, settings.validation_data
    defaults: dict[str, Any] = {
        "num_frames": data.n_sample_frames,
        "width": data.width,
        "height": data.height,
        "seed": settings.seed,
    }
    left_open = {key: value for key, value in defaults.items() if getattr(validation, key) is None}
    return replace(settings, validation_data=replace(validation, **left_open))


def idle_keys(settings: TrainSettings) -> list[str]:
    """Say of every switched-on key that no longer does anything why, one line each."""
    return [
        f"{key} does nothing here: {reason}."
        for key, reason in WITHOUT_EFFECT.items()
        if getattr(settings, key)
    ]


def check_combinations(settings: TrainSettings) -> None:
    """Refuse settings that are fine alone but not together.

    Raises:
        UserError: Names both keys and what to change.
    """
    if not settings.use_unet_lora:
        raise UserError(
            "use_unet_lora: false would train nothing; remove the key or set it to true."
        )
    _check_clips(settings.train_data)
    if settings.gradient_checkpointing == "selective" and settings.compile:
        raise UserError(
            "gradient_checkpointing: selective and compile do not go together: torch.compile chooses by "
            "itself what to compute again. Switch one of them off."
        )
    if settings.rescale_schedule and settings.use_offset_noise:
        raise UserError(
            "rescale_schedule and use_offset_noise cure the same thing; switch one of them off."
        )
    if settings.lr_warmup_steps and settings.lr_scheduler == "constant":
        raise UserError(
            "lr_warmup_steps has no effect with lr_scheduler: constant; "
            "use constant_with_warmup or remove it."
        )
    if len(set(settings.lora_targets)) < len(settings.lora_targets):
        raise UserError(f"lora_targets names a kind twice: {', '.join(settings.lora_targets)}.")
    if not settings.lora_targets:
        raise UserError(
            "lora_targets is empty: nothing would be trained; the default is [attention]."
        )


def _check_clips(data: TrainData) -> None:
    """Refuse a single clip beside several, and frames that are chosen in two ways."""
    for place, chosen in [("train_data", data), *zip(data.places, data.each, strict=True)]:
        counted = chosen.sample_start_idx or chosen.frame_step != 1
        if counted and not (chosen.start_s is None and chosen.duration_s is None):
            raise UserError(
                f"{place} chooses frames by index (sample_start_idx {chosen.sample_start_idx}, frame_step "
                f"{chosen.frame_step}) and by time (start_s, duration_s): leave out one kind, or set start_s "
                "and duration_s to null."
            )
    if data.clips and (data.single_video_path or data.single_video_prompt):
        raise UserError(
            "train_data has clips and a single clip (single_video_path, single_video_prompt): leave out one "
            'of them; "" leaves out a single clip that a base names.'
        )


def parse_settings(
    settings_class: type[_Settings], values: Mapping[str, Any], source: str, prefix: str = ""
) -> _Settings:
    """Build a settings dataclass of plain values, each checked.

    Args:
        settings_class: A dataclass made of `setting` and `section` fields.
        values: Keys and values as YAML gives them.
        source: The file, for errors.
        prefix: The group's name and a dot, for errors.

    Raises:
        UserError: Names the source and the key.
    """
    known = {entry.name: entry for entry in fields(settings_class)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            place = shorten(f"{prefix}{key}")
            raise UserError(f"{source}: unknown key '{place}'.{did_you_mean(str(key), known)}")
    annotations: dict[str, Any] = typing.get_type_hints(settings_class)
    parsed: dict[str, Any] = {}
    for name, entry in known.items():
        annotation, key = annotations[name], f"{prefix}{name}"
        required = entry.default is MISSING and entry.default_factory is MISSING
        instead: str = entry.metadata.get("unless") or ""
        if is_dataclass(annotation) and (name in values or required):
            parsed[name] = _parse_group(annotation, values.get(name, {}), source, key)
        elif name in values and not (required and values[name] == MISSING_MARK):
            given = values[name]
            if given is False and "no" in (entry.metadata["choices"] or ()):
                given = "no"  # YAML reads a bare `no` as false
            if isinstance(given, bool | str):
                given = entry.metadata["aliases"].get(str(given).lower(), given)
            value = _convert(given, annotation, source, key)
            if (
                required
                and not values.get(instead)
                and isinstance(value, str)
                and not value.strip()
            ):
                raise UserError(f"{source}: {key} is blank ({entry.metadata['meaning']}).")
            _check_range(value, entry.metadata, f"{source}: {key}")
            if value is not None and entry.metadata["is_path"]:
                value = expand_home(value)
                if _split_optional(annotation)[0] is Path:
                    value = Path(value)
            parsed[name] = value
        elif required and values.get(instead):
            parsed[name] = ""
        elif required and instead in values:
            raise UserError(
                f"{source}: {prefix}{instead} is empty: list one or more, or give {key} "
                f"({entry.metadata['meaning']})."
            )
        elif required:
            raise UserError(f"{source}: {key} is missing ({entry.metadata['meaning']}).")
    return settings_class(**parsed)


def _parse_group(settings_class: Any, group: Any, source: str, key: str) -> Any:
    if not isinstance(group, Mapping):
        raise UserError(f"{source}: {key} must be a group of keys, not {shorten(repr(group))}.")
    return parse_settings(settings_class, group, source, f"{key}.")


def _with_newer_names(values: dict[str, Any], source: str, noted: bool) -> dict[str, Any]:
    """Read what version 0.1.0 called `recompute_activations`, now `gradient_checkpointing: selective`."""
    if _OLDER_KEY not in values:
        return values
    newer = dict(values)
    older = newer.pop(_OLDER_KEY)
    if not isinstance(older, bool):
        raise UserError(
            f"{source}: {_OLDER_KEY} must be true or false, not {shorten(repr(older))}."
        )
    if not older:
        return newer
    if str(newer.get("gradient_checkpointing", False)).lower() not in (
        "false",
        "none",
        "selective",
    ):
        raise UserError(
            f"{source}: {_OLDER_KEY} and gradient_checkpointing save the same memory, the latter more of "
            "it; switch one of them off."
        )
    if noted:
        note(f"{source}: {_OLDER_KEY} is read as gradient_checkpointing: selective, its name now.")
    return {**newer, "gradient_checkpointing": "selective"}


def _parse_override(key: str, text: str, place: str) -> Any:
    """Read an override's value: texts literally, lists of texts too unless they are YAML's."""
    wanted: Any = TrainSettings
    for name in key.split("."):
        wanted = typing.get_type_hints(wanted).get(name) if is_dataclass(wanted) else None
    kind, is_optional = _split_optional(wanted)
    if kind is str:
        return None if is_optional and text == "null" else escape(text)
    if kind == list[str] and not _YAML_LIST.fullmatch(text):
        return None if text == "null" else [escape(text)]
    return parse_yaml(text, place)


def _convert(value: Any, annotation: Any, source: str, key: str) -> Any:
    """Bring one plain value to its field's type, or say what was expected."""
    place = f"{source}: {key}"
    wanted, is_optional = _split_optional(annotation)
    wanted = str if wanted is Path else wanted
    if is_optional and value in (None, ""):
        return None  # the published files leave optional paths empty
    if wanted == list[str]:
        entries = [value] if isinstance(value, str) else (value or [])
        if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
            return [check_text(entry, place) for entry in entries if entry.strip()]
        raise UserError(f"{place} must be a text or a list of texts, not {shorten(repr(value))}.")
    if is_dataclass(wanted):
        return _parse_group(wanted, value, source, key)
    if (collection := typing.get_origin(wanted)) in (list, tuple):
        value = [] if value is None else value
        if not isinstance(value, list):
            raise UserError(f"{place} must be a list, not {shorten(repr(value))}.")
        kind = typing.get_args(wanted)[0]  # list[X] or tuple[X, ...]
        return collection(
            _convert(entry, kind, source, f"{key}[{index}]") for index, entry in enumerate(value)
        )
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        # A larger one stays as it is, for the range to refuse it.
        return float(value) if abs(value) <= sys.float_info.max else value
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise UserError(f"{place} must be {names[wanted]}, not {shorten(repr(value))}.")
    return check_text(value, place) if wanted is str else value


def _split_optional(annotation: Any) -> tuple[Any, bool]:
    """Split a field's type into what it is when given, and whether it may be None."""
    if not isinstance(annotation, types.UnionType):
        return annotation, False
    (kind,) = (kind for kind in typing.get_args(annotation) if kind is not type(None))
    return kind, True


def _check_range(value: Any, metadata: Mapping[str, Any], place: str) -> None:
    minimum, maximum, choices = (metadata[key] for key in ("minimum", "maximum", "choices"))
    if value is None:
        return
    for entry in value if isinstance(value, list | tuple) else [value]:
        if isinstance(entry, int | float):
            check_bounds(entry, minimum, maximum, place)
        if choices is not None and not metadata["open_choices"] and entry not in choices:
            raise UserError(
                f"{place} must be one of {', '.join(choices)}, not '{entry}'."
                + did_you_mean(str(entry), choices)
            )
