"""Files of tensors: safetensors, written whole or not at all; older pickles are read with care."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from motionmatcher.errors import UserError
from motionmatcher.files import atomic_path
from motionmatcher.text_files import parse_json

# One entry holds all we have to say: safetensors writes several in random order, and equal
# content shall give equal files.
_METADATA_KEY = "motionmatcher"


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Write tensors and a description of them as safetensors, atomically.

    Args:
        path: The file.
        tensors: By name; on any device.
        description: Plain values, kept as JSON in the metadata.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(content, temporary, metadata={_METADATA_KEY: json.dumps(description)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Returns:
        The tensors, on the CPU, and their description.

    Raises:
        UserError: The file is damaged or not ours.
    """
    try:
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(_METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}. Delete it, or use another one.") from error
    if described is None:
        raise UserError(f"{path} was not written by this toolkit: it does not say what it holds.")
    return tensors, parse_json(described, f"the description in {path}")


def read_pickle(path: Path) -> Any:
    """Read a file that `torch.save` wrote, tensors and plain values only; no code in it is run.

    Raises:
        UserError: The file is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{path} is damaged or holds more than tensors, and is not read: such files can run code."
        ) from error
