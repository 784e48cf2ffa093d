"""Writing files so that a reader never sees half of one, and none is lost to another."""

import errno
import fcntl
import itertools
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from motionmatcher.errors import UserError, WriteError, reason_of

# Read once, for reading means setting.
_UMASK = os.umask(0o022)
os.umask(_UMASK)
_UNFINISHED = re.compile(r"\..*-\w{8}\.unfinished(\..*)?")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path, which is renamed to `path` when the block succeeds.

    A symbolic link stays one: what it points to is replaced. What cannot be replaced without harm, such
    as a FIFO, is written through.

    Args:
        path: The file to write. Its folder is made when it is not there.

    Yields:
        A path with the same suffix; removed when the block raises.

    Raises:
        WriteError: The file system refuses; the file is as it was.
    """
    path = Path(path)
    with writing(path):
        stream = _stream_at(path)
        target = Path(os.path.realpath(path))
        folder = target.parent if stream is None else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=folder, prefix=f".{path.stem[:40]}-", suffix=f".unfinished{path.suffix}"
        )
        temporary = Path(name)
        try:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)  # so that `remove_unfinished` leaves it alone
            yield temporary
            if stream is None:
                temporary.chmod(0o666 & ~_UMASK)  # mkstemp's files are their owner's alone
                temporary.replace(target)
            else:
                sys.stdout.flush()
                with (
                    temporary.open("rb") as source,
                    open(stream, "ab", closefd=stream is path) as sink,
                ):
                    shutil.copyfileobj(source, sink)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(handle)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder, which takes the place of `folder` when the block succeeds.

    Raises:
        WriteError: In place of an OSError.
    """
    temporary = folder.with_name(f".{folder.name}-unfinished")
    replaced = folder.with_name(f".{folder.name}-replaced")
    with writing(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with writing(folder):
            if folder.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                folder.rename(replaced)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Say of what the file system refuses which file it is about.

    Raises:
        WriteError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(path, reason_of(error)) from error


def remove_unfinished(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder; what is being written stays."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if not _UNFINISHED.fullmatch(path.name) or not path.is_file():
            continue
        with suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # its process lives, or nobody can tell
            path.unlink()


def check_writable(folder: Path, what: str) -> None:
    """Refuse a folder that could not be made or written; makes nothing.

    Args:
        folder: It may be there or not.
        what: The setting or flag that names it.

    Raises:
        UserError: Names the setting, the folder and what is in the way.
    """
    try:
        existing = nearest_folder(folder)
        with tempfile.TemporaryFile(dir=existing):
            pass  # permissions alone do not tell: a file system may be read-only, or have no files
    except NotADirectoryError as error:
        raise UserError(
            f"{what} {folder}: {error.filename} is a file; choose another folder."
        ) from error
    except OSError as error:
        raise UserError(
            f"{what} {folder} cannot be written: {reason_of(error)}; choose another folder."
        ) from error


def check_output_file(path: Path) -> None:
    """Refuse a file that could not be written; writes nothing.

    Raises:
        UserError: Says what is in the way.
    """
    with writing(path):
        stream = _stream_at(path)
        if stream is None:
            target = Path(os.path.realpath(path))
            if target.exists():
                check_writable(target.parent, "the folder")
            else:
                check_writable(target, "the file")
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def nearest_folder(path: Path) -> Path:
    """Find the innermost folder on the way to a path, itself included, that is there already.

    Raises:
        OSError: There cannot be such a path: something on the way is no folder or leads nowhere, or a name
            is too long.
    """
    missing = []
    while True:
        try:
            found = path.stat()
            break
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():
                raise
            missing.append(path.name)
            path = path.parent
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    for name in missing:
        with suppress(FileNotFoundError):
            (path / name).lstat()  # only within a folder that is there a name turns out too long
    return path


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
    return unique_names(map(slug, texts))


def unique_names(names: Iterable[str]) -> list[str]:
    """Make names differ: `name-2`, `name-3`, … of one that an earlier one has."""
    unique: list[str] = []
    for name in names:
        other, number = name, 2
        while other in unique:
            other, number = f"{name}-{number}", number + 1
        unique.append(other)
    return unique


def unused_path(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """Find a name that is not taken: `path`, or its first free variant `name-2`, `name-3`, ….

    Others may take it in the meantime: to be called while a lock is held.

    Args:
        path: The name wanted.
        suffixes: The name must be free with each of these; without any, with its own.
    """
    suffixes = suffixes or (path.suffix,)
    return next(
        candidate
        for candidate in _numbered(path)
        if not any(candidate.with_suffix(suffix).exists() for suffix in suffixes)
    )


def make_unused_folder(path: Path) -> Path:
    """Make a folder under a name that is not taken, as `unused_path` counts; no two get the same.

    Raises:
        WriteError: The file system refuses.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for candidate in _numbered(path):
            with suppress(FileExistsError):
                candidate.mkdir()
                break
    return candidate


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _stream_at(path: Path) -> Path | int | None:
    """Find what must be written through, for replacing it would harm: a FIFO, a terminal, our own output.

    Returns:
        What to open; None for an ordinary file, whether it is there or not.

    Raises:
        OSError: It can be neither replaced nor written: a folder, a disk, a loop of links.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    for number in (1, 2):  # a second opening of the same file would write over what is printed
        with suppress(OSError):  # it may be closed
            if os.path.samestat(found, os.fstat(number)):
                return number
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if stat.S_ISREG(found.st_mode):
        return None
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
        return path
    raise OSError(errno.EINVAL, "It is neither a file nor a stream", path)
