"""Stopping a long work between two of its steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from motionmatcher.reporting import say


class Terminated(BaseException):
    """SIGTERM has come: what KeyboardInterrupt is to Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, so that what is begun is cleaned up on the way out."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    found = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, found)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the step under way finish on Ctrl-C or SIGTERM; a second one stops at once.

    Either way the signal has its usual effect then, such as a KeyboardInterrupt.

    Yields:
        A function that tells whether a signal has come.
    """
    came: int | None = None

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came is not None:
            signal.signal(number, found[number])
            signal.raise_signal(number)
            return
        came = number
        say("\nfinishing this step, then saving …")

    signals = (signal.SIGINT, signal.SIGTERM)
    found = {int(number): signal.signal(number, remember) for number in signals}
    try:
        yield lambda: came is not None
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
    if came is not None:
        signal.raise_signal(came)
