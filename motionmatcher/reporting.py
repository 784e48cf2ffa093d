"""The one place that the package prints at: notes, warnings and progress bars, unless it is quiet."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_QUIET = ContextVar("quiet", default=False)


@contextmanager
def quiet(switched_on: bool = True) -> Iterator[None]:
    """Print neither notes nor warnings nor progress bars within the block.

    Args:
        switched_on: False leaves it as it is.
    """
    token = _QUIET.set(_QUIET.get() or switched_on)
    try:
        yield
    finally:
        _QUIET.reset(token)


def is_main_process() -> bool:
    """Tell whether this is the process that speaks for all, under `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print a line to stdout, in the main process only; progress bars are drawn again below it."""
    if is_main_process() and not _QUIET.get():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def note(text: str) -> None:
    """Tell what the user should know."""
    say(f"note: {text}")


def warn(text: str) -> None:
    """Tell what the user should mend."""
    say(f"warning: {text}")


def progress_bar(steps: Iterable[Any], description: str, **options: Any) -> "tqdm[Any]":
    """Show the progress of steps on stderr, in the main process only.

    Args:
        steps: What is gone through.
        description: Stands before the bar.
        options: Of tqdm.
    """
    from tqdm import tqdm

    return tqdm(
        steps,
        description,
        disable=_QUIET.get() or not is_main_process(),
        file=sys.stderr,
        **options,
    )
