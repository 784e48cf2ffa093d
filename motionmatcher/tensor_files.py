"""Files of tensors: safetensors, written whole or not at all; older pickles are read with care."""

import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from motionmatcher.errors import UserError
from motionmatcher.files import atomic_path
from motionmatcher.finiteness import is_finite
from motionmatcher.text_files import parse_json

# One entry holds all we have to say: safetensors writes several in random order, and equal
# content shall give equal files.
_METADATA_KEY = "motionmatcher"
# Dtypes of weights, latents and noise; what else safetensors knows is not ours.
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# What the unpickler raises on bytes that are no pickle of tensors, by where it stumbles.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Write tensors and a description of them as safetensors, atomically.

    Args:
        path: The file.
        tensors: By name; on any device.
        description: Plain values, kept as JSON in the metadata.

    Raises:
        WriteError: The file system refuses.
    """
    save_tensors(path, tensors, {_METADATA_KEY: json.dumps(description)})


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically; no two of them may share their storage.

    Args:
        path: The file.
        tensors: By name; on any device.
        metadata: Texts for the file's header.

    Raises:
        WriteError: The file system refuses.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Not by save_file, which writes elsewhere and says no to a full disk as it does to a bad tensor.
    serialised = save(content, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(serialised)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Returns:
        The tensors, on the CPU, and their description.

    Raises:
        UserError: The file is damaged or not ours.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, _description(path, file)


def read_description(path: Path) -> dict[str, Any]:
    """Read the description of a file that `write_tensors` wrote, but not its tensors.

    Raises:
        UserError: As `read_tensors`.
    """
    with _opened(path) as file:
        return _description(path, file)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a safetensors file's tensors by their names, but not the tensors.

    Raises:
        UserError: The file is damaged.
    """
    with _opened(path) as file:
        names = file.keys()
        return {name: tuple(file.get_slice(name).get_shape()) for name in names}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}. Delete it, or use another one.") from error


def _description(path: Path, file: Any) -> dict[str, Any]:
    described = (file.metadata() or {}).get(_METADATA_KEY)
    if described is None:
        raise UserError(f"{path} was not written by this toolkit: it does not say what it holds.")
    description = parse_json(described, f"the description in {path}")
    if not isinstance(description, dict):
        raise UserError(
            f"{path} is damaged: its description is not a JSON object. Use another one."
        )
    return description


def require_sound(place: str, value: object, shape: Sequence[int] | None = None) -> Tensor:
    """Refuse what is no tensor of finite floating-point numbers, or an empty one.

    Args:
        place: Names file and entry, for the error.
        value: What was read.
        shape: The shape it must have; None for any.

    Returns:
        The value.

    Raises:
        UserError: Names what was found instead.
    """
    if not isinstance(value, Tensor):
        raise UserError(f"{place} is a {type(value).__name__}, not a tensor.")
    if value.dtype not in _FLOATS or value.layout != torch.strided:
        raise UserError(
            f"{place} holds {str(value.dtype).removeprefix('torch.')} values, not floating-point ones."
        )
    if value.numel() == 0:
        raise UserError(f"{place} is empty: it has the shape {list(value.shape)}.")
    if shape is not None and tuple(value.shape) != tuple(shape):
        raise UserError(f"{place} has the shape {list(value.shape)}, not {list(shape)}.")
    if not is_finite(value):
        raise UserError(f"{place} holds NaN or infinity.")
    return value


def read_pickle(path: Path, mapped: bool = False) -> Any:
    """Read a file that `torch.save` wrote, tensors and plain values only; no code in it is run.

    Args:
        path: The file.
        mapped: Leave the tensors in the file until they are used; older forms of it cannot.

    Raises:
        UserError: The file is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except _UNPICKLING_ERRORS as error:
        raise UserError(
            f"{path} is damaged or holds more than tensors, and is not read: such files can run code."
        ) from error


def require_named_tensors(path: Path, entry: str | None = None) -> None:
    """Refuse a file of `torch.save` that holds anything but tensors by their names.

    Args:
        path: The file.
        entry: Where in its content the tensors are, if the content has such an entry.

    Raises:
        UserError: As `read_pickle`, and for other content.
    """
    content = read_pickle(path, mapped=zipfile.is_zipfile(path))
    if entry is not None and isinstance(content, Mapping):
        content = content.get(entry, content)
    named = isinstance(content, Mapping) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no weights of a model: expected tensors by their names.")
