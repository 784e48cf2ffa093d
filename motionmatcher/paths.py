"""Where the paths of settings lead: from where the command runs, in the project, or as a run recorded."""

import stat
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from motionmatcher.errors import UserError
from motionmatcher.files import write_json
from motionmatcher.text_files import read_json

PROJECT = Path(__file__).resolve().parents[1]
# Beside a run's config.yaml, which keeps the paths as they were given: path -> absolute path.
RECORD_NAME = "paths.json"


def expand_home(path: str) -> str:
    """Replace a leading `~` by the home folder, which shells leave alone in `key=~/folder`."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # of a user whom nobody knows: a name like any other
        return path


def user_path(text: str) -> Path:
    """Parse a flag that names a file or a folder."""
    return Path(expand_home(text))


def input_path(text: str) -> Path:
    """Parse a flag that names what is read, which may also lie in the project's folder."""
    return Path(find_path(expand_home(text)))


def shipped(path: str) -> Path:
    """Find what ships with the project; the path itself, which is shorter to read, if it runs there.

    Args:
        path: Relative to the project's folder.
    """
    return Path(path) if Path.cwd() == PROJECT else PROJECT / path


def find_path(path: str, run_folder: Path | None = None) -> str:
    """Find what a path of the settings names.

    Args:
        path: As in the settings.
        run_folder: The run whose settings they are; it knows where its paths led when it was made.

    Returns:
        The place that the run recorded, if it is still there; else the path itself if it leads to
        something from where the command runs, else from the project's folder. The path itself when
        nothing is there.
    """
    here = path
    if not Path(path).exists() and (PROJECT / path).exists():
        here = str(PROJECT / path)
    recorded = _read_record(run_folder).get(path) if run_folder is not None else None
    if recorded is None or not Path(recorded).exists():
        return here
    # The relative one is shorter to read.
    return here if Path(here).exists() and Path(here).samefile(recorded) else recorded


def require_file(path: Path, kind: str) -> None:
    """Refuse a path that leads to no regular file that can be read.

    Args:
        path: Given by the user.
        kind: What the file should be, such as "video file".

    Raises:
        UserError: Says why not.
    """
    mode = _mode_of(path, kind)
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder: give a {kind}.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is a pipe or device: give a {kind}.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}.") from error


def require_folder(path: Path, kind: str) -> None:
    """Refuse a path that leads to no folder whose content can be listed.

    Args:
        path: Given by the user.
        kind: What the folder should be, such as "run folder".

    Raises:
        UserError: Says why not.
    """
    if not stat.S_ISDIR(_mode_of(path, kind)):
        raise UserError(f"{path} is not a folder: give a {kind}.")
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise UserError(f"{path} cannot be listed: {error.strerror}.") from error


def _mode_of(path: Path, kind: str) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path}: there is no such {kind}.") from error
    except OSError as error:  # a loop of links, or a folder on the way that is closed to the user
        raise UserError(f"{path} cannot be opened: {error.strerror}.") from error
    except ValueError as error:  # a NUL in its name
        raise UserError(f"{str(path)!r} cannot be the name of a {kind}.") from error


def record_paths(run_folder: Path, settings: Any) -> None:
    """Write down where the relative paths of a run's settings lead, for use from other folders."""
    found = {path: find_path(path) for path in _paths(settings) if not Path(path).is_absolute()}
    absolute = {path: str(Path(place).resolve()) for path, place in found.items()}
    there = {path: place for path, place in absolute.items() if Path(place).exists()}
    if there:
        write_json(run_folder / RECORD_NAME, there)


def _read_record(run_folder: Path) -> dict[str, str]:
    file = run_folder / RECORD_NAME
    if not file.is_file():
        return {}
    record = read_json(file, "Delete it.")
    if not isinstance(record, dict) or not all(isinstance(place, str) for place in record.values()):
        raise UserError(f"{file} is damaged: it must give a place to each path. Delete it.")
    return record


def _paths(settings: Any) -> list[str]:
    """List what the settings that are paths say."""
    paths: list[str] = []
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        nested = value if isinstance(value, list) else [value]
        if nested and is_dataclass(nested[0]):
            paths += [path for group in nested for path in _paths(group)]
        elif value is not None and entry.metadata["is_path"]:
            paths.append(value)
    return paths
