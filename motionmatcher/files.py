"""Writing files so that a reader never sees half of one."""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from motionmatcher.errors import UserError

# Read once, for reading means setting.
_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block succeeds.

    Args:
        path: The file to write. Its folder is made when it is not there.

    Yields:
        A path in the same folder with the same suffix; removed when the block raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp's files are readable by their owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path, what: str) -> None:
    """Refuse a folder that could not be made or written.

    Raises:
        UserError: Names the setting, the folder and what is in the way.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"{what} {folder}: {existing} is a file; choose another folder.")
    if not os.access(existing, os.W_OK):
        raise UserError(f"{what} {folder}: {existing} is not writable; choose another folder.")


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write a JSON file atomically; NaN and infinity are refused, for they are not JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def slug(text: str, max_bytes: int = 48) -> str:
    """Make a short file name of a prompt: lower-case words joined by hyphens.

    Args:
        text: Any text; only its letters and digits count, so it can never name another folder.
        max_bytes: Longest result in UTF-8 bytes; whole words are kept where the first one fits.

    Returns:
        The name, "prompt" when the text has no letter or digit.
    """
    words = re.findall(r"[^\W_]+", text.lower())
    name = ""
    for word in words:
        longer = f"{name}-{word}" if name else word
        if len(longer.encode()) > max_bytes:
            break
        name = longer
    if words and not name:
        name = words[0].encode()[:max_bytes].decode(errors="ignore")
    return name or "prompt"


def unique_slugs(texts: Iterable[str]) -> list[str]:
    """Make a different name of each text, by a number where their slugs are the same."""
    names: list[str] = []
    for text in texts:
        name, number = slug(text), 2
        while name in names:
            name, number = f"{slug(text)}-{number}", number + 1
        names.append(name)
    return names


def unused_path(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """Find a name that is not taken: `path`, or its first free variant `name-2`, `name-3`, ….

    Args:
        path: The name wanted.
        suffixes: The name must be free with each of these; without any, with its own.
    """
    candidate, number = path, 2
    while any(candidate.with_suffix(suffix).exists() for suffix in suffixes or (path.suffix,)):
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate
