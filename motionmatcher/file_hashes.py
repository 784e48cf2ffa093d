"""Hashes of large files, computed once and remembered for as long as the file stays as it is."""

import contextlib
import hashlib
import os
import re
import time
from pathlib import Path

from motionmatcher.errors import WriteError
from motionmatcher.files import write_text

# Smaller files are hashed in less time than it is worth to write down.
REMEMBERED_BYTES = 1 << 26
# Clocks of file systems are coarse: a file written just now may change again without a later time.
SETTLED_SECONDS = 2.0


def file_hash(path: Path) -> str:
    """Hash all of a file's bytes.

    The hash of a large file is remembered in the user's cache folder, not beside the file, which may
    lie where nothing can be written. It counts for as long as path, size and both times (of content
    and of the file's entry, which no program sets at will) are what they were.

    Args:
        path: The file.

    Returns:
        SHA-256 in hexadecimal.
    """
    state = path.stat()
    if state.st_size < REMEMBERED_BYTES:
        return _hash(path)
    key = f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns}"
    memory = cache_folder() / "file_hashes" / hashlib.sha256(os.fsencode(key)).hexdigest()
    with contextlib.suppress(OSError, UnicodeDecodeError):  # no memory, no harm: it is hashed again
        remembered = memory.read_text(encoding="ascii").strip()
        if re.fullmatch("[0-9a-f]{64}", remembered):
            return remembered
    digest = _hash(path)
    if time.time() - max(state.st_mtime, state.st_ctime) > SETTLED_SECONDS:
        with contextlib.suppress(WriteError):
            write_text(memory, f"{digest}\n")
    return digest


def _hash(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def cache_folder() -> Path:
    """The user's folder for what can be computed again; it may be missing and not be writable."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    # Path.home() would fail where a user has no home.
    return Path(root if os.path.isabs(root) else os.devnull) / "motionmatcher"  # noqa: PTH117
