"""`manifest.json`, which says how each video of a folder was made: the one reader and writer of it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.text_files import read_json

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1
# What inference writes of each video.
_KEYS = ("file", "prompt", "negative_prompt", "seed", "checkpoint", "settings")
_REMEDY = "Move it away, or choose another folder."


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Read what a folder's `manifest.json` says of its videos; empty when there is none.

    Raises:
        UserError: It cannot be read, or is not of this form.
    """
    file = folder / MANIFEST_NAME
    if not os.path.lexists(file):
        return []
    content = read_json(file, _REMEDY)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, list):
        raise UserError(f"{file} has no list 'videos', as inference.py writes it. {_REMEDY}")
    if content.get("format") != MANIFEST_FORMAT:
        raise UserError(
            f"{file} has format {content.get('format')!r}; format {MANIFEST_FORMAT} is understood. "
            f"{_REMEDY}"
        )
    for index, entry in enumerate(videos):
        if not isinstance(entry, dict):
            raise UserError(f"{file}: videos[{index}] is not an object. {_REMEDY}")
    return videos


def read_whole_manifest(folder: Path) -> list[dict[str, Any]]:
    """Read a folder's `manifest.json`, whose entries must say all that inference writes of a video.

    Raises:
        UserError: As `read_manifest`; or an entry lacks a key or holds something else there.
    """
    entries = read_manifest(folder)
    for index, entry in enumerate(entries):
        place = f"{folder / MANIFEST_NAME}: videos[{index}]"
        for key in _KEYS:
            if key not in entry:
                raise UserError(f"{place} has no '{key}'.")
        file, prompt = entry["file"], entry["prompt"]
        if not isinstance(file, str) or not file:
            raise UserError(f"{place}: 'file' is not a file name.")
        if not isinstance(prompt, str) or not prompt.strip():
            raise UserError(f"{place}: the prompt is empty.")
        if not isinstance(entry["seed"], int):
            raise UserError(f"{place}: 'seed' is not an integer.")
        if not isinstance(entry["settings"], dict):
            raise UserError(f"{place}: 'settings' is not an object.")
    return entries


def append_to_manifest(folder: Path, entry: Mapping[str, Any]) -> None:
    """Enter a video into a folder's `manifest.json`; to be called within `names_locked`.

    Args:
        folder: Gets the file when it has none.
        entry: How the video was made.

    Raises:
        UserError: As `read_manifest`; or the file system refuses.
    """
    assert entry.keys() == set(_KEYS)
    videos = [*read_manifest(folder), entry]
    write_json(folder / MANIFEST_NAME, {"format": MANIFEST_FORMAT, "videos": videos})


@contextmanager
def names_locked(folder: Path) -> Iterator[None]:
    """Keep other processes from taking names in a folder, or changing its manifest."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".manifest.lock"):
        yield
