"""Stopping a long work between two of its steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the step under way finish on Ctrl-C or SIGTERM; a second Ctrl-C stops at once.

    Yields:
        A function that tells whether a signal has come.
    """
    came = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True
        print("\nfinishing this step, then saving …", flush=True)

    found = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
