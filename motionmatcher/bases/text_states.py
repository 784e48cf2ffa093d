"""A run's file of text states, so that a large text encoder is read once."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from motionmatcher.errors import UserError
from motionmatcher.tensor_files import read_tensors, require_sound, write_tensors


def read_text_states(file: Path, encoder: str, width: int) -> dict[str, Tensor]:
    """Read what `write_text_states` wrote.

    Args:
        file: The file; it may be missing.
        encoder: Identifies the text encoder; states of another one do not count.
        width: D, of its states.

    Returns:
        Prompt -> states of its own tokens (t, D).

    Raises:
        UserError: The file is damaged.
    """
    if not file.is_file():
        return {}
    tensors, description = read_tensors(file)
    if description.get("encoder") != encoder:
        return {}
    prompts = description.get("prompts")
    if not isinstance(prompts, list) or sorted(tensors) != sorted(_names(len(prompts))):
        raise UserError(f"{file} does not hold what its description says: delete it.")
    states = {}
    for name, prompt in zip(_names(len(prompts)), prompts, strict=True):
        shape = len(tensors[name]) if tensors[name].ndim else 0, width
        states[str(prompt)] = require_sound(f"{file}: {name}", tensors[name], shape)
    return states


def write_text_states(file: Path, encoder: str, states: Mapping[str, Tensor], width: int) -> None:
    """Add text states to a file, or make it; states of another encoder are dropped from it.

    Args:
        file: The file.
        encoder: Identifies the text encoder.
        states: Prompt -> states of its own tokens (t, D).
        width: D.

    Raises:
        WriteError: The file system refuses.
    """
    kept = read_text_states(file, encoder, width)
    if states.keys() <= kept.keys():
        return
    kept |= states
    tensors = dict(zip(_names(len(kept)), kept.values(), strict=True))
    write_tensors(file, tensors, {"encoder": encoder, "prompts": list(kept)})


def _names(count: int) -> list[str]:
    return [f"states_{index}" for index in range(count)]
