"""The weight files of a base model's part: which form of them is read, and whether all of it is there."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from motionmatcher.bases.config_file import BaseConfig, shown
from motionmatcher.errors import UserError

SUFFIXES = (".safetensors", ".bin")
_SHARD = re.compile(r"-\d+-of-\d+")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def choose_weight_files(files: Iterable[Path]) -> list[Path]:
    """Choose one form of a part's weights out of all there are.

    Returns:
        The files in full precision, or those of the variant fp16 when there are no others;
        safetensors before older forms.
    """
    # Stable Diffusion offers the weights before averaging too, which diffusers does not load.
    there = [file for file in files if ".non_ema" not in file.name]
    for variant in (False, True):
        for suffix in SUFFIXES:
            chosen = [file for file in there if file.suffix == suffix and _is_fp16(file) == variant]
            if chosen:
                return chosen
    return []


def check_weight_files(folder: Path, chosen: Sequence[Path], remedy: str) -> None:
    """Refuse weights that are not all there, by names, sizes and first bytes alone.

    Args:
        folder: The part's folder.
        chosen: The form that will be read, as `choose_weight_files` gives it; may be empty.
        remedy: How to get them whole, for errors.

    Raises:
        UserError: Names the file that is missing, empty, or a pointer to the real one.
    """
    for file in chosen:
        with file.open("rb") as content:
            start = content.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            raise UserError(
                f"{file} is a pointer of Git LFS, not the weights themselves: run git lfs pull where it "
                "comes from."
            )
        if not start:
            raise UserError(f"{file} is empty. {remedy}")
    shards = [file for file in chosen if _SHARD.search(file.name)]
    if not shards:
        return
    indices = [
        index
        for index in sorted(folder.glob(f"*{shards[0].suffix}.index*.json"))
        if _is_fp16(index) == _is_fp16(shards[0])
    ]
    if not indices:
        raise UserError(
            f"{shards[0]} is one of several files, but their index {shards[0].suffix}.index.json is "
            f"missing. {remedy}"
        )
    names = _named_shards(BaseConfig(indices[0], remedy))
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing, which {indices[0].name} names. {remedy}")


def _named_shards(index: BaseConfig) -> list[str]:
    """List the files that an index names, each of them beside it."""
    shards = index.content.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        index.refuse("weight_map", "give the file of each weight")
    assert isinstance(shards, dict)
    for name in shards.values():
        if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
            raise UserError(
                f"{index.file}: weight_map must name files beside it, not {shown(name)}."
            )
    return sorted(set(shards.values()))


def _is_fp16(file: Path) -> bool:
    return ".fp16" in file.name
