"""Errors that are the user's to mend, as opposed to bugs."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Bad input: one clear line naming the file, key or value, what was expected and what to do."""


class WriteError(UserError):
    """The file system refuses to write: no room, no permission, a name it cannot hold.

    Attributes:
        reason: What it says.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be written: {reason}. Change that, or choose another place."
        )
        self.reason = reason


class DivergedError(UserError):
    """A training went wrong: its loss or gradient is not finite."""


class NotFiniteError(UserError):
    """A result holds NaN or infinity, so it is neither kept nor shown."""


def reason_of(error: OSError) -> str:
    """Say in a few words what the file system, or a library in its name, complains of."""
    return error.strerror or (str(error).splitlines() or [type(error).__name__])[0]


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Suggest the valid name nearest to a mistyped one.

    Args:
        word: The name as the user wrote it.
        valid: The names that exist.

    Returns:
        " Did you mean 'NAME'?", or an empty string when nothing is near.
    """
    nearest = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""
